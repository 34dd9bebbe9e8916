// A broker such as an application may have. It is in this process, but delivers in a later turn of the event loop.
import type { Broker, BrokerEvent, BrokerReceipt, BrokerSink } from '../../lib/index.js'

const EPOCH = 'async:'

export class AsyncBroker implements Broker {
  started = false
  closed = false
  readonly #receipts = new Map<string, Promise<BrokerReceipt>>()
  #position = 0
  #sink!: BrokerSink

  async start (sink: BrokerSink): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    this.#sink = sink
    this.started = true
  }

  publish (event: BrokerEvent, idempotencyKey: string): Promise<BrokerReceipt> {
    const known = this.#receipts.get(idempotencyKey)
    if (known !== undefined) return known
    const receipt = new Promise<BrokerReceipt>(resolve => {
      setImmediate(() => {
        const position = ++this.#position
        const id = event.transient ? null : EPOCH + position
        resolve({ id, recipients: this.#sink.deliver(event, position, id) })
      })
    })
    if (idempotencyKey !== '') this.#receipts.set(idempotencyKey, receipt)
    return receipt
  }

  head (): string {
    return EPOCH + this.#position
  }

  /** Sets the position as if events up to it had been published elsewhere. */
  skip (position: number): void {
    this.#position = position
  }

  position (id: string): number {
    const position = id.startsWith(EPOCH) ? Number(id.slice(EPOCH.length)) : NaN
    return Number.isInteger(position) && position >= 0 && position <= this.#position ? position : -1
  }

  async close (): Promise<void> {
    this.closed = true
  }
}
