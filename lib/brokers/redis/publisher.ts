// The queue of this instance's events: when they are sent to Redis, what is sent again, and what each caller is told by its
// deadline. It must not know of clients, nor of what Redis does with a batch.
import type { BrokerEvent, BrokerReceipt } from '../../../types/broker.js'
import { SSE_ERR_BROKER_UNAVAILABLE, SSE_ERR_CLOSED } from '../../errors.js'
import { isOpen, settle, takeBatch, type Batch, type PendingEvent } from './batch.js'
import type { RedisConnection } from './connection.js'
import { LogWriter, type Answer, type LogWriterSettings } from './log-writer.js'
import { pack } from './packing.js'

/** At most so many events wait for Redis's answer. Later ones wait in the queue. */
const MAX_UNANSWERED = 2000
/** At most so many events are stored and not read back here. A publisher at full speed must not starve its own reader. */
const MAX_UNREAD = 20_000
/**
 * Redis refuses what comes after the deadline, and its answer takes some time. With a deadline at 5000 ms the answer is waited
 * for until 5250 ms. All in milliseconds.
 */
const GRACE = 250
/** Wait before a batch that Redis refused is sent again, in milliseconds. Deadlines are checked as often. */
const RETRY = 100

/** Errors of Redis that say that it has not begun to execute the script. */
const NOT_BEGUN = /^(?:OOM|READONLY|NOPERM|NOAUTH|LOADING|MASTERDOWN|MISCONF|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|BUSY) /

export interface PublisherSettings extends LogWriterSettings {
  /** How long a publish may take, in milliseconds. */
  readonly timeout: number
  formatId (epoch: string, n: number, time: number): string
  recipients (event: BrokerEvent): number
}

export class Publisher {
  /** Publishes that failed, since the start. */
  failures = 0
  readonly log: LogWriter
  readonly #connection: RedisConnection
  readonly #settings: PublisherSettings
  // A batch moves from the queue to `sent`, from there to `retries` and back, or to `unread`.
  #queue: PendingEvent[] = []
  /** Sent and not answered, in the order in which they were sent. */
  #sent: Batch[] = []
  /** Answered and not stored. They are sent again once nothing is in `sent`, so that their order holds. */
  #retries: Batch[] = []
  /** Stored and not read back yet, by number. */
  readonly #unread = new Map<number, Batch>()
  #unansweredEvents = 0
  #unreadEvents = 0
  #batches = 0
  #scheduled = false
  #closed = false
  #deadlineTimer: NodeJS.Timeout | null = null
  /** Set while `retries` must wait. */
  #retryTimer: NodeJS.Timeout | null = null

