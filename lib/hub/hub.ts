// The hub: fans out what comes from the broker; opens, knows and ends the clients. It must not know of requests and
// replies.
import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import type {
  Broker, BrokerEvent, BrokerPlaceAhead, SSECompressOptions, SSEConnectOptions, SSEDisconnectReason, SSEHub, SSEHubEvents, SSEMetadata, SSEPresence, SSEPublishOptions,
  SSEState, SSEStats
} from '../../types/index.js'
import { Admission } from './admission.js'
import { Batches, Frame, targetState, type Place } from '../wire/batch.js'
import { Client, type ClientHost } from '../client/client.js'
import { randomId } from '../client/client-id.js'
import { Compression, settingsKey } from '../wire/compression.js'
import { CountLog } from '../observe/count-log.js'
import { Counters } from '../observe/counters.js'
import { DataFormat } from '../schemas/data.js'
import { Diagnostics } from './diagnostics.js'
import { Plain, type Encoding } from '../wire/encoding.js'
import { SSE_ERR_INVALID_CHANNEL, SSE_ERR_TOO_MANY_CHANNELS } from '../errors.js'
import { FanoutTimer } from './fanout-timer.js'
import { Heartbeat } from './heartbeat.js'
import { History } from '../history/history.js'
import { Metrics } from './metrics.js'
import { checkChannel, checkChannels, checkClientId, checkEventName } from '../names.js'
import { checkConnectOptions, compressionOf, USUAL_RETRY, type HubOptions } from '../options.js'
import type { Opening } from '../client/outbox.js'
import { HistoryLoader } from '../history/loader.js'
import { Publisher, type Published } from './publisher.js'
import { Registry } from './registry.js'
import { BROADCAST, clientTarget, idOf } from './targets.js'
import { Replays } from '../history/replay.js'
import { Scheduler } from '../client/scheduler.js'
import { States } from '../history/states.js'
import { Chunk } from '../wire/chunk.js'
import { formatComment, formatEvent, formatGap, formatRetry } from '../wire/format.js'

export class Hub extends EventEmitter<SSEHubEvents> implements SSEHub, ClientHost {
  readonly batches = new Batches()
  readonly scheduler = new Scheduler()
  readonly counters = new Counters()
  readonly replays: Replays
  readonly maxBufferedBytes: number
  readonly dropsOldest: boolean
  readonly options: HubOptions
  readonly admission: Admission

  readonly #log: FastifyBaseLogger
  readonly #slowLog: CountLog<'slowClients' | 'stalledClients' | 'droppedEvents'>
  readonly #broker: Broker
  readonly #data: DataFormat
  readonly #publisher: Publisher
  readonly #history: History
  readonly #loader: HistoryLoader
  readonly #states: States
  readonly #heartbeat: Heartbeat
  readonly #registry = new Registry()
  readonly #diagnostics = new Diagnostics(this)
  /** Measured only where metrics are asked for. */
  readonly #fanoutTimer: FanoutTimer | null
  readonly #metrics: Metrics | null
  readonly #plain = new Plain()
  /** By their settings, so that all who have the same share what is compressed. */
  readonly #compressions = new Map<string, Compression>()
  /** Clients that take no more events, and whose last bytes have not left. */
  readonly #ending = new Set<Client>()
  readonly #startedAt = performance.now()
  /** This instance's name, where the broker has none for it. */
  readonly #instance = randomId()
  /** What the clients are called towards the other instances. */
  readonly #keys = new Map<Client, string>()
  #keyCount = 0
  /** Position of the newest event, and the newest id. */
  #position = 0
  #newestId = ''
  /** What a publish leaves to be done behind it: writes, and what may run code of the application's. */
  #overfull: Client[] = []
  #tooSlow: Client[] = []
  /** Heartbeats, made once for all clients: without an id, and with the newest event's. */
  readonly #plainBeat: Chunk
  #headBeat: { chunk: Chunk, head: string } | null = null
  /** Whether the broker failed to tell its head last time: once is enough for the log. */
  #headFails = false
  #onDrained: (() => void) | null = null

