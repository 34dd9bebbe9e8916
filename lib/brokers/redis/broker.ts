// The broker itself: it starts and stops its parts, and each part tells the others through it. It must not know of HTTP or the
// wire format.
import type { Cluster, Redis } from 'ioredis'
import type { Broker, BrokerEvent, BrokerPast, BrokerPlaceAhead, BrokerReceipt, BrokerSink, BrokerStats } from '../../../types/broker.js'
import { SSE_ERR_BROKER_UNAVAILABLE } from '../../errors.js'
import { RedisConnection } from './connection.js'
import { RedisHistory } from './history.js'
import { Housekeeping } from './housekeeping.js'
import { formatId, parseId } from './ids.js'
import { Keys } from './keys.js'
import type { LogEntry } from './log-entry.js'
import { LogReader, type LogReaderHost } from './log-reader.js'
import { Positions } from './positions.js'
import { Presence } from './presence.js'
import { Publisher } from './publisher.js'

/** How long histories are kept if the hub sets no limit, in milliseconds. */
const HISTORY_AGE = 24 * 60 * 60 * 1000
/** A start waits for Redis at least this long, in milliseconds: to connect takes longer than to publish. */
const START = 5000
/** How long a close waits for what is on its way, in milliseconds. */
const FAREWELL = 1000

/** All in milliseconds. */
export interface Times {
  readonly logAge: number
  readonly timeout: number
  readonly leasePeriod: number
}

export class RedisBroker implements Broker, LogReaderHost {
  readonly keys: Keys
  readonly #template: Redis | Cluster | string
  readonly #times: Times
  readonly #positions = new Positions()
  #sink!: BrokerSink
  #connection!: RedisConnection
  #publisher!: Publisher
  #reader!: LogReader
  #presence!: Presence
  #history!: RedisHistory
  #housekeeping!: Housekeeping
  #historyAge = HISTORY_AGE
  /** The newest failure since Redis was there last. */
  #failure: Error | null = null

  constructor (template: Redis | Cluster | string, stream: string, times: Times) {
    this.#template = template
    this.keys = new Keys(stream)
    this.#times = times
  }

