// Puts the parts of one hub together, starts them and closes them. Only the plugin and the public face hold it. It must not do
// the work of a part.
import type { EventEmitter } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import type { Broker, SSEHub, SSEHubEvents, SSEMetadata } from '../../types/index.js'
import type { Client, ClientHost } from '../client/client.js'
import { Scheduler } from '../client/scheduler.js'
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
  readonly #log: HubLog
  readonly #slowLog: SlowLog
  readonly #history: History
  readonly #listeners: Listeners
  readonly #heartbeat: Heartbeat
  readonly #vanishing: Vanishing
  readonly #metrics: Metrics | null

  constructor (hub: SSEHub & EventEmitter<SSEHubEvents>, options: HubOptions, broker: Broker, log: FastifyBaseLogger) {
    this.options = options
    this.#broker = broker
    const work = new Work(error => this.#log.error({ err: error }, 'what the hub called of the application failed'))
    this.#log = new HubLog(log, work)
    this.#slowLog = new CountLog(this.#log, 'clients read too slowly: disconnected the slow and the stalled, dropped events',
      ['slowClients', 'stalledClients', 'droppedEvents'])
    const { counters, registry } = this
    this.admission = new Admission(options, registry, counters, log, this.#log)
    this.data = new DataFormat(options.serializer, options.events)
    this.#history = new History({ size: options.historySize, maxAge: options.historyMaxAge, maxBytes: options.historyMaxBytes })
    const loader = new HistoryLoader(broker, this.#history)
    this.states = new States(this.#history, loader)
    const scheduler = this.scheduler = new Scheduler({
      begin: () => work.begin(),
      end: () => work.end(),
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
        unknown: (clientId, error) => this.#log.warn({ err: error, clientId }, 'the broker could not tell what a client missed')
      }
    })
    this.#heartbeat = new Heartbeat({
      work,
      vanishing,
      watched: () => this.connections.all(),
      stalled: client => this.connections.stalled(client),
      vanished: client => this.connections.disconnect(client, 'client'),
      failed: (client, error) => this.connections.failed(client, error),
      tick: () => {
        this.#history.expire()
        this.#slowLog.report()
        this.admission.log.report()
      }
    }, heartbeatInterval, stallTimeout)
    this.stats = new Stats(broker, registry, this.connections, counters, this.#history, this.#log)
    this.#metrics = options.metrics === null ? null : new Metrics(options.metrics, () => this.stats.readAnyhow(), fanoutTimer!)
  }

  /** Gives what a client asks of its hub to the part that does it. */
  #clientHost (): ClientHost {
    const { options, delivery, scheduler, counters } = this
    const beats = new Beats(options.heartbeatEvent, otherwise => delivery.head(otherwise))
    const failedOf = (message: string) => (client: Client, error: unknown): void => this.#log.error({ err: error, clientId: client.id }, message)
    return {
      batches: delivery.batches,
      scheduler,
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
      gone: client => this.connections.gone(client as Client),
      failed: (client, error) => this.connections.failed(client as Client, error),
      endingFailed: failedOf('ending a stream failed') as ClientHost['endingFailed'],
      sendFailed: failedOf('sending to a client failed'),
      listenerFailed: error => this.#log.error({ err: error }, 'a listener of a client\'s signal failed')
    }
  }

  async start (): Promise<void> {
    try {
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
    } catch (error) {
      this.#removeMetrics()
      throw error
    }
    this.delivery.start()
  }

  startHeartbeat (): void {
    this.#heartbeat.start()
  }

  /** Ends every stream after its last events and closes the broker. All of that takes at most `closeTimeout`. */
  async close (): Promise<void> {
    if (this.admission.closed) return
    this.admission.close()
    this.#heartbeat.stop()
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<void>(resolve => { timer = setTimeout(resolve, this.options.closeTimeout) })
    await this.connections.close(timeout)
    await Promise.race([this.#vanishing.close(), timeout])
    this.publisher.close()
    try {
      await Promise.race([this.#broker.close(), timeout])
    } catch (error) {
      this.#log.error({ err: error }, 'the broker failed to close')
    }
    clearTimeout(timer)
    this.#slowLog.flush()
    this.admission.log.flush()
    this.#removeMetrics()
  }

  /** A registry that fails must not hide why the hub could not start, nor keep it from closing. */
  #removeMetrics (): void {
    guarded(() => this.#metrics?.remove(), error => this.#log.error({ err: error }, 'the registry failed to let go of the metrics'))
  }
}
