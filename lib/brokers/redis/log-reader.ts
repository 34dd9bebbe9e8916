// Reads the log in its order: what is new, and whether anything is missing. It must not know of clients.
import { setImmediate } from 'node:timers/promises'
import type { BrokerEvent } from '../../../types/broker.js'
import { backoff } from './backoff.js'
import { BLOCK, type RedisConnection } from './connection.js'
import { findEpoch, type EpochHost } from './epoch.js'
import { parseEntry, type LogEntry } from './log-entry.js'
import { isAfter, readLogHead, type LogHead } from './log-head.js'

/** Entries of one read. */
const COUNT = 64
/** An entry may hold the event loop for this long at a time, in milliseconds. */
const SLICE = 5
/** The newest batch is remembered of so many publishers. */
const MAX_PUBLISHERS = 10_000

export interface LogReaderHost extends EpochHost {
  /** One event, with its number in the epoch. Returns how many clients it was for. */
  event (event: BrokerEvent, n: number, time: number): number
  /** A whole entry was read. */
  entry (entry: LogEntry, recipients: readonly number[]): void
  /** Events up to this number of the epoch never come here. */
  skipped (n: number): void
  /** Reading begins in an epoch, after this number. */
  began (n: number): void
  failed (error: Error): void
}

export class LogReader {
  /** Entries that the broker did not write, since the start. */
  malformed = 0
  epoch = ''
  /** The number of the newest event that was read, and when it was stored. */
  n = 0
  time = 0
  /** The milliseconds in the id of the newest entry that was read. */
  entryTime = 0
  readonly #connection: RedisConnection
  readonly #host: LogReaderHost
  /** The newest batch of each publisher. */
  readonly #batches = new Map<string, number>()
  /** The id of the newest entry that was read. */
  #cursor = '0-0'
  /** A new epoch is on its way; until then what comes of the old one is passed over. */
  #distrusted = false
  #closed = false
  #running: Promise<void> = Promise.resolve()

  constructor (connection: RedisConnection, host: LogReaderHost) {
    this.#connection = connection
    this.#host = host
  }

  /** Begins at the present end of the log. */
  async start (): Promise<void> {
    const head = await findEpoch(this.#connection, this.#host)
    this.epoch = head.epoch
    this.n = head.n
    this.time = this.entryTime = head.time
    this.#cursor = head.id
    this.#connection.onReady(() => { this.#vouch().catch(error => this.#host.failed(error as Error)) })
    this.#host.began(this.n)
    this.#running = this.#run()
  }

  async close (): Promise<void> {
    this.#closed = true
    await this.#running
  }

  /** After a reconnect Redis may be another server, or may have restarted. Instances that start now wait for a voucher. */
  async #vouch (): Promise<void> {
    if (!this.#distrusted) await this.#connection.vouch(this.#host.keys.meta, this.epoch, this.n, true)
  }

  async #run (): Promise<void> {
    let attempt = 0
    while (!this.#closed) {
      try {
        const streams = await this.#connection.reader.xreadBuffer('COUNT', COUNT, 'BLOCK', BLOCK, 'STREAMS', this.#host.keys.log, this.#cursor)
        if (this.#closed) return
        if (streams === null) await this.#check()
        else for (const [id, fields] of streams[0]![1]) await this.#read(id.toString('latin1'), fields)
        attempt = 0
      } catch (error) {
        if (this.#closed) return
        this.#host.failed(error as Error)
        await new Promise(resolve => setTimeout(resolve, backoff(++attempt)).unref())
      }
    }
  }

  /**
   * Nothing came, although there may be something. Example: the reader waits for what comes after 50-0, and the log is deleted
   * and begins again at 20-0. `XREAD` says nothing of that.
   */
  async #check (): Promise<void> {
    const { epoch, n, newest, whole } = await this.#head()
    if (epoch === null || newest === null) await this.#host.renew(this.epoch, false)
    else if (epoch !== this.epoch) {
      if (!isAfter(newest, this.#cursor)) this.#cursor = '0-0'
    } else if (n < this.n || !whole || this.#distrusted) {
      await this.#distrust()
    } else if (n > this.n && !isAfter(newest, this.#cursor)) {
      // Another program removed entries from the log.
      this.n = n
      this.#host.skipped(n)
    }
  }

  #head (): Promise<LogHead> {
    return readLogHead(this.#connection, this.#host.keys, this.epoch)
  }

  async #distrust (): Promise<void> {
    await this.#host.renew(this.epoch, true)
    this.#distrusted = true
  }

  async #read (id: string, fields: Buffer[]): Promise<void> {
    const entry = parseEntry(fields)
    if (entry === null) this.malformed++
    const isNext = entry !== null && await this.#isNext(entry)
    if (isNext && entry.first > this.n + 1) {
      // Entries were trimmed before this instance read them, e.g. it has read up to 7 and this entry begins at 12.
      this.n = entry.first - 1
      this.#host.skipped(this.n)
    }
    // If anything before this fails, the entry is read again; its events are delivered once.
    this.#cursor = id
    if (!isNext) return
    this.entryTime = Number(id.slice(0, id.indexOf('-')))
    await this.#deliver(entry)
  }

  /** Whether an entry is of the epoch in force and continues what was read. */
  async #isNext ({ epoch, first, events }: LogEntry): Promise<boolean> {
    if (epoch !== this.epoch && !await this.#adopt(epoch)) return false
    if (this.#distrusted) return false
    if (first > this.n || (events.length === 0 && first === this.n)) return true
    // The numbers went back, e.g. from 90 to 71: Redis was restored from an older copy, or a replica that lagged took over.
    await this.#distrust()
    return false
  }

  async #deliver (entry: LogEntry): Promise<void> {
    const { publisher, batch, events, time } = entry
    // What Redis knew of the publisher is gone, so that it stored a batch again.
    const isRepeated = publisher !== '' && batch <= (this.#batches.get(publisher) ?? 0)
    const recipients: number[] = []
    let since = performance.now()
    for (const event of events) {
      this.n++
      this.time = time
      if (!isRepeated) recipients.push(this.#host.event(event, this.n, time))
      if (performance.now() - since < SLICE) continue
      await setImmediate()
      since = performance.now()
    }
    if (publisher !== '' && !isRepeated) this.#remember(publisher, batch)
    this.#host.entry(isRepeated ? { ...entry, publisher: '' } : entry, recipients)
  }

  /** Takes over an entry's epoch if it is the one in force. Else the entry is of one that has ended. */
  async #adopt (epoch: string): Promise<boolean> {
    if ((await this.#head()).epoch !== epoch) return false
    this.epoch = epoch
    this.n = 0
    this.#distrusted = false
    this.#host.began(0)
    return true
  }

  #remember (publisher: string, batch: number): void {
    this.#batches.delete(publisher)
    this.#batches.set(publisher, batch)
    if (this.#batches.size > MAX_PUBLISHERS) this.#batches.delete(this.#batches.keys().next().value!)
  }
}
