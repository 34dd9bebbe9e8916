// One client, as the application sees it. Its outbox sends it events, and the hub puts it into channels. It must not know of
// requests and replies.
import { AsyncResource } from 'node:async_hooks'
import type { SSEClient, SSEClientJSON, SSEClientSendOptions, SSEDisconnectReason, SSEMetadata, SSEStreamOptions, SSEStreamSource } from '../../types/index.js'
import type { Frame } from '../wire/batch.js'
import type { Encoding } from '../wire/encoding.js'
import { checkSendOptions, checkStreamOptions } from '../options.js'
import type { Opening } from './opening.js'
import { Outbox, type OutboxHost } from './outbox.js'
import { pump } from './pump.js'
import { guardedController } from './signal.js'

/** What a client asks of its hub. */
export interface ClientHost extends OutboxHost {
  /** Checks and formats an event that is for one connection only. */
  directFrame (event: string, data: unknown, raw: boolean, compress: boolean): Frame
  /** Called after `push`, as after a publish. */
  settleWrites (): void
  join (client: Client, channel: string): void
  leave (client: Client, channel: string): void
  disconnect (client: Client, reason: SSEDisconnectReason): void
  /** A `send()` or `stream()` was rejected. Perhaps the application does not look at the promise. */
  sendFailed (client: Client, error: unknown): void
  /** A listener of a client's signal failed. */
  listenerFailed (error: unknown): void
}

export interface ClientSettings {
  readonly id: string
  /** Whether the route gave the id. Then the client can have the same id after it reconnects. */
  readonly stable: boolean
  /** From the route; `undefined` where it gave none. */
  readonly metadata: SSEMetadata | undefined
  readonly lastEventId: string | null
  /** The event names that the client gets; `null` for all. */
  readonly names: ReadonlySet<string> | null
  /** Whether it gets broadcasts. */
  readonly broadcast: boolean
  readonly opening: Opening
  readonly encoding: Encoding
}

export class Client extends Outbox implements SSEClient {
  readonly id: string
  readonly stable: boolean
  readonly lastEventId: string | null
  readonly names: ReadonlySet<string> | null
  readonly broadcast: boolean
  /** The `retry:` that the client was told; `null` for none. */
  readonly retry: number | null
  closed = false
  /** The admission key, which `maxClientsPerKey` limits. */
  key: string | undefined = undefined
  /**
   * The position of the newest event that the client has in line or had before. The client gets no event up to it. Example:
   * event 7 is for two of its channels. At the first channel the position becomes 7, so at the second it does not get the event.
   */
  position = 0
  /** The asynchronous context of the request that opened the stream. The client's listeners run in it. */
  readonly context = new AsyncResource('fastify-sse-hub.client')
  readonly #host: ClientHost
  readonly #connectedAt = Date.now()
  // These are made on first use, because together they would take 200 bytes for each client. Most clients are in one channel, and
  // need no set of channels: the name is enough.
  #metadata: SSEMetadata | undefined
  #channels: Set<string> | string | null = null
  #controller: AbortController | null = null
  #aborted = false

  constructor (host: ClientHost, settings: ClientSettings) {
    super(host, settings.opening, settings.encoding)
    this.#host = host
    this.id = settings.id
    this.stable = settings.stable
    this.retry = settings.opening.retry
    this.#metadata = settings.metadata
    this.lastEventId = settings.lastEventId
    this.names = settings.names
    this.broadcast = settings.broadcast
  }

  get metadata (): SSEMetadata {
    // The assertion is safe: where the application declares a type for it, each route must give it.
    this.#metadata ??= {} as SSEMetadata
    return this.#metadata
  }

  get channels (): Set<string> {
    if (!(this.#channels instanceof Set)) this.#channels = new Set(this.#channels === null ? [] : [this.#channels])
    return this.#channels
  }

  addChannel (channel: string): void {
    if (this.#channels === null) this.#channels = channel
    else this.channels.add(channel)
  }

  isIn (channel: string): boolean {
    return this.#channels instanceof Set ? this.#channels.has(channel) : this.#channels === channel
  }

  /** The names of its channels. It makes no set. */
  channelNames (): string[] {
    if (this.#channels === null) return []
    return this.#channels instanceof Set ? [...this.#channels] : [this.#channels]
  }

  get connectedAt (): Date {
    return new Date(this.#connectedAt)
  }

  get signal (): AbortSignal {
    if (this.#controller === null) {
      this.#controller = guardedController(error => this.#host.listenerFailed(error))
      if (this.#aborted) this.#controller.abort()
    }
    return this.#controller.signal
  }

  send (event: string, data: unknown, options: SSEClientSendOptions = {}): Promise<boolean> {
    return this.#logged(this.#send(event, data, options))
  }

  async #send (event: string, data: unknown, options: SSEClientSendOptions): Promise<boolean> {
    const { raw, compress } = checkSendOptions(options)
    const frame = this.#host.directFrame(event, data, raw === true, compress === true)
    if (this.closed) return false
    const sent = this.pushAndWait(frame)
    this.#host.settleWrites()
    return await sent
  }

  stream (source: SSEStreamSource, options: SSEStreamOptions): Promise<boolean> {
    return this.#logged(this.#streamFrom(source, options))
  }

  async #streamFrom (source: unknown, options: SSEStreamOptions): Promise<boolean> {
    const { event, ...sendOptions } = checkStreamOptions(options)
    return await pump(source, this, item => this.#send(event, item, sendOptions), error => this.#host.sendFailed(this, error))
  }

  /** The same promise. Its rejection is logged, and does not end the process when nobody awaits it. */
  #logged (promise: Promise<boolean>): Promise<boolean> {
    promise.catch(error => this.#host.sendFailed(this, error))
    return promise
  }

  join (channel: string): void {
    this.#host.join(this, channel)
  }

  leave (channel: string): void {
    this.#host.leave(this, channel)
  }

  close (): void {
    this.#host.disconnect(this, 'server')
  }

  /** Aborts its signal. A signal that is made later is aborted from the start. */
  abortSignal (): void {
    this.#aborted = true
    this.#controller?.abort()
  }

  /** For `JSON.stringify()` and loggers. */
  toJSON (): SSEClientJSON {
    const { id, channels, metadata, lastEventId, connectedAt, closed } = this
    return { id, channels: [...channels], metadata, lastEventId, connectedAt, closed }
  }
}
