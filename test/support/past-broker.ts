// A broker that keeps events from before this instance began. The test says what it answers, and when.
import type { Broker, BrokerEvent, BrokerPast, BrokerReceipt, BrokerSink } from '../../lib/index.js'
import { brokerEvent } from './broker-sink.js'

/** The position at which the instance begins. */
export const BEGIN = 1000
const EPOCH = 'past:'

export class PastBroker implements Broker {
  /** The targets of each call of `past`. */
  readonly asked: Array<readonly string[]> = []
  /** What it keeps of each target. */
  readonly kept = new Map<string, BrokerPast>()
  /** Called by `past`; it may wait or throw. */
  before: () => unknown = () => {}
  #position = BEGIN
  #sink!: BrokerSink

  /** Keeps events of a target, each given as its position, how old it is, and its other fields. */
  keep (target: string, ...events: ReadonlyArray<readonly [position: number, age: number, event?: Partial<BrokerEvent>]>): void {
    this.kept.set(target, {
      events: events.map(([position, age, event]) => ({
        event: brokerEvent({ targets: [target], name: `past-${position}`, ...event }), position, id: EPOCH + position, time: Date.now() - age
      })),
      floor: 0,
      known: Infinity
    })
  }

  async past (targets: readonly string[]): Promise<Map<string, BrokerPast>> {
    this.asked.push(targets)
    // As it is when the broker is asked: an answer that is late is an old one.
    const answer = new Map(targets.map(target => [target, this.kept.get(target) ?? { events: [], floor: 0, known: Infinity }]))
    await this.before()
    return answer
  }

  start (sink: BrokerSink): void {
    this.#sink = sink
    sink.skipTo(BEGIN)
  }

  publish (event: BrokerEvent): BrokerReceipt {
    const position = ++this.#position
    const id = event.transient ? null : EPOCH + position
    return { id, recipients: this.#sink.deliver(event, position, id) }
  }

  skipTo (position: number): void {
    this.#position = position
    this.#sink.skipTo(position)
  }

  head (): string {
    return EPOCH + this.#position
  }

  position (id: string): number {
    return id.startsWith(EPOCH) ? Number(id.slice(EPOCH.length)) : -1
  }

  async close (): Promise<void> {}
}

/** The id of the event at a position. */
export function idAt (position: number): string {
  return EPOCH + position
}
