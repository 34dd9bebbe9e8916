// Brings into history what was before this instance began to deliver, from a broker that keeps events: once for all
// clients that ask in a turn. It must not know of clients.
import type { Broker, BrokerPast } from '../../types/broker.js'
import type { History } from './history.js'
import { formatEvent } from '../wire/format.js'

export class HistoryLoader {
  readonly #broker: Broker
  readonly #history: History
  /** The position at which this instance began: what is later came here by itself. */
  #begin = 0
  #begunAt = performance.now()
  #beginnings = 0
  /** Targets that are asked for at the end of this turn. */
  #asked = new Set<string>()
  #asking: Promise<void> | null = null
  /** Targets that were asked for and not answered. */
  readonly #pending = new Map<string, Promise<void>>()

  constructor (broker: Broker, history: History) {
    this.#broker = broker
    this.#history = history
  }

  beginAt (position: number): void {
    this.#begin = position
    this.#begunAt = performance.now()
    this.#beginnings++
  }

  /**
   * Makes what is known of some targets after a position complete.
   * @returns `null` where it is already
   */
  complete (targets: readonly string[], after: number): Promise<void> | null {
    if (this.#broker.past === undefined || after >= this.#begin) return null
    const missing = this.#history.unfilled(targets, after)
    if (missing.length === 0) return null
    const answers = new Set<Promise<void>>()
    for (const target of missing) {
      let answer = this.#pending.get(target)
      if (answer === undefined) {
        this.#asked.add(target)
        this.#asking ??= this.#ask()
        answer = this.#asking
        this.#pending.set(target, answer)
      }
      answers.add(answer)
    }
    return Promise.all(answers).then(() => {})
  }

  async #ask (): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    const targets = [...this.#asked]
    this.#asked.clear()
    this.#asking = null
    const beginnings = this.#beginnings
    try {
      const past = await this.#broker.past!(targets)
      // Where this instance began anew meanwhile, it is asked again by who comes now.
      if (beginnings === this.#beginnings) for (const [target, known] of past) this.#fill(target, known)
    } finally {
      for (const target of targets) this.#pending.delete(target)
    }
  }

  #fill (target: string, { events, floor, known }: BrokerPast): void {
    const now = Date.now()
    // What was before this instance began is at least so old, though it is dated by a clock that was set back since: what
    // seems to be of the future would hold up the going of all that is too old.
    const least = performance.now() - this.#begunAt
    this.#history.fill(target, events.map(({ event, position, id, time }) => {
      const text = formatEvent(id, event.name, event.data, event.retry)
      return { position, name: event.name, except: event.except, compress: event.compress, key: event.key, remove: event.remove, raw: event.raw, text, size: Buffer.byteLength(text), age: Math.max(now - time, position <= this.#begin ? least : 0) }
    }), floor, known)
  }
}
