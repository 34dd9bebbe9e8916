// A batch: events of one turn of the event loop, which become one entry of the log. It must not know when or how it is sent.
import type { BrokerEvent, BrokerReceipt } from '../../../types/broker.js'

/** What one log entry may hold, in events and in characters. */
const MAX_EVENTS = 500
const MAX_SIZE = 256 * 1024

/** An event for which a caller waits. */
export interface PendingEvent {
  readonly event: BrokerEvent
  readonly packed: string
  /** The idempotency key; `''` for none. */
  readonly key: string
  /** By `performance.now()`. */
  readonly deadline: number
  /** `null` once the caller has its answer. */
  settle: ((receipt: BrokerReceipt) => void) | null
  fail: (error: Error) => void
}

export interface Batch {
  /** Batches of a publisher count from 1. */
  readonly number: number
  readonly events: readonly PendingEvent[]
  readonly deadline: number
  /** The epoch to which it was sent last. */
  epoch: string
  /** How often the connection had been lost when it was sent last. */
  losses: number
  /** The connection was lost while it was on its way: it may have been stored, whatever Redis says of it later. */
  doubtful: boolean
  /** The number of its first event, once Redis has told. */
  first: number
  /** When it was stored by Redis's clock, once Redis has told. */
  time: number
}

/** Takes events from the front of the queue: at most 500, and at most 256 Ki characters unless the first alone has more. */
export function takeBatch (queue: PendingEvent[], number: number): Batch {
  let count = 0
  let size = 0
  while (count < queue.length && count < MAX_EVENTS && (count === 0 || size + queue[count]!.packed.length <= MAX_SIZE)) {
    size += queue[count++]!.packed.length
  }
  const events = queue.splice(0, count)
  // Deadlines grow in a queue, so the first event has the earliest.
  return { number, events, deadline: events[0]!.deadline, epoch: '', losses: 0, doubtful: false, first: 0, time: 0 }
}

/** Whether a caller still waits for one of its events. */
export function isOpen ({ events }: Batch): boolean {
  return events.some(({ settle }) => settle !== null)
}

export function settle (pending: PendingEvent, receipt: BrokerReceipt): void {
  pending.settle?.(receipt)
  pending.settle = null
}