  async start (sink: BrokerSink): Promise<void> {
    this.#assemble(sink)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(this.#unanswered()), Math.max(START, this.#times.timeout))
    })
    try {
      await Promise.race([this.#begin(), late])
    } catch (error) {
      await this.close()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  #assemble (sink: BrokerSink): void {
    const { keys } = this
    const { logAge, timeout, leasePeriod } = this.#times
    const failed = (error: Error): void => this.failed(error)
    this.#sink = sink
    if (sink.historyMaxAge !== Infinity) this.#historyAge = sink.historyMaxAge
    const historyAge = this.#historyAge
    const connection = this.#connection = new RedisConnection(this.#template, keys.meta, failed)
    connection.onReady(() => { this.#failure = null })
    const reader = this.#reader = new LogReader(connection, this)
    this.#publisher = new Publisher(connection, {
      keys,
      historySize: sink.historySize,
      historyAge,
      logAge,
      timeout,
      standing: () => ({ epoch: reader.epoch, n: reader.n, time: reader.entryTime }),
      formatId,
      recipients: event => sink.recipients(event)
    })
    this.#presence = new Presence(connection, {
      keys,
      period: leasePeriod,
      announce: told => this.#publisher.log.announce(told),
      changed: (change, channel, member, instance) => sink.presence(change, channel, member, instance),
      failed
    })
    this.#history = new RedisHistory(connection, keys, reader, this.#positions, sink.historySize)
    this.#housekeeping = new Housekeeping(connection, { keys, historyAge, standing: reader, failed })
  }

  async #begin (): Promise<void> {
    await this.#connection.measure()
    await this.#reader.start()
    await this.#presence.start()
    this.#housekeeping.start()
  }

  #unanswered (): Error {
    if (this.#failure === null) return new SSE_ERR_BROKER_UNAVAILABLE('Redis did not answer', false)
    return new SSE_ERR_BROKER_UNAVAILABLE(`Redis did not answer: ${this.#failure.message}`, false, { cause: this.#failure })
  }

  get presence (): Presence {
    return this.#presence
  }

  stats (): BrokerStats {
    const { ready, reconnects, roundTrip } = this.#connection
    return {
      state: ready ? 'ready' : 'unavailable',
      reconnects,
      publishFailures: this.#publisher.failures,
      malformed: this.#reader.malformed,
      lag: this.#housekeeping.lag,
      roundTrip
    }
  }

  publish (event: BrokerEvent, idempotencyKey: string): Promise<BrokerReceipt> {
    return this.#publisher.publish(event, idempotencyKey)
  }

  head (): string {
    const { epoch, n, time } = this.#reader
    return formatId(epoch, n, time)
  }

  position (id: string): number | BrokerPlaceAhead {
    const place = parseId(id)
    const { epoch, n } = this.#reader
    // The id is older than the histories, so it is not known what came after it.
    if (place === null || place.epoch !== epoch || place.time + this.#historyAge < this.#connection.clock(performance.now())) return -1
    const position = this.#positions.base + place.n
    return place.n <= n ? position : { position, arrived: this.#arrived(place.n, position) }
  }

  /** Another instance was faster and sent a client this id, or the client made it up. Redis knows which. */
  async #arrived (n: number, position: number): Promise<boolean> {
    const { epoch } = this.#reader
    const [now, newest] = await this.#connection.writer.hmget(this.keys.meta, 'e', 'n')
    if (now !== epoch || this.#reader.epoch !== epoch || Number(newest) < n) return false
    return await this.#positions.reach(position, this.#times.timeout)
  }

  get answerTimeout (): number {
    return this.#times.timeout
  }

  past (targets: readonly string[]): Promise<ReadonlyMap<string, BrokerPast>> {
    return this.#history.read(targets)
  }

  async close (): Promise<void> {
    this.#housekeeping.close()
    // Redis may be away.
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>(resolve => { timer = setTimeout(resolve, FAREWELL) })
    await Promise.race([this.#farewell().catch(error => this.failed(error as Error)), late])
    clearTimeout(timer)
    this.#publisher.close()
    this.#connection.close()
    await this.#reader.close()
    this.#positions.refuse()
  }

  /** Waits for what is on its way, and tells the other instances that this one's clients are gone. */
  async #farewell (): Promise<void> {
    await this.#publisher.drained()
    await this.#presence.close()
  }

  // The reader calls the methods below.

  event (event: BrokerEvent, n: number, time: number): number {
    return this.#sink.deliver(event, this.#positions.advance(n), event.transient ? null : formatId(this.#reader.epoch, n, time))
  }

  began (n: number): void {
    this.#publisher.log.adopted()
    if (!this.#positions.begin(n)) this.#presence.lost()
    this.#sink.skipTo(this.#positions.current)
    this.#presence.tellAll()
    this.#positions.refuse()
  }

  entry ({ first, publisher, batch, time, before, presence }: LogEntry, recipients: readonly number[]): void {
    if (presence !== null) this.#presence.read(presence)
    const { epoch, n } = this.#reader
    this.#positions.advance(n)
    if (publisher === this.#publisher.log.publisher) {
      const ids = new Map([...before].map(([i, answer]) => {
        const [epoch, n, at] = answer.split('.') as [string, string, string]
        return [i, formatId(epoch, Number(n), Number(at))]
      }))
      this.#publisher.read(batch, recipients.map((recipients, i) => ({ id: formatId(epoch, first + i, time), recipients })), ids)
    }
    this.#positions.release()
  }

  skipped (n: number): void {
    this.#sink.skipTo(this.#positions.advance(n))
    this.#presence.lost()
    this.#positions.release()
  }

  othersAlive (): Promise<boolean> {
    return this.#presence.othersAlive()
  }

  renew (epoch: string, reset: boolean): Promise<void> {
    return this.#publisher.log.renew(epoch, reset)
  }

  /** While Redis is away, the same message is logged once: connecting fails many times a second. */
  failed (error: Error): void {
    const told = !this.#connection.ready && this.#failure?.message === error.message
    this.#failure = error
    if (!told) this.#sink.log.warn({ err: error }, 'Redis failed')
  }
}
