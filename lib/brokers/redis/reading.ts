// The way of events out of Redis, in its order: what is new, and whether anything is missing. It must not know of clients.
import { setImmediate } from 'node:timers/promises'
import type { BrokerEvent } from '../../../types/broker.js'
import { backoff } from './backoff.js'
import { BLOCK, type RedisConnection } from './connection.js'
import type { Keys } from './keys.js'
import { unpack } from './packing.js'

/** Entries of one read. */
const COUNT = 64
/** How long the event loop is held at a time, in milliseconds. */
const SLICE = 5
/** Before it is asked again whether somebody vouches for Redis, in milliseconds. */
const PATIENCE = 100

export interface Entry {
  readonly publisher: string
  readonly batch: number
  readonly time: number
  readonly presence: string | null
  /** Events that were stored before, by their place in the publisher's batch. */
  readonly before: ReadonlyMap<number, string>
}

export interface ReadingHost {
  readonly keys: Keys
  /** One event, with its number in the epoch. Returns how many clients it was for. */
  event (event: BrokerEvent, n: number, time: number): number
  /** A whole entry was read. */
  entry (entry: Entry, first: number, recipients: readonly number[]): void
  /** Events up to a number of this epoch are lost here. */
  skipped (n: number): void
  /** Reading begins in an epoch, behind this number. */
  began (n: number): void
  /** Makes an epoch where there is none, or where the present one can't be trusted. */
  renew (reset: boolean): Promise<void>
  /** Whether another instance has said lately that it is alive. */
  othersAlive (): Promise<boolean>
  failed (error: Error): void
}

/** What Redis says of the order. */
interface Standing {
  /** `null` where there is none. */
  readonly epoch: string | null
  readonly n: number
  /** Milliseconds in the id of the newest entry that the broker wrote, and the id. */
  readonly time: number
  readonly id: string
  /** The id of the newest entry that is there; `null` where the log is empty or gone. */
  readonly newest: string | null
  /** Whether what tells the targets' newest numbers is there, where the epoch is the one that was read. */
  readonly whole: boolean
}

export class Reading {
  /** Entries that were none, since start. */
  malformed = 0
  epoch = ''
  /** Number and time of the newest event read. */
  n = 0
  time = 0
  /** Milliseconds in the id of the newest entry read. */
  entryTime = 0
  readonly #connection: RedisConnection
  readonly #host: ReadingHost
  readonly #publishers = new Map<string, number>()
  #cursor = '0-0'
  /** The epoch is to be replaced: what still comes of it does not count. */
  #distrusted = false
  #closed = false
  #running: Promise<void> = Promise.resolve()

  constructor (connection: RedisConnection, host: ReadingHost) {
    this.#connection = connection
    this.#host = host
  }

