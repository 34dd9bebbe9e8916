// The default broker, for one process: it numbers events and remembers idempotency keys. It keeps no events: the hub's history
// does.
import { randomBytes } from 'node:crypto'
import type { Broker, BrokerEvent, BrokerReceipt, BrokerSink } from '../../types/broker.js'

/** So many idempotency keys are remembered. */
const MAX_KEYS = 10_000
const POSITION = /^(?:0|[1-9]\d{0,15})$/

export class MemoryBroker implements Broker {
  /** New in each process: event 7 of the process before a restart must not be taken for event 7 of this one. */
  readonly #epoch = randomBytes(9).toString('base64url') + '-'
  readonly #receipts = new Map<string, BrokerReceipt>()
  #position = 0
  /** Made once per event, so that all clients share one string. */
  #head = this.#epoch + this.#position
  #sink!: BrokerSink

  start (sink: BrokerSink): void {
    this.#sink = sink
  }

  publish (event: BrokerEvent, idempotencyKey: string): BrokerReceipt {
    if (idempotencyKey === '') return this.#accept(event)
    const known = this.#receipts.get(idempotencyKey)
    if (known !== undefined) return known
    const receipt = this.#accept(event)
    this.#receipts.set(idempotencyKey, receipt)
    if (this.#receipts.size > MAX_KEYS) this.#receipts.delete(this.#receipts.keys().next().value!)
    return receipt
  }

  #accept (event: BrokerEvent): BrokerReceipt {
    const position = ++this.#position
    this.#head = this.#epoch + position
    const id = event.transient ? null : this.#head
    return { id, recipients: this.#sink.deliver(event, position, id) }
  }

  head (): string {
    return this.#head
  }

  position (id: string): number {
    if (!id.startsWith(this.#epoch)) return -1
    const digits = id.slice(this.#epoch.length)
    return POSITION.test(digits) && Number(digits) <= this.#position ? Number(digits) : -1
  }

  close (): void {
    this.#receipts.clear()
  }
}
