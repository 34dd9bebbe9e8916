// A memory broker that tells a test at once which ids events get, and whether it is closed.
import type { BrokerEvent, BrokerReceipt } from '../../lib/index.js'
import { MemoryBroker } from '../../lib/brokers/memory.js'

export class WatchedBroker extends MemoryBroker {
  /** The hub closes the broker, and refuses to publish from the same moment on. */
  closed = false
  readonly #accepted: (event: BrokerEvent, id: string | null) => void

  /** @param accepted called for each event, before the listeners that the event causes */
  constructor (accepted: (event: BrokerEvent, id: string | null) => void) {
    super()
    this.#accepted = accepted
  }

  override publish (event: BrokerEvent, idempotencyKey: string): BrokerReceipt {
    const receipt = super.publish(event, idempotencyKey)
    this.#accepted(event, receipt.id)
    return receipt
  }

  override close (): void {
    this.closed = true
    super.close()
  }
}
