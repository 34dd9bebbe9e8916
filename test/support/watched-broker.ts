// The broker of one process, and what a test must know of it at once: which ids events get, and whether it is closed.
import type { BrokerEvent, BrokerReceipt } from '../../lib/index.js'
import { MemoryBroker } from '../../lib/brokers/memory.js'

export class WatchedBroker extends MemoryBroker {
  /** The hub closes it in the moment from which it refuses to publish. */
  closed = false
  readonly #accepted: (event: BrokerEvent, id: string | null) => void

  /** @param accepted is told of each event before any listener runs that it causes */
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
