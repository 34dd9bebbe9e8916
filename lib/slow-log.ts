// Tells the log about clients that read too slowly: how many, at most once a second, and never in the middle of a
// publish.
import type { FastifyBaseLogger } from 'fastify'

const WINDOW = 1000

export class SlowLog {
  readonly #log: FastifyBaseLogger
  #reportedAt = -Infinity
  #slow = 0
  #stalled = 0
  #dropped = 0

  constructor (log: FastifyBaseLogger) {
    this.#log = log
  }

  slow (): void {
    this.#slow++
  }

  stalled (): void {
    this.#stalled++
  }

  dropped (events: number): void {
    this.#dropped += events
  }

  /** Logs what came up since the last report, if that was a while ago. */
  report (): void {
    if (this.#slow + this.#stalled + this.#dropped === 0) return
    const now = performance.now()
    if (now - this.#reportedAt >= WINDOW) this.flush(now)
  }

  /** Logs what came up since the last report. */
  flush (now = performance.now()): void {
    if (this.#slow + this.#stalled + this.#dropped === 0) return
    this.#log.warn({ slowClients: this.#slow, stalledClients: this.#stalled, droppedEvents: this.#dropped },
      'clients read too slowly: disconnected the slow and the stalled, dropped events')
    this.#reportedAt = now
    this.#slow = this.#stalled = this.#dropped = 0
  }
}
