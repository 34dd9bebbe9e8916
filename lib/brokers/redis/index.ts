/**
 * The broker over Redis Streams: one order for all instances of an application. It needs `ioredis` 6 and Redis 6.2 or newer.
 * @module fastify-sse-hub/redis
 */
import { Type, type Static } from '@sinclair/typebox'
import type { Cluster, Redis } from 'ioredis'
import type { Broker, BrokerEvent, BrokerPast, BrokerPastEvent, BrokerPlaceAhead, BrokerReceipt, BrokerSink, BrokerStats } from '../../../types/broker.js'
import { SSE_ERR_BROKER_UNAVAILABLE, SSE_ERR_INVALID_OPTION } from '../../errors.js'
import { checker } from '../../options.js'
import { RedisConnection } from './connection.js'
import { formatId, parseId } from './ids.js'
import { Keys, LAST, STATES } from './keys.js'
import { unpack } from './packing.js'
import { Publishing } from './publishing.js'
import { Presence } from './presence.js'
import { Reading, type Entry, type ReadingHost } from './reading.js'

/** Where Redis is, under which name, and how long things may take: one of `client` and `url`, the rest has defaults. */
export interface RedisBrokerOptions {
  /** A client of `ioredis`, e.g. `fastify.redis`: two connections are made after it, and it is never closed. */
  client?: Redis | Cluster
  /** Or where Redis is: `redis://user:password@host:port/db`, `rediss://` for TLS. */
  url?: string
  /** The hub's name in Redis, without braces. Hubs with the same one share their events. Default `'sse'`. */
  stream?: string
  /** How long an event stays in the log, from which instances read, in milliseconds. Default 60000. */
  logMaxAge?: number
  /** How long a publish waits for Redis, in milliseconds. Default 5000. */
  publishTimeout?: number
  /**
   * How often an instance says that it is alive, in milliseconds: what one that was killed had told of its clients is gone
   * after three times that. Default 2000.
   */
  leasePeriod?: number
}

const Options = Type.Partial(Type.Object({
  client: Type.Object({}, { additionalProperties: true }),
  url: Type.String({ minLength: 1 }),
  stream: Type.String({ minLength: 1, maxLength: 256, pattern: '^[^{}\\r\\n\\0]+$' }),
  logMaxAge: Type.Integer({ minimum: 1000, maximum: 2 ** 31 - 1 }),
  publishTimeout: Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 }),
  leasePeriod: Type.Integer({ minimum: 100, maximum: 2 ** 31 - 1 })
}, { additionalProperties: false }))

/** A URL, or the path of a Unix socket. */
const URL_FORM = /^(rediss?:\/\/|\/)./

const checkOptions = checker(Options, 'redisBroker()')

/** What a history is kept for where the hub sets no limit, in milliseconds. */
const HISTORY_AGE = 24 * 60 * 60 * 1000
/** How long a start waits for Redis at least, in milliseconds: to connect takes longer than to publish. */
const START = 5000
/** How often the lag is looked at, in milliseconds. */
const MEASURE = 1000
/** How often what tells the targets' newest numbers is kept from running out, in milliseconds. */
const KEEP = 60 * 60 * 1000
/** How long what is on its way is waited for at the end, in milliseconds. */
const FAREWELL = 1000
/** Rows of a history fetched at a time. */
const PAGE = 200

/**
 * Makes a broker for the plugin's option `broker`; each hub needs one of its own. It connects at the registration, which
 * rejects with `SSE_ERR_BROKER_UNAVAILABLE` where Redis does not answer within 5 seconds, or `publishTimeout` if that is more.
 * ```ts
 * await app.register(sse, { broker: redisBroker({ url: 'redis://localhost:6379' }) })
 * ```
 * @throws `SSE_ERR_INVALID_OPTION`, which names the option
 */
export function redisBroker (options: RedisBrokerOptions): Broker {
  const checked = checkOptions(options) as Static<typeof Options> & RedisBrokerOptions
  const template = checked.client ?? checked.url
  if (template === undefined || (checked.client !== undefined && checked.url !== undefined)) {
    throw new SSE_ERR_INVALID_OPTION('redisBroker() takes one of the options "client" and "url"')
  }
  if (typeof template === 'string' && !URL_FORM.test(template)) {
    throw new SSE_ERR_INVALID_OPTION('Option "url" of redisBroker() is invalid: it must begin with "redis://" or "rediss://", or be the path of a socket')
  }
  if (typeof template !== 'string' && typeof template.duplicate !== 'function') {
    throw new SSE_ERR_INVALID_OPTION('Option "client" of redisBroker() is invalid: it is no client of ioredis')
  }
  return new RedisBroker(template, checked.stream ?? 'sse', {
    logAge: checked.logMaxAge ?? 60_000, timeout: checked.publishTimeout ?? 5000, leasePeriod: checked.leasePeriod ?? 2000
  })
}