  /** Finds the present end of the log, from where it reads on. Makes an epoch where there is none. */
  async start (): Promise<void> {
    let found = await this.#standing()
    for (;;) {
      if (found.epoch === null || found.newest === null) await this.#host.renew(false)
      // Only now it can be asked for what is there of this epoch.
      else if (found.epoch !== this.epoch) this.epoch = found.epoch
      else if (!found.whole) await this.#host.renew(true)
      else if (await this.#connection.vouch(this.#host.keys.meta, found.epoch, found.n, false)) break
      // Redis was restarted. Those who know what it had may be about to say that it has it still.
      else if (await this.#host.othersAlive()) await new Promise(resolve => setTimeout(resolve, PATIENCE))
      else await this.#host.renew(true)
      found = await this.#standing()
    }
    this.n = found.n
    this.time = this.entryTime = found.time
    this.#cursor = found.id
    this.#connection.onReady(() => { this.#vouch().catch(error => this.#host.failed(error as Error)) })
    this.#host.began(this.n)
    this.#running = this.#run()
  }

  /** Redis may be another one than before, or one that was restarted. */
  async #vouch (): Promise<void> {
    if (!this.#distrusted) await this.#connection.vouch(this.#host.keys.meta, this.epoch, this.n, true)
  }

  async close (): Promise<void> {
    this.#closed = true
    await this.#running
  }

  async #standing (): Promise<Standing> {
    const { writer } = this.#connection
    const { keys } = this.#host
    const [[error, fields], [logError, entries], [lastError, whole]] = await writer.pipeline()
      .hmget(keys.meta, 'e', 'n', 't', 'q')
      .xrevrange(keys.log, '+', '-', 'COUNT', 1)
      .exists(keys.last(this.epoch))
      .exec() as [[Error | null, Array<string | null>], [Error | null, Array<[string, string[]]>], [Error | null, number]]
    if (error !== null || logError !== null || lastError !== null) throw error ?? logError ?? lastError!
    const [epoch, n, time, sequence] = fields
    return { epoch: epoch ?? null, n: Number(n), time: Number(time), id: `${time}-${sequence}`, newest: entries[0]?.[0] ?? null, whole: whole === 1 }
  }

  async #run (): Promise<void> {
    let attempt = 0
    while (!this.#closed) {
      try {
        const streams = await this.#connection.reader.xreadBuffer('COUNT', COUNT, 'BLOCK', BLOCK, 'STREAMS', this.#host.keys.log, this.#cursor)
        if (this.#closed) return
        if (streams === null) await this.#check()
        else for (const [id, fields] of streams[0]![1]) await this.#entry(id.toString('latin1'), fields)
        attempt = 0
      } catch (error) {
        if (this.#closed) return
        this.#host.failed(error as Error)
        await new Promise(resolve => setTimeout(resolve, backoff(++attempt)).unref())
      }
    }
  }

  /** Nothing new came: whether that is because it can't. */
  async #check (): Promise<void> {
    const { epoch, n, newest, whole } = await this.#standing()
    if (epoch === null || newest === null) await this.#host.renew(false)
    else if (epoch !== this.epoch) {
      if (!later(newest, this.#cursor)) this.#cursor = '0-0'
    } else if (n < this.n || !whole || this.#distrusted) {
      await this.#distrust()
    } else if (n > this.n && !later(newest, this.#cursor)) {
      // Somebody took entries out of the log.
      this.n = n
      this.#host.skipped(n)
    }
  }

  async #distrust (): Promise<void> {
    await this.#host.renew(true)
    this.#distrusted = true
  }

  async #entry (id: string, fields: Buffer[]): Promise<void> {
    const values = new Map<string, Buffer>()
    for (let i = 0; i + 1 < fields.length; i += 2) values.set(fields[i]!.toString('latin1'), fields[i + 1]!)
    const epoch = values.get('e')?.toString('latin1')
    const first = Number(values.get('n'))
    const time = Number(values.get('t'))
    let events: BrokerEvent[]
    let packed: unknown[]
    try {
      packed = JSON.parse(values.get('b')!.toString()) as unknown[]
      events = packed.map(unpack)
      if (epoch === undefined || !Number.isSafeInteger(first) || first < 1 || !Number.isSafeInteger(time)) throw new TypeError('not an entry')
    } catch {
      // Not ours: somebody else writes to this key.
      this.malformed++
      this.#cursor = id
      return
    }
    if (epoch !== this.epoch && !await this.#adopt(epoch)) {
      this.#cursor = id
      return
    }
    if (this.#distrusted) {
      this.#cursor = id
      return
    }
    const publisher = values.get('p')?.toString('latin1') ?? ''
    const batch = Number(values.get('s') ?? 0)
    if (first <= this.n && (events.length > 0 || first < this.n)) {
      // The numbers went back: Redis was restored from an older copy, or a replica that lagged took over.
      await this.#distrust()
      this.#cursor = id
      return
    }
    if (first > this.n + 1) {
      this.n = first - 1
      this.#host.skipped(this.n)
    }
    this.#cursor = id
    this.entryTime = Number(id.slice(0, id.indexOf('-')))
    // A resend that Redis could not tell from a first one, since what it knew of the publisher is gone.
    const again = publisher !== '' && batch <= (this.#publishers.get(publisher) ?? 0)
    const recipients: number[] = []
    let since = performance.now()
    for (const event of events) {
      this.n++
      this.time = time
      if (!again) recipients.push(this.#host.event(event, this.n, time))
      if (performance.now() - since < SLICE) continue
      await setImmediate()
      since = performance.now()
    }
    if (publisher !== '' && !again) this.#remember(publisher, batch)
    this.#host.entry({ publisher: again ? '' : publisher, batch, time, presence: values.get('k')?.toString() ?? null, before: parseBefore(values.get('x')) }, first, recipients)
  }

  /** Whether an entry's epoch, which is not the one that it was, is the one in force. */
  async #adopt (epoch: string): Promise<boolean> {
    if ((await this.#standing()).epoch !== epoch) return false
    this.epoch = epoch
    this.n = 0
    this.#distrusted = false
    this.#host.began(0)
    return true
  }

  #remember (publisher: string, batch: number): void {
    this.#publishers.delete(publisher)
    this.#publishers.set(publisher, batch)
    if (this.#publishers.size > 10_000) this.#publishers.delete(this.#publishers.keys().next().value!)
  }
}

/** Whether one entry's id is behind another one's. */
function later (id: string, than: string): boolean {
  const [time, sequence] = id.split('-').map(Number) as [number, number]
  const [otherTime, otherSequence] = than.split('-').map(Number) as [number, number]
  return time > otherTime || (time === otherTime && sequence > otherSequence)
}

function parseBefore (value: Buffer | undefined): ReadonlyMap<number, string> {
  const before = new Map<number, string>()
  if (value === undefined) return before
  for (const part of value.toString('latin1').split(',')) {
    const at = part.indexOf(':')
    before.set(Number(part.slice(0, at)), part.slice(at + 1))
  }
  return before
}