  constructor (connection: RedisConnection, settings: PublisherSettings) {
    this.#connection = connection
    this.#settings = settings
    this.log = new LogWriter(connection, settings)
    connection.onReady(() => this.#schedule())
  }

  publish (event: BrokerEvent, key: string): Promise<BrokerReceipt> {
    return new Promise((resolve, reject) => {
      const deadline = performance.now() + this.#settings.timeout
      this.#queue.push({ event, packed: pack(event), key, deadline, settle: resolve, fail: reject })
      this.#schedule()
      this.#watch(deadline)
    })
  }

  /**
   * The reader has come to a batch of this publisher. A batch may hold events whose idempotency keys were stored before.
   * Example: of events 0, 1 and 2, event 1 is known. Then `receipts` is for 0 and 2, and `before` has the id for 1.
   * @param receipts for the events that were stored with the batch, in order
   * @param before ids of the events that were stored before, by their place in the batch
   */
  read (number: number, receipts: readonly BrokerReceipt[], before: ReadonlyMap<number, string>): void {
    // The reader may come to it before the writer has the answer.
    const batch = this.#unread.get(number) ?? this.#sent.find(sent => sent.number === number) ?? this.#retries.find(retry => retry.number === number)
    if (batch === undefined) return
    let at = 0
    for (const [i, pending] of batch.events.entries()) {
      const id = before.get(i)
      const receipt = id === undefined ? receipts[at++] : { id, recipients: this.#settings.recipients(pending.event) }
      if (receipt !== undefined) settle(pending, pending.event.transient ? { ...receipt, id: null } : receipt)
    }
    if (this.#unread.delete(number)) this.#unreadEvents -= batch.events.length
    this.#schedule()
  }

  close (): void {
    this.#closed = true
    if (this.#deadlineTimer !== null) clearTimeout(this.#deadlineTimer)
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer)
    for (const pending of this.#queue) this.#fail(pending, new SSE_ERR_CLOSED())
    this.#queue = []
    for (const batch of [...this.#sent, ...this.#retries, ...this.#unread.values()]) {
      for (const pending of batch.events) this.#fail(pending, unavailable('it was closed before the answer came', true))
    }
  }

  /** Resolves once nothing is on its way. */
  async drained (): Promise<void> {
    while (this.#busy && !this.#closed) await new Promise(resolve => setTimeout(resolve, 10))
  }

  get #busy (): boolean {
    return this.#queue.length > 0 || this.#sent.length > 0 || this.#retries.length > 0 || this.#unread.size > 0
  }

  #schedule (): void {
    if (this.#scheduled || this.#closed) return
    this.#scheduled = true
    // All that this turn publishes is in the queue by then.
    setImmediate(() => {
      this.#scheduled = false
      this.#flush()
    })
  }

  #flush (): void {
    if (!this.#connection.ready || this.#closed) return
    if (this.#retries.length > 0) {
      if (this.#sent.length > 0 || this.#retryTimer !== null) return
      // A batch is dropped if all its callers have an answer. The others are sorted: answers may come in any order.
      const retries = this.#retries.filter(isOpen).sort((a, b) => a.number - b.number)
      this.#retries = []
      for (const batch of retries) this.#send(batch)
    }
    while (this.#queue.length > 0 && this.#unansweredEvents < MAX_UNANSWERED && this.#unreadEvents < MAX_UNREAD) {
      this.#send(takeBatch(this.#queue, ++this.#batches))
    }
  }

  #send (batch: Batch): void {
    const after = this.#sent.at(-1)?.number ?? 0
    this.#sent.push(batch)
    this.#unansweredEvents += batch.events.length
    batch.epoch = this.log.epoch
    batch.losses = this.#connection.losses
    this.log.append(batch, after).then(answer => this.#answered(batch, answer), (error: Error) => this.#refused(batch, error))
  }

  #answered (batch: Batch, answer: Answer): void {
    this.#takeBack(batch)
    switch (answer[0]) {
      case 'OK':
        batch.first = Number(answer[1])
        batch.time = Number(answer[2])
        this.#awaitReader(batch)
        break
      case 'STORED':
        this.#awaitReader(batch)
        break
      case 'EXPIRED':
        this.#failAll(batch, 'it was away for too long')
        break
      case 'EPOCH':
        // It may have been stored in the epoch that has ended, and clients may have it.
        if (batch.doubtful) this.#failAll(batch, 'it has lost data, perhaps this too')
        else this.#retries.push(batch)
        break
      case 'ORDER':
        this.#retries.push(batch)
    }
    this.#schedule()
  }

  #refused (batch: Batch, error: Error): void {
    this.#takeBack(batch)
    const isAnswer = error.name === 'ReplyError'
    const hasNotBegun = NOT_BEGUN.test(error.message)
    if (!isAnswer) batch.doubtful = true
    if ((isAnswer && !hasNotBegun) || performance.now() >= batch.deadline) {
      // Another error does not say how far the script has come.
      if (!hasNotBegun) batch.doubtful = true
      this.#failAll(batch, error.message, error)
    } else {
      this.#retries.push(batch)
      this.#retryTimer ??= setTimeout(() => {
        this.#retryTimer = null
        this.#schedule()
      }, RETRY).unref()
    }
    this.#schedule()
  }

  #takeBack (batch: Batch): void {
    this.#sent.splice(this.#sent.indexOf(batch), 1)
    this.#unansweredEvents -= batch.events.length
    if (batch.losses !== this.#connection.losses) batch.doubtful = true
  }

  #awaitReader (batch: Batch): void {
    // The reader was faster than the answer.
    if (!isOpen(batch)) return
    this.#unread.set(batch.number, batch)
    this.#unreadEvents += batch.events.length
  }

  #failAll ({ events, doubtful }: Batch, reason: string, cause?: Error): void {
    for (const pending of events) this.#fail(pending, unavailable(reason, doubtful, cause))
  }

  #fail (pending: PendingEvent, error: Error): void {
    if (pending.settle === null) return
    pending.settle = null
    this.failures++
    pending.fail(error)
  }

  /** Wakes up at the first deadline, and every 100 ms after it until nothing is on its way. */
  #watch (deadline: number): void {
    if (this.#deadlineTimer !== null) return
    this.#deadlineTimer = setTimeout(() => {
      this.#deadlineTimer = null
      this.#expire(performance.now())
      if (this.#busy && !this.#closed) this.#watch(performance.now() + RETRY)
    }, deadline - performance.now() + 1)
  }

  #expire (now: number): void {
    // Redis never had these.
    while (this.#queue.length > 0 && this.#queue[0]!.deadline <= now) this.#fail(this.#queue.shift()!, unavailable('it was away for too long', false))
    const expired = this.#retries.filter(({ deadline }) => deadline <= now)
    this.#retries = this.#retries.filter(({ deadline }) => deadline > now)
    for (const batch of expired) this.#failAll(batch, 'it was away for too long')
    for (const batch of this.#sent) {
      if (batch.deadline + GRACE > now) continue
      for (const pending of batch.events) this.#fail(pending, unavailable('it has not answered', true))
    }
    for (const batch of [...this.#unread.values()]) if (batch.deadline <= now) this.#giveUpReading(batch)
  }

  /**
   * The batch is stored, and this instance has not read it back in time. The ids follow from Redis's answer: with the first
   * number 7, three events have 7, 8 and 9. They do not follow if an event has an idempotency key, since it may have an
   * older number, nor after the answer `STORED`, which has no number.
   */
  #giveUpReading (batch: Batch): void {
    this.#unread.delete(batch.number)
    this.#unreadEvents -= batch.events.length
    let n = batch.events.some(({ key }) => key !== '') ? 0 : batch.first
    for (const pending of batch.events) {
      if (n === 0) this.#fail(pending, unavailable('it has it, and this instance could not read it back', true))
      else settle(pending, { id: pending.event.transient ? null : this.#settings.formatId(batch.epoch, n++, batch.time), recipients: this.#settings.recipients(pending.event) })
    }
  }
}

function unavailable (reason: string, inDoubt: boolean, cause?: Error): SSE_ERR_BROKER_UNAVAILABLE {
  return new SSE_ERR_BROKER_UNAVAILABLE(reason, inDoubt, cause === undefined ? {} : { cause })
}