interface Times {
  readonly logAge: number
  readonly timeout: number
  readonly leasePeriod: number
}

class RedisBroker implements Broker, ReadingHost {
  readonly keys: Keys
  readonly #template: Redis | Cluster | string
  readonly #times: Times
  #sink!: BrokerSink
  #connection!: RedisConnection
  #publishing!: Publishing
  #reading!: Reading
  #presence!: Presence
  #lag = 0
  #measuring: NodeJS.Timeout | null = null
  #historyAge = HISTORY_AGE
  #keepAt = 0
  /** An event's position is its number in the epoch and this. */
  #base = 0
  #started = false
  /** What failed last, since Redis was there. */
  #failure: Error | null = null
  /** The position of the newest event delivered or skipped. */
  #position = 0
  /** Clients that are ahead of this instance wait until it has caught up. */
  #waiting: Array<{ readonly position: number, readonly resolve: (arrived: boolean) => void }> = []

  constructor (template: Redis | Cluster | string, stream: string, times: Times) {
    this.#template = template
    this.keys = new Keys(stream)
    this.#times = times
  }

  async start (sink: BrokerSink): Promise<void> {
    this.#sink = sink
    if (sink.historyMaxAge !== Infinity) this.#historyAge = sink.historyMaxAge
    const { keys } = this
    this.#connection = new RedisConnection(this.#template, keys.meta, error => this.failed(error))
    this.#connection.onReady(() => { this.#failure = null })
    this.#reading = new Reading(this.#connection, this)
    this.#publishing = new Publishing(this.#connection, {
      keys,
      historySize: sink.historySize,
      historyAge: this.#historyAge,
      logAge: this.#times.logAge,
      timeout: this.#times.timeout,
      standing: () => ({ epoch: this.#reading.epoch, n: this.#reading.n, time: this.#reading.entryTime }),
      formatId,
      recipients: event => sink.recipients(event)
    })
    this.#presence = new Presence(this.#connection, {
      keys,
      period: this.#times.leasePeriod,
      announce: told => this.#publishing.announce(told),
      changed: (change, channel, member, instance) => sink.presence(change, channel, member, instance),
      failed: error => this.failed(error)
    })
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

  #unanswered (): Error {
    if (this.#failure === null) return new SSE_ERR_BROKER_UNAVAILABLE('Redis did not answer', false)
    return new SSE_ERR_BROKER_UNAVAILABLE(`Redis did not answer: ${this.#failure.message}`, false, { cause: this.#failure })
  }

  async #begin (): Promise<void> {
    await this.#connection.measure()
    await this.#reading.start()
    await this.#presence.start()
    this.#measuring = setInterval(() => { this.#measure().catch(error => this.failed(error)) }, MEASURE).unref()
  }

  async #measure (): Promise<void> {
    if (!this.#connection.ready) return
    const { writer } = this.#connection
    const { epoch } = this.#reading
    const [now, newest] = await writer.hmget(this.keys.meta, 'e', 'n')
    this.#lag = Math.max(0, Number(newest) - (now === this.#reading.epoch ? this.#reading.n : 0))
    if (performance.now() < this.#keepAt) return
    // It must not run out because nobody publishes.
    this.#keepAt = performance.now() + KEEP
    await writer.pexpire(this.keys.last(epoch), 2 * (this.#historyAge + KEEP))
  }

  get presence (): Presence {
    return this.#presence
  }

  stats (): BrokerStats {
    const { ready, reconnects, roundTrip } = this.#connection
    return {
      state: ready ? 'ready' : 'unavailable',
      reconnects,
      publishFailures: this.#publishing.failures,
      malformed: this.#reading.malformed,
      lag: this.#lag,
      roundTrip
    }
  }

  publish (event: BrokerEvent, idempotencyKey: string): Promise<BrokerReceipt> {
    return this.#publishing.publish(event, idempotencyKey)
  }

  head (): string {
    const { epoch, n, time } = this.#reading
    return formatId(epoch, n, time)
  }

  position (id: string): number | BrokerPlaceAhead {
    const place = parseId(id)
    const { epoch, n } = this.#reading
    // What came behind an id that is older than the histories, nobody knows.
    if (place === null || place.epoch !== epoch || place.time + this.#historyAge < this.#connection.clock(performance.now())) return -1
    const position = this.#base + place.n
    return place.n <= n ? position : { position, arrived: this.#arrived(place.n, position) }
  }

  /** Another instance told a client of an event that has not come here yet; or somebody made the id up. */
  async #arrived (n: number, position: number): Promise<boolean> {
    const { epoch } = this.#reading
    const [now, newest] = await this.#connection.writer.hmget(this.keys.meta, 'e', 'n')
    if (now !== epoch || this.#reading.epoch !== epoch || Number(newest) < n) return false
    if (position <= this.#position) return true
    return await new Promise(resolve => {
      const waiting = { position, resolve }
      this.#waiting.push(waiting)
      setTimeout(() => {
        this.#waiting = this.#waiting.filter(other => other !== waiting)
        resolve(false)
      }, this.#times.timeout).unref()
    })
  }

  async past (targets: readonly string[]): Promise<ReadonlyMap<string, BrokerPast>> {
    const { keys } = this
    const { writer } = this.#connection
    const { epoch, n } = this.#reading
    const base = this.#base
    const known = base + n
    const past = new Map<string, BrokerPast>()
    const [[now, newest], whole, ...last] = await Promise.all([
      writer.hmget(keys.meta, 'e', 'n'),
      writer.zscore(keys.last(epoch), LAST),
      ...targets.flatMap(target => [target, target + STATES].map(member => writer.zscore(keys.last(epoch), member)))
    ])
    // Where something is wrong with what Redis has, nobody can say what it once had.
    if (now !== epoch || Number(newest) < n || whole === null || this.#sink.historySize === 0) return past
    await Promise.all(targets.map(async (target, i) => {
      const [newest, newestState] = [Number(last[2 * i] ?? 0), Number(last[2 * i + 1] ?? 0)]
      const [history, states] = await Promise.all([this.#history(epoch, base, target, newest), this.#states(epoch, base, target, newestState)])
      const events = [...history.events, ...states.events].sort((a, b) => a.position - b.position)
      past.set(target, { events, floor: Math.max(history.floor, states.floor), known })
    }))
    // Another epoch began meanwhile: nothing of this is worth anything.
    return this.#reading.epoch === epoch ? past : new Map()
  }

  /** Each row tells the number of the target's event before it, so that a hole is seen wherever it is. */
  async #history (epoch: string, base: number, target: string, last: number): Promise<Pick<BrokerPast, 'events' | 'floor'>> {
    const key = this.keys.histories(epoch) + target
    let events: BrokerPastEvent[] = []
    let floor = 0
    if (last === 0) return { events, floor: base }
    let newest = 0
    let from = '-'
    for (;;) {
      const rows = await this.#connection.writer.xrange(key, from, '+', 'COUNT', PAGE)
      for (const [id, fields] of rows) {
        const row = readRow(id, fields)
        // Not ours. Where it stands in the place of one that is, the next one tells.
        if (row === null) continue
        const { n, before, time, event } = row
        if (before !== newest) {
          events = []
          floor = before
        }
        newest = n
        events.push({ event, position: base + n, id: formatId(epoch, n, time), time: this.#localTime(time) })
      }
      if (rows.length < PAGE) break
      from = `(${rows.at(-1)![0]}`
    }
    if (newest < last) {
      events = []
      floor = last
    }
    return { events, floor: base + floor }
  }

  /** The newest event of each state: a hash outlives the length to which histories are cut. */
  async #states (epoch: string, base: number, target: string, last: number): Promise<Pick<BrokerPast, 'events' | 'floor'>> {
    if (last === 0) return { events: [], floor: base }
    const { '\0': whole = '', ...states } = await this.#connection.writer.hgetall(this.keys.states(epoch) + target)
    const [floor, count] = whole.split(' ').map(Number)
    const rows = Object.values(states).map(readState).filter(row => row !== null)
    const events = rows.map(({ n, time, event }) => ({ event, position: base + n, id: formatId(epoch, n, time), time: this.#localTime(time) }))
    // Where somebody took some away, what is left may not be all.
    return { events, floor: base + (count === rows.length ? floor! : last) }
  }

  /** A time of Redis's clock by this process's. */
  #localTime (time: number): number {
    return time - this.#connection.clock(performance.now()) + Date.now()
  }

  async close (): Promise<void> {
    if (this.#measuring !== null) clearInterval(this.#measuring)
    // A Redis that is away must not hold anybody up.
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>(resolve => { timer = setTimeout(resolve, FAREWELL) })
    await Promise.race([this.#farewell().catch(error => this.failed(error as Error)), late])
    clearTimeout(timer)
    this.#publishing.close()
    this.#connection.close()
    await this.#reading.close()
    for (const { resolve } of this.#waiting) resolve(false)
  }

  /** What is on its way is let through, and the others are told that this instance's clients are gone. */
  async #farewell (): Promise<void> {
    await this.#publishing.settled()
    await this.#presence.close()
  }

  // What the reader tells.

  event (event: BrokerEvent, n: number, time: number): number {
    this.#position = this.#base + n
    return this.#sink.deliver(event, this.#position, event.transient ? null : formatId(this.#reading.epoch, n, time))
  }

  began (n: number): void {
    this.#publishing.adopted()
    if (this.#started) {
      this.#base = this.#position - n
      this.#presence.lost()
    } else this.#position = n
    this.#started = true
    this.#sink.skipTo(this.#position)
    this.#presence.tellAll()
    for (const { resolve } of this.#waiting) resolve(false)
    this.#waiting = []
  }

  entry ({ publisher, batch, time, before, presence }: Entry, first: number, recipients: readonly number[]): void {
    if (presence !== null) this.#presence.read(presence)
    const { epoch, n } = this.#reading
    this.#position = this.#base + n
    if (publisher === this.#publishing.id) {
      const ids = new Map([...before].map(([i, answer]) => {
        const [epoch, n, at] = answer.split('.') as [string, string, string]
        return [i, formatId(epoch, Number(n), Number(at))]
      }))
      this.#publishing.read(batch, recipients.map((recipients, i) => ({ id: formatId(epoch, first + i, time), recipients })), ids)
    }
    this.#reached()
  }

  skipped (n: number): void {
    this.#position = this.#base + n
    this.#sink.skipTo(this.#position)
    this.#presence.lost()
    this.#reached()
  }

  othersAlive (): Promise<boolean> {
    return this.#presence.othersAlive()
  }

  renew (reset: boolean): Promise<void> {
    return this.#publishing.renew(reset)
  }

  /** While Redis is away told once: connecting fails the same way many times a second. */
  failed (error: Error): void {
    const told = !this.#connection.ready && this.#failure?.message === error.message
    this.#failure = error
    if (!told) this.#sink.log.warn({ err: error }, 'Redis failed')
  }

  #reached (): void {
    if (this.#waiting.length === 0) return
    const reached = this.#waiting.filter(({ position }) => position <= this.#position)
    if (reached.length === 0) return
    this.#waiting = this.#waiting.filter(({ position }) => position > this.#position)
    for (const { resolve } of reached) resolve(true)
  }
}

/** A row of a history: an event's number, that of the target's event before it, when it was accepted, and the event. */
function readRow (id: string, fields: readonly string[]): { n: number, before: number, time: number, event: BrokerEvent } | null {
  const values = new Map<string, string>()
  for (let i = 0; i + 1 < fields.length; i += 2) values.set(fields[i]!, fields[i + 1]!)
  const [n, before, time] = [id.slice(0, id.indexOf('-')), values.get('p'), values.get('t')].map(Number) as [number, number, number]
  try {
    return Number.isSafeInteger(before) && Number.isSafeInteger(time) ? { n, before, time, event: unpack(JSON.parse(values.get('v')!)) } : null
  } catch {
    return null
  }
}

/** A state: its event's number, when it was accepted, and the event. */
function readState (state: string): { n: number, time: number, event: BrokerEvent } | null {
  const [, n, time, packed] = /^(\d+) (\d+) (.*)$/s.exec(state) ?? []
  try {
    return { n: Number(n), time: Number(time), event: unpack(JSON.parse(packed!)) }
  } catch {
    return null
  }
}
