// Puts the parts of one hub together, starts them and closes them. Only the plugin and the public face hold it. It must not do
// the work of a part.
import type { EventEmitter } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import type { Broker, SSEHub, SSEHubEvents, SSEMetadata } from '../../types/index.js'
import { Buffering } from '../client/buffering.js'
import type { Client, ClientHost } from '../client/client.js'
import { Scheduler } from '../client/scheduler.js'
import { SSE_ERR_CLOSED } from '../errors.js'
import { guarded } from '../guarded.js'
import { History } from '../history/history.js'
import { HistoryLoader } from '../history/loader.js'
import { Replays } from '../history/replay.js'
import { States } from '../history/states.js'
import { CountLog } from '../observe/count-log.js'
import { Counters } from '../observe/counters.js'
import type { HubOptions } from '../options.js'
import { DataFormat } from '../schemas/data.js'
import { Frame } from '../wire/batch.js'
import { formatEvent } from '../wire/format.js'
import { Admission } from './admission.js'
import { Beats } from './beats.js'
import { Connections } from './connections.js'
import { Delivery, type SlowLog } from './delivery.js'
import { Diagnostics } from './diagnostics.js'
import { Encodings } from './encodings.js'
import { FanoutTimer } from './fanout-timer.js'
import { Heartbeat } from './heartbeat.js'
import { HubLog } from './hub-log.js'
import { Listeners } from './listeners.js'
import { Metrics } from './metrics.js'
import { Presence } from './presence.js'
import { Publisher } from './publisher.js'
import { Registry } from './registry.js'
import { Stats } from './stats.js'
import { Vanishing } from './vanishing.js'
import { Work } from './work.js'

/** How long the broker may take to close, in milliseconds. That of Redis takes one second at most. */
const BROKER_CLOSE = 2000

export class HubCore {
  readonly options: HubOptions
  readonly admission: Admission
  readonly connections: Connections
  readonly counters = new Counters()
  readonly data: DataFormat
  readonly delivery: Delivery
  readonly presence: Presence
  readonly publisher: Publisher
  readonly registry = new Registry()
  readonly scheduler: Scheduler
  readonly states: States
  readonly stats: Stats

  readonly #broker: Broker
  readonly #buffering = new Buffering()
  readonly #log: HubLog
  readonly #slowLog: SlowLog
  readonly #history: History
  readonly #listeners: Listeners
  readonly #heartbeat: Heartbeat
  readonly #vanishing: Vanishing
  readonly #metrics: Metrics | null
  /** Goes on to remove old events. */
  #expiring: NodeJS.Immediate | undefined
  /** Whether the broker has started. */
  #started = false
  #closing: Promise<void> | null = null

