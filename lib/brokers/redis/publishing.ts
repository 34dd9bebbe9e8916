// The way of events into Redis: one script and one log entry a turn of the event loop, in order, each with a deadline. It
// must not know of clients.
import { randomBytes } from 'node:crypto'
import type { BrokerEvent, BrokerReceipt } from '../../../types/broker.js'
import { randomId } from '../../client/client-id.js'
import { SSE_ERR_BROKER_UNAVAILABLE, SSE_ERR_CLOSED } from '../../errors.js'
import type { RedisConnection } from './connection.js'
import type { Keys } from './keys.js'
import { pack } from './packing.js'

/** What one log entry may hold, in events and in characters. */
const MAX_BATCH = 500
const MAX_BATCH_SIZE = 256 * 1024
/** Events that Redis has not answered for: more of them wait their turn. */
const MAX_UNANSWERED = 2000
/** Events that Redis has taken and that this instance has not read: a publisher must not starve its own reader. */
const MAX_UNREAD = 20_000
/** An answer may come a little later than the deadline that Redis saw. */
const GRACE = 250
/** Before what Redis refused for a while is sent again, in milliseconds. */
const RETRY = 100

/** Errors with which Redis says that it has not begun. */
const NOT_BEGUN = /^(?:OOM|READONLY|NOPERM|NOAUTH|LOADING|MASTERDOWN|MISCONF|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|BUSY) /

type Answer = ['OK', string, string] | ['EXPIRED'] | ['STORED'] | ['ORDER'] | ['EPOCH', string]

/** Where the order stands, as far as this instance has read it. */
interface Standing {
  readonly epoch: string
  /** Number of the newest event. */
  readonly n: number
  /** Milliseconds in the id of the newest entry. */
  readonly time: number
}

export interface OutgoingSettings {
  readonly keys: Keys
  readonly historySize: number
  readonly historyAge: number
  readonly logAge: number
  readonly timeout: number
  standing (): Standing
  formatId (epoch: string, n: number, time: number): string
  recipients (event: BrokerEvent): number
}

interface Outgoing {
  readonly event: BrokerEvent
  readonly packed: string
  readonly key: string
  /** By `performance.now()`. */
  readonly deadline: number
  settle: ((receipt: BrokerReceipt) => void) | null
  fail: (error: Error) => void
}

interface Batch {
  readonly number: number
  readonly events: readonly Outgoing[]
  readonly deadline: number
  /** The epoch in which it was sent last, and how often the connection had been lost before. */
  epoch: string
  losses: number
  /** The connection was lost while it was on its way: it may have been stored, whatever Redis says of it later. */
  doubtful: boolean
  /** The number of its first event, once Redis has told. */
  first: number
  time: number
}

export class Publishing {
  /** Publish failures since start. */
  failures = 0
  readonly id = randomBytes(9).toString('base64url')
  readonly #connection: RedisConnection
  readonly #settings: OutgoingSettings
  #queue: Outgoing[] = []
  /** Sent and not answered, in order. */
  #sent: Batch[] = []
  /** To be sent again, in order, once all that was sent is answered. */
  #again: Batch[] = []
  /** Taken by Redis, not read back yet. */
  readonly #taken = new Map<number, Batch>()
  #unanswered = 0
  #unread = 0
  #batches = 0
  #flushing = false
  #closed = false
  #timer: NodeJS.Timeout | null = null
  /** Set while what Redis refused waits. */
  #pause: NodeJS.Timeout | null = null
  /** The epoch that Redis said is in force, where the reader has not come to it. */
  #epoch = ''