  constructor (options: HubOptions, broker: Broker, log: FastifyBaseLogger) {
    super()
    this.options = options
    this.maxBufferedBytes = options.maxBufferedBytes
    this.dropsOldest = options.slowClient === 'drop'
    this.#log = log
    this.#slowLog = new CountLog(log, 'clients read too slowly: disconnected the slow and the stalled, dropped events',
      ['slowClients', 'stalledClients', 'droppedEvents'])
    this.admission = new Admission(options, this.#registry, this.counters, log)
    this.#broker = broker
    this.#data = new DataFormat(options.serializer, options.events)
    this.#publisher = new Publisher(this.#broker, this.#data, options.maxEventBytes, this.scheduler, targets => this.#kept(targets), this.#diagnostics, log)
    this.#history = new History({ size: options.historySize, maxAge: options.historyMaxAge, maxBytes: options.historyMaxBytes })
    this.#loader = new HistoryLoader(this.#broker, this.#history)
    this.#states = new States(this.#history, this.#loader)
    this.replays = new Replays(this.#history, options.historyMaxBytes, options.maxBufferedBytes)
    this.#plainBeat = this.#formatBeat(null)
    this.#heartbeat = new Heartbeat({
      watched: () => this.#watched(),
      stalled: client => this.#stalled(client),
      vanished: client => this.#drop(client, 'client'),
      tick: () => {
        this.#history.expire()
        this.#slowLog.report()
        this.admission.log.report()
      }
    }, options.heartbeatInterval, options.stallTimeout)
    this.#fanoutTimer = options.metrics === null ? null : new FanoutTimer(this.scheduler)
    this.#metrics = options.metrics === null ? null : new Metrics(options.metrics, () => this.#statsAnyhow(), this.#fanoutTimer!)
  }

  // Life cycle.

  async start (): Promise<void> {
    try {
      await this.#startBroker()
    } catch (error) {
      this.#metrics?.remove()
      throw error
    }
    this.#newestId = this.#head('')
  }

  async #startBroker (): Promise<void> {
    await this.#broker.start({
      deliver: (event, position, id) => this.#deliver(event, position, id),
      skipTo: position => this.#skipTo(position),
      recipients: event => this.#recipients(event),
      presence: (change, channel, { clientId, metadata }, instance) => this.#emit(change, { clientId, metadata: metadata as SSEMetadata, instance }, channel),
      historySize: this.options.historySize,
      historyMaxAge: this.options.historyMaxAge,
      log: this.#log
    })
  }

  startHeartbeat (): void {
    this.#heartbeat.start()
  }

  /** Ends every stream behind its last events, and waits for the bytes to leave, at most `closeTimeout`. */
  async close (): Promise<void> {
    if (this.admission.closed) return
    this.admission.close()
    this.#heartbeat.stop()
    const clients = [...this.#ending, ...this.#registry.clients]
    for (const client of clients) this.disconnect(client, 'shutdown')
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<void>(resolve => { timer = setTimeout(resolve, this.options.closeTimeout) })
    const drained = new Promise<void>(resolve => { this.#onDrained = resolve })
    if (this.#ending.size > 0) await Promise.race([drained, timeout])
    for (const client of [...this.#ending]) {
      client.cut()
      client.endSession('destroy')
    }
    for (const client of clients) client.endSession('close')
    this.#publisher.close()
    try {
      await Promise.race([this.#broker.close(), timeout])
    } catch (error) {
      this.#log.error({ err: error }, 'the broker failed to close')
    }
    clearTimeout(timer)
    this.#slowLog.flush()
    this.admission.log.flush()
    this.#metrics?.remove()
  }

  // Publishing.

  send (event: string, data: unknown, options?: SSEPublishOptions): Published {
    return this.#publisher.publish(() => [BROADCAST], event, data, options)
  }

  toChannel (channel: string, event: string, data: unknown, options?: SSEPublishOptions): Published {
    return this.#publisher.publish(() => {
      checkChannel(channel)
      return [channel]
    }, event, data, options)
  }

  toChannels (channels: readonly string[], event: string, data: unknown, options?: SSEPublishOptions): Published {
    return this.#publisher.publish(() => {
      const names = checkChannels(channels)
      if (names.length === 0) throw new SSE_ERR_INVALID_CHANNEL('There must be at least one channel to publish to')
      return names
    }, event, data, options)
  }

  toClient (clientId: string, event: string, data: unknown, options?: SSEPublishOptions): Published {
    return this.#publisher.publish(() => {
      checkClientId(clientId)
      return [clientTarget(clientId)]
    }, event, data, options)
  }

  // The hot path of a publish: the event becomes text once, and each client gets one pointer more. Nothing of the
  // application's runs before every client has it in line, and nobody is written to, so that what this turn and the next
  // ones bring goes into the same write.
  #deliver (event: BrokerEvent, position: number, id: string | null): number {
    const { targets, kept, name, except, compress, key, remove, raw } = event
    const text = formatEvent(id, name, event.data, event.retry)
    const size = Buffer.byteLength(text)
    this.#position = position
    this.counters.published++
    if (id !== null && kept.length > 0) this.#history.add({ position, name, except, compress, key, remove, raw, text, size }, kept)
    let recipients = 0
    const place: Place = { position, id, before: this.#newestId, states: key === '' ? null : targets.map(target => targetState(target, name, key)) }
    if (id !== null) this.#newestId = id
    const frame = new Frame(text, size, compress, place)
    for (const target of targets) {
      for (const client of this.#registry.at(target)) {
        // One that is in two of the channels has it already: a mark on the client is cheaper than a set of those who do.
        // What it had already when it came here from an instance that is ahead counts as well.
        if (client.position >= position || !this.#gets(client, target, name, except)) continue
        client.position = position
        client.push(frame)
        recipients++
      }
    }
    if (recipients > 0) {
      this.#publisher.countFannedOut(size)
      this.scheduler.published()
      this.#fanoutTimer?.delivered()
    }
    this.settleWrites()
    return recipients
  }

  /** Those of an event's targets for which it is kept. What is sent to a random id ends with its connection. */
  #kept (targets: readonly string[]): readonly string[] {
    // Only a client's id is a target of its own.
    const id = idOf(targets[0]!)
    if (id === null) return targets
    const [client] = this.#registry.withId(id)
    return client === undefined || client.stable ? targets : []
  }

  #recipients ({ targets, name, except }: BrokerEvent): number {
    const clients = new Set<Client>()
    for (const target of targets) {
      for (const client of this.#registry.at(target)) if (this.#gets(client, target, name, except)) clients.add(client)
    }
    return clients.size
  }

  #gets (client: Client, target: string, name: string, except: string): boolean {
    return (target !== BROADCAST || client.broadcast) && (client.names === null || client.names.has(name)) && (except === '' || client.id !== except)
  }

  /** Events are lost for this instance: nothing before the position is known here, and every client is told. */
  #skipTo (position: number): void {
    this.#position = position
    this.#newestId = this.#head('')
    this.#history.skipTo(position)
    this.#loader.beginAt(position)
    // In line, so that each is told behind all that it is given of what was before.
    const text = formatGap(null)
    const gap = new Frame(text, text.length)
    for (const client of this.#registry.clients) {
      client.position = Math.min(client.position, position)
      client.endReplayAt(position)
      client.push(gap)
    }
    this.scheduler.published()
    this.settleWrites()
  }

  settleWrites (): void {
    this.batches.forgetMemos()
    if (this.#overfull.length > 0) {
      const overfull = this.#overfull
      this.#overfull = []
      for (const client of overfull) client.flush()
    }
    if (this.#tooSlow.length > 0) {
      const slow = this.#tooSlow
      this.#tooSlow = []
      for (const client of slow) {
        // A listener that published may have brought it here a second time.
        if (client.closed) continue
        this.counters.slowDisconnects++
        this.#slowLog.count('slowClients')
        this.disconnect(client, 'slow')
      }
    }
    this.#slowLog.report()
  }

  directFrame (event: string, data: unknown, raw: boolean, compress: boolean): Frame {
    const text = formatEvent(null, event, this.#publisher.format(event, data, raw), -1)
    return new Frame(text, Buffer.byteLength(text), compress)
  }

  heartbeat (told: string): { chunk: Chunk, head: string } {
    const head = this.#head(told)
    if (told === head) return { chunk: this.#plainBeat, head }
    if (this.#headBeat?.head !== head) this.#headBeat = { chunk: this.#formatBeat(head), head }
    return this.#headBeat
  }

  /** The broker's newest id. For its fault alone a client is not cut: all idle ones would be. */
  #head (otherwise: string): string {
    try {
      const head = this.#broker.head()
      this.#headFails = false
      return head
    } catch (error) {
      if (!this.#headFails) this.#log.error({ err: error }, 'the broker could not tell its newest event')
      this.#headFails = true
      return otherwise
    }
  }

  #formatBeat (id: string | null): Chunk {
    const { heartbeatEvent } = this.options
    const text = heartbeatEvent === null ? formatComment(id) : formatEvent(id, heartbeatEvent, '{}', -1)
    return Chunk.fromText(text, Buffer.byteLength(text))
  }

  // Clients.

  /**
   * Makes a client, which nobody knows yet.
   * @param requested what the request gives as its last event id
   * @param admitsGzip whether it may be answered with gzip
   * @throws SSE_ERR_INVALID_OPTION, SSE_ERR_INVALID_CHANNEL, SSE_ERR_TOO_MANY_CHANNELS, SSE_ERR_INVALID_CLIENT_ID,
   *   SSE_ERR_INVALID_EVENT_NAME, SSE_ERR_UNKNOWN_EVENT
   */
  prepare (channels: readonly string[], options: SSEConnectOptions, requested: () => string | null, admitsGzip: () => boolean): Client {
    const checked = checkConnectOptions(options)
    const { maxChannelsPerClient } = this.options
    if (channels.length > maxChannelsPerClient) throw new SSE_ERR_TOO_MANY_CHANNELS(maxChannelsPerClient)
    const stable = checked.id !== undefined
    if (stable) checkClientId(checked.id)
    const id = stable ? checked.id as string : randomId()
    const names = this.#filter(checked.events)
    const broadcast = checked.broadcast ?? true
    const mode = checked.replay ?? this.options.replay
    const lastEventId = checked.lastEventId === undefined ? requested() : checked.lastEventId || null
    const place = lastEventId === null ? -1 : this.#broker.position(lastEventId)
    const replays = mode === 'all' || (mode === 'missed' && lastEventId !== null)
    const targets = broadcast ? [BROADCAST, ...channels] : [...channels]
    if (stable) targets.push(clientTarget(id))
    const compression = compressionOf(checked.compress, this.options.compress)
    const encoding = compression !== null && admitsGzip() ? this.#compression(compression) : this.#plain
    const opening: Opening = {
      greeting: checked.greeting ?? this.options.greeting,
      retry: checked.retry === undefined ? this.options.retry : checked.retry,
      head: this.#broker.head(),
      resumes: false,
      replays,
      replay: replays || place !== -1 ? { targets, names, clientId: id, encoding, fresh: true, end: this.#position, cursor: 0, told: -1 } : null
    }
    const client = new Client(this, { id, stable, metadata: checked.metadata as SSEMetadata | undefined, lastEventId, names, broadcast, opening, encoding })
    this.#beginReplay(client, opening, place)
    return client
  }

  #compression (settings: Required<SSECompressOptions>): Encoding {
    const key = settingsKey(settings)
    let compression = this.#compressions.get(key)
    if (compression === undefined) this.#compressions.set(key, compression = new Compression(settings))
    return compression
  }

  /** Finds where a client's replay begins, and holds the client until all is known that it needs. */
  #beginReplay (client: Client, opening: Opening, place: number | BrokerPlaceAhead): void {
    const { replay } = opening
    if (replay === null) return
    const from = (position: number): Promise<void> | null => {
      opening.resumes = position >= 0
      replay.fresh = position < 0
      replay.cursor = Math.max(position, 0)
      return this.#loader.complete(replay.targets, replay.cursor)
    }
    let ready: Promise<void> | null
    if (typeof place === 'number') ready = from(place)
    else {
      // Of what comes here only now, it has everything up to that place, unless events are lost meanwhile: `skipTo`.
      client.position = replay.end = place.position
      ready = place.arrived.catch(error => {
        // What it is not told of that place may come all the same, and must reach it.
        this.#unknown(client, error)
        return false
      }).then(async arrived => {
        if (arrived) {
          opening.head = client.lastEventId!
          await from(place.position)
          return
        }
        // There is no such place. It was passed over by what came meanwhile, and gets that from history; what came
        // behind that place waits in line.
        if (replay.end >= this.#position) {
          client.position = replay.end = this.#position
          opening.head = this.#broker.head()
        }
        await from(-1)
      })
    }
    if (ready === null) return
    client.hold()
    ready.catch(error => {
      opening.resumes = false
      this.#unknown(client, error)
    }).finally(() => client.release())
  }

  #unknown (client: Client, error: unknown): void {
    this.#log.warn({ err: error, clientId: client.id }, 'the broker could not tell what a client missed')
  }

  #filter (events: readonly unknown[] | undefined): ReadonlySet<string> | null {
    if (events === undefined) return null
    const names = new Set<string>()
    for (const event of events) {
      checkEventName(event)
      this.#data.checkKnown(event)
      names.add(event)
    }
    return names
  }

  /** From here on the client is in its channels, and counts for its key. */
  enter (client: Client, channels: readonly string[], key?: string): void {
    this.counters.connections++
    client.key = key
    this.#registry.add(client)
    for (const channel of channels) this.#registry.join(client, channel)
    this.#log.debug({ clientId: client.id, channels }, 'client connected')
    this.#present(client)
    this.#diagnostics.connected(client)
    this.#emit('connect', client)
    if (this.listenerCount('join') > 0) for (const channel of channels) this.#emit('join', this.#presenceOf(client), channel)
  }

  /** Tells the other instances of a client's channels. */
  #present (client: Client): void {
    const { presence } = this.#broker
    if (presence === undefined) return
    let key = this.#keys.get(client)
    if (key === undefined) this.#keys.set(client, key = String(++this.#keyCount))
    const member = { clientId: client.id, metadata: client.metadata, channels: [...client.channels] }
    this.#tellOthers(() => presence.set(key, member))
  }

  /** In the middle of a client's coming and going: a broker that fails must not leave it half done. */
  #tellOthers (tell: () => void): void {
    try {
      tell()
    } catch (error) {
      this.#log.error({ err: error }, 'the broker could not tell the other instances of a client')
    }
  }

  #presenceOf ({ id, metadata }: Client): SSEPresence {
    return { clientId: id, metadata, instance: this.#broker.presence?.instance ?? this.#instance }
  }

  /**
   * Ends a client, once. Where it may still read, the stream ends behind what waits for it; else it is cut.
   */
  disconnect (client: Client, reason: SSEDisconnectReason): void {
    if (client.closed) return
    client.closed = true
    this.#registry.remove(client)
    if (reason === 'server' || reason === 'shutdown' || reason === 'error') {
      this.#ending.add(client)
      client.finish(reason === 'shutdown' ? this.#farewell(client) : null)
    } else {
      client.cut()
    }
    this.#log.debug({ clientId: client.id, reason }, 'client disconnected')
    client.abortSignal()
    const key = this.#keys.get(client)
    if (key !== undefined) {
      this.#keys.delete(client)
      this.#tellOthers(() => this.#broker.presence!.delete(key))
    }
    this.#diagnostics.disconnected(client, reason)
    this.#emit('disconnect', client, reason)
    if (this.listenerCount('leave') > 0) for (const channel of client.channels) this.#emit('leave', this.#presenceOf(client), channel)
  }

  /** Ends a client whose response is not its stream's: something else is answered. */
  abandon (client: Client): void {
    this.disconnect(client, 'error')
    client.leaveResponse()
  }

  /** Spreads the reconnects after a shutdown. */
  #farewell (client: Client): Chunk | null {
    const { reconnectSpread } = this.options
    if (reconnectSpread === 0) return null
    const wait = (client.retry ?? USUAL_RETRY) + Math.floor(Math.random() * (reconnectSpread + 1))
    const text = formatRetry(wait) + '\n'
    return Chunk.fromText(text, text.length)
  }

  gone (client: Client): void {
    this.disconnect(client, client.finished ? 'server' : 'client')
    this.#ending.delete(client)
    if (this.#ending.size === 0) this.#onDrained?.()
  }

  tooSlow (client: Client): void {
    this.#tooSlow.push(client)
  }

  dropped (events: number): void {
    this.#slowLog.count('droppedEvents', events)
  }

  overfull (client: Client): void {
    this.#overfull.push(client)
  }

  sendFailed (client: Client, error: unknown): void {
    this.#log.error({ err: error, clientId: client.id }, 'sending to a client failed')
  }

  failed (client: Client, error: unknown): void {
    this.#log.error({ err: error, clientId: client.id }, 'writing to a client failed')
    this.disconnect(client, 'error')
    client.cut()
  }

  /** @throws SSE_ERR_INVALID_CHANNEL, SSE_ERR_TOO_MANY_CHANNELS */
  join (client: Client, channel: string): void {
    checkChannel(channel)
    if (client.closed || client.channels.has(channel)) return
    const { maxChannelsPerClient } = this.options
    if (client.channels.size >= maxChannelsPerClient) throw new SSE_ERR_TOO_MANY_CHANNELS(maxChannelsPerClient)
    this.#registry.join(client, channel)
    this.#present(client)
    this.#emit('join', this.#presenceOf(client), channel)
  }

  leave (client: Client, channel: string): void {
    if (client.closed || !client.channels.has(channel)) return
    this.#registry.leave(client, channel)
    this.#present(client)
    this.#emit('leave', this.#presenceOf(client), channel)
  }

  * #watched (): Generator<Client, void> {
    yield * this.#registry.clients
    yield * this.#ending
  }

  /** Its socket has accepted nothing for too long. */
  #stalled (client: Client): void {
    this.counters.slowDisconnects++
    this.#slowLog.count('stalledClients')
    this.#drop(client, 'stalled')
  }

  /** Cuts a client, even one whose last bytes are on their way. */
  #drop (client: Client, reason: 'stalled' | 'client'): void {
    if (client.closed) client.cut()
    else this.disconnect(client, reason)
  }

  #emit<Event extends keyof SSEHubEvents> (event: Event, ...args: SSEHubEvents[Event]): void {
    const failed = (error: unknown): void => this.#log.error({ err: error }, `a listener of "${event}" failed`)
    for (const listener of this.rawListeners(event) as Array<(...args: unknown[]) => unknown>) {
      try {
        const result = listener.apply(this, args)
        if (result instanceof Promise) result.catch(failed)
      } catch (error) {
        failed(error)
      }
    }
  }

  // What the application may ask.

  async state (channel: string | null, event: string): Promise<SSEState[]> {
    if (channel !== null) checkChannel(channel)
    checkEventName(event)
    this.#data.checkKnown(event)
    return await this.#states.of(channel ?? BROADCAST, event)
  }

  client (id: string): Client | undefined {
    const [client] = this.#registry.withId(id)
    return client
  }

  clients (): Client[] {
    return [...this.#registry.clients]
  }

  channelClients (channel: string): Client[] {
    return [...this.#registry.inChannel(channel)]
  }

  channels (): Array<{ name: string, count: number }> {
    return this.#registry.channels()
  }

  clientCount (channel?: string): number {
    return channel === undefined ? this.#registry.clients.size : this.#registry.countIn(channel)
  }

  async presence (channel: string): Promise<SSEPresence[]> {
    checkChannel(channel)
    const { presence } = this.#broker
    if (presence !== undefined) return presence.in(channel) as SSEPresence[]
    return this.channelClients(channel).map(client => this.#presenceOf(client))
  }

  cleanupDisconnected (): number {
    let count = 0
    for (const client of this.#watched()) {
      if (client.alive) continue
      this.#drop(client, 'client')
      count++
    }
    return count
  }

  stats (): SSEStats {
    return { ...this.#ownStats(), broker: this.#broker.stats?.() ?? null }
  }

  /** For metrics: a broker that fails to tell how it is must not keep the rest from being told. */
  #statsAnyhow (): SSEStats {
    try {
      return this.stats()
    } catch (error) {
      this.#log.error({ err: error }, 'the broker could not tell how it is')
      return { ...this.#ownStats(), broker: null }
    }
  }

  #ownStats (): Omit<SSEStats, 'broker'> {
    let bufferedBytes = 0
    for (const client of this.#watched()) bufferedBytes += client.bufferedBytes
    return {
      clients: this.#registry.clients.size,
      channels: this.#registry.channelCount,
      ...this.counters,
      bufferedBytes,
      historyEvents: this.#history.count,
      historyBytes: this.#history.bytes,
      uptime: performance.now() - this.#startedAt
    }
  }
}