  constructor (hub: SSEHub & EventEmitter<SSEHubEvents>, options: HubOptions, broker: Broker, log: FastifyBaseLogger) {
    this.options = options
    this.#broker = broker
    const work = new Work(error => this.#log.error({ err: error }, 'what the hub called of the application failed'))
    this.#log = new HubLog(log, work)
    this.#slowLog = new CountLog(this.#log, 'clients read too slowly: disconnected the slow and the stalled, dropped events',
      ['slowClients', 'stalledClients', 'droppedEvents'])
    const { counters, registry } = this
    this.admission = new Admission(options, registry, counters, this.#log)
    this.data = new DataFormat(options.serializer, options.events)
    this.#history = new History({ size: options.historySize, maxAge: options.historyMaxAge, maxBytes: options.historyMaxBytes })
    const loader = new HistoryLoader(broker, this.#history)
    this.states = new States(this.#history, loader, options.historyMaxBytes)
    const scheduler = this.scheduler = new Scheduler({
      begin: () => work.begin(),
      end: () => {
        // Visits may find clients too slow.
        this.delivery.endSlow()
        work.end()
      },
      visitFailed: error => this.#log.error({ err: error }, 'a visit to a client failed')
    })
    const fanoutTimer = options.metrics === null ? null : new FanoutTimer(scheduler)
    const delivery = this.delivery = new Delivery({ work, broker, registry, scheduler, counters, history: this.#history, loader, fanoutTimer, slowLog: this.#slowLog, log: this.#log },
      client => this.connections.disconnect(client, 'slow'))
    const diagnostics = new Diagnostics(hub, work)
    this.publisher = new Publisher(broker, this.data, options.maxEventBytes, delivery, work, diagnostics, this.#log)
    this.presence = new Presence(broker, registry, this.#log)
    this.#listeners = new Listeners(hub, work, diagnostics, this.presence, this.#log)
    const replays = new Replays(this.#history, options.historyMaxBytes, options.maxBufferedBytes)
    const { heartbeatInterval, stallTimeout } = options
    const vanishing = this.#vanishing = new Vanishing(heartbeatInterval || Infinity, stallTimeout || Infinity)
    this.connections = new Connections({
      options,
      vanishing,
      work,
      registry,
      presence: this.presence,
      listeners: this.#listeners,
      encodings: new Encodings(),
      data: this.data,
      counters,
      slowLog: this.#slowLog,
      log: this.#log,
      clientHost: this.#clientHost(),
      openingHost: {
        broker,
        replays,
        loader,
        get position () { return delivery.position },
        head: otherwise => delivery.head(otherwise),
        unknown: (clientId, error) => this.#log.warn({ err: error, clientId }, 'the broker could not tell what a client missed')
      }
    })
    this.#heartbeat = new Heartbeat({
      work,
      vanishing,
      watched: () => this.connections.all(),
      stalled: client => this.connections.stalled(client),
      gone: client => this.connections.disconnect(client, 'client'),
      failed: (client, error) => this.connections.failed(client, error),
      tick: () => {
        this.#expire()
        this.#slowLog.report()
        this.admission.log.report()
      }
    }, heartbeatInterval, stallTimeout)
    this.stats = new Stats(broker, registry, () => this.#buffering.bytes(this.scheduler.inLine() as Iterable<Client>), counters, this.#history, this.#log)
    this.#metrics = options.metrics === null ? null : new Metrics(options.metrics, () => this.stats.readAnyhow(), fanoutTimer!)
  }

  /** Removes old events, some in each turn: very many may become too old at once. */
  #expire (): void {
    clearImmediate(this.#expiring)
    if (this.#history.expire()) this.#expiring = setImmediate(() => this.#expire()).unref()
  }

  /** Gives what a client asks of its hub to the part that does it. */
  #clientHost (): ClientHost {
    const { options, delivery, scheduler, counters } = this
    const beats = new Beats(options.heartbeatEvent, otherwise => delivery.head(otherwise))
    const failedOf = (message: string) => (client: Client, error: unknown): void => this.#log.error({ err: error, clientId: client.id }, message)
    return {
      batches: delivery.batches,
      scheduler,
      buffering: this.#buffering,
      counters,
      maxBufferedBytes: options.maxBufferedBytes,
      dropsOldest: options.slowClient === 'drop',
      beat: told => beats.for(told),
      directFrame: (event, data, raw, compress) => {
        const text = formatEvent(null, event, this.publisher.format(event, data, raw), -1)
        return new Frame(text, Buffer.byteLength(text), compress)
      },
      settleWrites: () => delivery.settleWrites(),
      overfull: client => delivery.overfull(client as Client),
      tooSlow: client => delivery.tooSlow(client as Client),
      dropped: count => this.#slowLog.count('droppedEvents', count),
      join: (client, channel) => this.connections.join(client, channel),
      leave: (client, channel) => this.connections.leave(client, channel),
      disconnect: (client, reason) => this.connections.disconnect(client, reason),
      overtaken: client => this.connections.overtaken(client as Client),
      replaced: client => this.connections.leaveResponse(client as Client),
      gone: client => this.connections.gone(client as Client),
      failed: (client, error) => this.connections.failed(client as Client, error),
      endingFailed: failedOf('ending a stream failed') as ClientHost['endingFailed'],
      sendFailed: failedOf('sending to a client failed'),
      listenerFailed: error => this.#log.error({ err: error }, 'a listener of a client\'s signal failed')
    }
  }

  /** Where it fails, `close` gives back what the hub took. A broker that fails to start lets go of its own by itself. */
  async start (): Promise<void> {
    await this.#broker.start({
      deliver: (event, position, id) => this.delivery.deliver(event, position, id),
      skipTo: position => this.delivery.skipTo(position),
      recipients: event => this.delivery.recipients(event),
      presence: (change, channel, { clientId, metadata }, instance) =>
        this.#listeners.movedElsewhere(change, { clientId, metadata: metadata as SSEMetadata, instance }, channel),
      historySize: this.options.historySize,
      historyMaxAge: this.options.historyMaxAge,
      log: this.#log
    })
    this.#started = true
    if (this.#closing !== null) {
      // `close` did not wait for the start, and found nothing to close.
      await this.#closeBroker()
      throw new SSE_ERR_CLOSED()
    }
    this.delivery.start()
  }

  startHeartbeat (): void {
    this.#heartbeat.start()
  }

  /**
   * Ends every stream after its last events, within `closeTimeout`. Then closes the broker, within a time of its own: a client that
   * reads slowly does not keep the broker from saying good-bye.
   */
  close (): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close (): Promise<void> {
    this.admission.close()
    this.#heartbeat.stop()
    clearImmediate(this.#expiring)
    const streams = timeLimit(this.options.closeTimeout)
    await this.connections.close(streams.over)
    await Promise.race([this.#vanishing.close(), streams.over])
    streams.clear()
    this.publisher.close()
    if (this.#started) await this.#closeBroker()
    this.#slowLog.flush()
    this.admission.log.flush()
    this.#removeMetrics()
  }

  async #closeBroker (): Promise<void> {
    const broker = timeLimit(BROKER_CLOSE)
    // A failure is logged, however late it comes.
    const closed = (async () => await this.#broker.close())().catch(error => this.#log.error({ err: error }, 'the broker failed to close'))
    const late = broker.over.then(() => this.#log.error({}, `the broker did not close within ${BROKER_CLOSE} ms`))
    await Promise.race([closed, late])
    broker.clear()
  }

  /** A registry that fails must not hide why the hub could not start, nor keep it from closing. */
  #removeMetrics (): void {
    guarded(() => this.#metrics?.remove(), error => this.#log.error({ err: error }, 'the registry failed to let go of the metrics'))
  }
}

/** A promise that resolves after some milliseconds, unless it is cleared before. */
function timeLimit (milliseconds: number): { readonly over: Promise<void>, clear (): void } {
  let timer: NodeJS.Timeout | undefined
  return { over: new Promise(resolve => { timer = setTimeout(resolve, milliseconds) }), clear: () => clearTimeout(timer) }
}
