// Tells the log of what may happen very often: how many times, at most once a second.
import type { BrokerLog } from '../../types/index.js'

const WINDOW = 1000

export class CountLog<Name extends string> {
  readonly #log: Pick<BrokerLog, 'warn'>
  readonly #message: string
  readonly #counts: Record<Name, number>
  #reportedAt = -Infinity
  #pending = false

  /** @param names what is counted, as the log names it */
  constructor (log: Pick<BrokerLog, 'warn'>, message: string, names: readonly Name[]) {
    this.#log = log
    this.#message = message
    this.#counts = Object.fromEntries(names.map(name => [name, 0])) as Record<Name, number>
  }

  /** Takes note, and logs nothing: it may be called in the middle of a publish. */
  count (name: Name, times = 1): void {
    this.#counts[name] += times
    this.#pending = true
  }

  /** Logs what came up since the last report, if that was a while ago. */
  report (): void {
    if (!this.#pending) return
    const now = performance.now()
    if (now - this.#reportedAt >= WINDOW) this.flush(now)
  }

  /** Logs what came up since the last report. */
  flush (now = performance.now()): void {
    if (!this.#pending) return
    this.#log.warn({ ...this.#counts as object }, this.#message)
    this.#reportedAt = now
    this.#pending = false
    for (const name of Object.keys(this.#counts) as Name[]) this.#counts[name] = 0
  }
}
