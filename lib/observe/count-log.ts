// Logs what may happen very often: how many times it happened, at most once a second. Example: 500 clients that are
// disconnected within a second make one line. It must not know what it counts.
import type { BrokerLog } from '../../types/index.js'

const WINDOW = 1000

export class CountLog<Name extends string> {
  readonly #log: Pick<BrokerLog, 'warn'>
  readonly #message: string
  readonly #counts: Record<Name, number>
  #reportedAt = -Infinity
  #pending = false

  /** @param names of the counts, as the log has them */
  constructor (log: Pick<BrokerLog, 'warn'>, message: string, names: readonly Name[]) {
    this.#log = log
    this.#message = message
    this.#counts = Object.fromEntries(names.map(name => [name, 0])) as Record<Name, number>
  }

  /** Counts, and logs nothing. It may be called in the middle of a publish. */
  count (name: Name, times = 1): void {
    this.#counts[name] += times
    this.#pending = true
  }

  /** Logs the counts since the last report, if that was at least a second ago. */
  report (): void {
    if (!this.#pending) return
    const now = performance.now()
    if (now - this.#reportedAt >= WINDOW) this.flush(now)
  }

  /** Logs the counts since the last report now. */
  flush (now = performance.now()): void {
    if (!this.#pending) return
    this.#log.warn({ ...this.#counts as object }, this.#message)
    this.#reportedAt = now
    this.#pending = false
    for (const name of Object.keys(this.#counts) as Name[]) this.#counts[name] = 0
  }
}
