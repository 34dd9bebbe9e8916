// Brings into history what was before this instance began to deliver, from a broker that keeps events. Clients that ask in
// the same turn share one request. This file must not know of clients.
import type { Broker, BrokerPast } from '../../types/broker.js'
import type { History } from './history.js'
import { formatEvent } from '../wire/format.js'

/** How long the broker may take to answer, in milliseconds, where it does not say so itself. */
const ANSWER_TIMEOUT = 5000

export class HistoryLoader {
  readonly #broker: Broker
  readonly #history: History
  /** The position at which this instance began. It got all later events by itself. */
  #beginPosition = 0
  #beginTime = performance.now()
  #beginCount = 0
  /** The targets of the next request, which is sent at the end of this turn. */
  readonly #nextTargets = new Set<string>()
  #nextRequest: Promise<void> | null = null
  /** The request of each target that is not answered yet. */
  readonly #unanswered = new Map<string, Promise<void>>()

  constructor (broker: Broker, history: History) {
    this.#broker = broker
    this.#history = history
  }

  /** How long a client or a caller waits for the broker's answer, in milliseconds. */
  get answerTimeout (): number {
    return this.#broker.answerTimeout ?? ANSWER_TIMEOUT
  }

  beginAt (position: number): void {
    this.#beginPosition = position
    this.#beginTime = performance.now()
    this.#beginCount++
  }

  /**
   * Makes history complete for some targets, after a position.
   * @returns `null` if it is complete now
   */
  complete (targets: readonly string[], after: number): Promise<void> | null {
    if (this.#broker.past === undefined || after >= this.#beginPosition) return null
    const unfilled = this.#history.unfilled(targets, after)
    if (unfilled.length === 0) return null
    const requests = new Set(unfilled.map(target => this.#requestFor(target)))
    return Promise.all(requests).then(() => {})
  }

  #requestFor (target: string): Promise<void> {
    let request = this.#unanswered.get(target)
    if (request === undefined) {
      this.#nextTargets.add(target)
      request = this.#nextRequest ??= this.#request()
      this.#unanswered.set(target, request)
    }
    return request
  }

  async #request (): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    const targets = [...this.#nextTargets]
    this.#nextTargets.clear()
    this.#nextRequest = null
    const beginCount = this.#beginCount
    try {
      const past = await this.#broker.past!(targets)
      // If this instance began again before the answer came, the answer is too old. The next client asks again.
      if (beginCount === this.#beginCount) for (const [target, known] of past) this.#fill(target, known)
    } finally {
      for (const target of targets) this.#unanswered.delete(target)
    }
  }

  #fill (target: string, { events, floor, known }: BrokerPast): void {
    const now = Date.now()
    // An event from before this instance began is at least as old as this instance. Say it began 60 s ago, and the clock was
    // set back by an hour since: by the clock, an event of that moment is 59 minutes in the future. It gets an age of 60 s.
    // History removes the oldest events first, so that one in the future would keep all after it from being removed.
    const minAge = performance.now() - this.#beginTime
    this.#history.fill(target, events.map(({ event, position, id, time }) => {
      const text = formatEvent(id, event.name, event.data, event.retry)
      const age = Math.max(now - time, position <= this.#beginPosition ? minAge : 0)
      return { position, name: event.name, except: event.except, compress: event.compress, key: event.key, remove: event.remove, raw: event.raw, text, size: Buffer.byteLength(text), age }
    }), floor, known)
  }
}