  constructor (connection: RedisConnection, settings: OutgoingSettings) {
    this.#connection = connection
    this.#settings = settings
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

  /** Makes an epoch where there is none, or, with `reset`, where the present one can't be trusted any more. */
  async renew (reset: boolean): Promise<void> {
    await this.#run(this.#settings.standing().epoch, 0, 0, Infinity, [], { reset })
  }

  /** The reader has come to another epoch. */
  adopted (): void {
    this.#epoch = ''
  }

  /** Appends an entry that says who came and who left. */
  async announce (presence: string): Promise<void> {
    for (;;) {
      const answer = await this.#run(this.#inForce, 0, 0, Infinity, [], { presence })
      if (answer[0] !== 'EPOCH') return
      this.#epoch = answer[1]
    }
  }

  /**
   * The reader has come to a batch of this publisher.
   * @param receipts of its events that were stored with it, in order
   * @param before of those that were stored before, by their place in the batch
   */
  read (number: number, receipts: readonly BrokerReceipt[], before: ReadonlyMap<number, string>): void {
    const batch = this.#taken.get(number) ?? this.#sent.find(sent => sent.number === number) ?? this.#again.find(sent => sent.number === number)
    if (batch === undefined) return
    let at = 0
    for (const [i, outgoing] of batch.events.entries()) {
      const id = before.get(i)
      const receipt = id === undefined ? receipts[at++] : { id, recipients: this.#settings.recipients(outgoing.event) }
      if (receipt !== undefined) settle(outgoing, outgoing.event.transient ? { ...receipt, id: null } : receipt)
    }
    if (this.#taken.delete(number)) this.#unread -= batch.events.length
    this.#schedule()
  }

  close (): void {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#pause !== null) clearTimeout(this.#pause)
    for (const outgoing of this.#queue) this.#fail(outgoing, new SSE_ERR_CLOSED())
    this.#queue = []
    for (const batch of [...this.#sent, ...this.#again, ...this.#taken.values()]) {
      for (const outgoing of batch.events) this.#fail(outgoing, unavailable('it was closed before the answer came', true))
    }
  }

  /** Resolves once nothing is on its way. */
  async settled (): Promise<void> {
    while (this.#busy && !this.#closed) await new Promise(resolve => setTimeout(resolve, 10))
  }

  get #busy (): boolean {
    return this.#queue.length > 0 || this.#sent.length > 0 || this.#again.length > 0 || this.#taken.size > 0
  }

  #schedule (): void {
    if (this.#flushing || this.#closed) return
    this.#flushing = true
    // Behind everything that this turn publishes.
    setImmediate(() => {
      this.#flushing = false
      this.#flush()
    })
  }

  #flush (): void {
    if (!this.#connection.ready || this.#closed) return
    if (this.#again.length > 0) {
      if (this.#sent.length > 0 || this.#pause !== null) return
      // What was settled meanwhile is not stored a second time. Answers do not always come in order.
      const again = this.#again.filter(isOpen).sort((a, b) => a.number - b.number)
      this.#again = []
      for (const batch of again) this.#send(batch)
    }
    while (this.#queue.length > 0 && this.#unanswered < MAX_UNANSWERED && this.#unread < MAX_UNREAD) {
      let count = 0
      let size = 0
      while (count < this.#queue.length && count < MAX_BATCH && (count === 0 || size + this.#queue[count]!.packed.length <= MAX_BATCH_SIZE)) {
        size += this.#queue[count++]!.packed.length
      }
      const events = this.#queue.splice(0, count)
      // Deadlines grow in a queue: the first one's is the batch's.
      this.#send({ number: ++this.#batches, events, deadline: events[0]!.deadline, epoch: '', losses: 0, doubtful: false, first: 0, time: 0 })
    }
  }

  #send (batch: Batch): void {
    const behind = this.#sent.at(-1)?.number ?? 0
    this.#sent.push(batch)
    this.#unanswered += batch.events.length
    batch.epoch = this.#inForce
    batch.losses = this.#connection.losses
    this.#run(batch.epoch, batch.number, behind, batch.deadline, batch.events, {}).then(
      answer => this.#answered(batch, answer),
      (error: Error) => this.#refused(batch, error))
  }

  #answered (batch: Batch, answer: Answer): void {
    this.#settled(batch)
    switch (answer[0]) {
      case 'OK':
        batch.first = Number(answer[1])
        batch.time = Number(answer[2])
        this.#take(batch)
        break
      case 'STORED':
        this.#take(batch)
        break
      case 'EXPIRED':
        this.#failAll(batch, 'it was away for too long')
        break
      case 'EPOCH':
        this.#epoch = answer[1]
        // In the epoch that has ended it may have been stored, and clients may have it.
        if (batch.doubtful) this.#failAll(batch, 'it has lost data, perhaps this too')
        else this.#again.push(batch)
        break
      case 'ORDER':
        this.#again.push(batch)
    }
    this.#schedule()
  }

  #refused (batch: Batch, error: Error): void {
    this.#settled(batch)
    const isAnswer = error.name === 'ReplyError'
    if (!isAnswer) batch.doubtful = true
    if ((isAnswer && !NOT_BEGUN.test(error.message)) || performance.now() >= batch.deadline) {
      // What it says of other errors leaves open how far it came.
      if (!NOT_BEGUN.test(error.message)) batch.doubtful = true
      this.#failAll(batch, error.message, error)
    } else {
      this.#again.push(batch)
      this.#pause ??= setTimeout(() => {
        this.#pause = null
        this.#schedule()
      }, RETRY).unref()
    }
    this.#schedule()
  }

  #settled (batch: Batch): void {
    this.#sent.splice(this.#sent.indexOf(batch), 1)
    this.#unanswered -= batch.events.length
    if (batch.losses !== this.#connection.losses) batch.doubtful = true
  }

  #take (batch: Batch): void {
    // The reader may have been faster.
    if (!isOpen(batch)) return
    this.#taken.set(batch.number, batch)
    this.#unread += batch.events.length
  }

  /** What Redis said last is nearer to the truth than what was read, until the reader gets there. */
  get #inForce (): string {
    return this.#epoch === '' ? this.#settings.standing().epoch : this.#epoch
  }

  async #run (epoch: string, number: number, behind: number, deadline: number, events: readonly Outgoing[], { reset = false, presence = '' }): Promise<Answer> {
    const { keys, historySize, historyAge, logAge, standing } = this.#settings
    const { epoch: read, n, time } = standing()
    // 48 random bits out of a pool: asking the system for them cost 9 µs a batch.
    const proposed = randomId().slice(0, 8)
    const [histories, states, orders] = [keys.histories(epoch), keys.states(epoch), keys.orders(epoch)]
    const names = [keys.meta, keys.log, keys.last(epoch), keys.last(proposed), keys.publisher(this.id)]
    const args: Array<string | number> = [
      epoch, proposed, epoch === read ? n : 0, time, this.id, number, behind,
      deadline === Infinity ? 9e15 : Math.floor(this.#connection.clock(deadline)), historySize, historyAge, logAge,
      reset ? '1' : '0', presence, events.length
    ]
    for (const { event, packed, key } of events) {
      const kept = historySize === 0 || event.transient ? [] : event.kept
      if (key !== '') names.push(keys.idempotency(key))
      const state = event.key === '' ? '' : stateField(event)
      for (const target of kept) {
        if (state === '' || event.remove) names.push(histories + target)
        if (state !== '') names.push(states + target, orders + target)
      }
      args.push(packed, key === '' ? '0' : '1', kept.length, state, event.remove ? '1' : '0')
    }
    return await this.#connection.publish(names, args) as Answer
  }

  #failAll ({ events, doubtful }: Batch, reason: string, cause?: Error): void {
    for (const outgoing of events) this.#fail(outgoing, unavailable(reason, doubtful, cause))
  }

  #fail (outgoing: Outgoing, error: Error): void {
    if (outgoing.settle === null) return
    outgoing.settle = null
    this.failures++
    outgoing.fail(error)
  }

  /** Watches the deadlines. */
  #watch (deadline: number): void {
    if (this.#timer !== null) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#expire(performance.now())
      if (this.#busy && !this.#closed) this.#watch(performance.now() + RETRY)
    }, deadline - performance.now() + 1)
  }

  #expire (now: number): void {
    // Never handed to Redis.
    while (this.#queue.length > 0 && this.#queue[0]!.deadline <= now) this.#fail(this.#queue.shift()!, unavailable('it was away for too long', false))
    // Redis did not take these, and they are not on their way.
    const expired = this.#again.filter(({ deadline }) => deadline <= now)
    this.#again = this.#again.filter(({ deadline }) => deadline > now)
    for (const batch of expired) this.#failAll(batch, 'it was away for too long')
    for (const batch of this.#sent) {
      if (batch.deadline + GRACE > now) continue
      for (const outgoing of batch.events) this.#fail(outgoing, unavailable('it has not answered', true))
    }
    for (const batch of [...this.#taken.values()]) {
      if (batch.deadline > now) continue
      // Accepted, and this instance has not read it back: what it would have told is worked out.
      this.#taken.delete(batch.number)
      this.#unread -= batch.events.length
      // Where some may have been stored before, the numbers of the others are not known.
      let n = batch.events.some(({ key }) => key !== '') ? 0 : batch.first
      for (const outgoing of batch.events) {
        if (n === 0) this.#fail(outgoing, unavailable('it has it, and this instance could not read it back', true))
        else settle(outgoing, { id: outgoing.event.transient ? null : this.#settings.formatId(batch.epoch, n++, batch.time), recipients: this.#settings.recipients(outgoing.event) })
      }
    }
  }
}

/** Under which name a hash holds a state: an event's name has no line break. */
function stateField ({ name, key }: BrokerEvent): string {
  return `${name}\n${key}`
}

/** Whether somebody still waits for it. */
function isOpen ({ events }: Batch): boolean {
  return events.some(({ settle }) => settle !== null)
}

function settle (outgoing: Outgoing, receipt: BrokerReceipt): void {
  outgoing.settle?.(receipt)
  outgoing.settle = null
}

function unavailable (reason: string, inDoubt: boolean, cause?: Error): SSE_ERR_BROKER_UNAVAILABLE {
  return new SSE_ERR_BROKER_UNAVAILABLE(reason, inDoubt, cause === undefined ? {} : { cause })
}
