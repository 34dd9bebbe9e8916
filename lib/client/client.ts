// One client as the application sees it. How events get to it is its outbox's; who is in which channel is the hub's.
// It must not know of requests and replies.
import { AsyncResource } from 'node:async_hooks'
import type { Readable } from 'node:stream'
import type { SSEClient, SSEClientJSON, SSEClientSendOptions, SSEDisconnectReason, SSEMetadata, SSEStreamOptions } from '../../types/index.js'
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
  /** Ends what `push` has begun. */
  settleWrites (): void
  join (client: Client, channel: string): void
  leave (client: Client, channel: string): void
  disconnect (client: Client, reason: SSEDisconnectReason): void
  /** A `send()` or `stream()` is rejected, perhaps with nobody to see it. */
  sendFailed (client: Client, error: unknown): void
  /** A listener of a client's signal failed. */
  listenerFailed (error: unknown): void
}

export interface ClientSettings {
  readonly id: string
  /** Whether the route gave the id, so that the client can come back with it. */
  readonly stable: boolean
  /** What the route gave, if anything. */
  readonly metadata: SSEMetadata | undefined
  readonly lastEventId: string | null
  /** Only events of these names; `null` for all. */
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
  /** The `retry:` it was told; `null` for none. */
  readonly retry: number | null
  closed = false
  /** What it counts for towards `maxClientsPerKey`. */
  key: string | undefined = undefined
  /** Position of the event that reached it last: one that goes to two of its channels reaches it once. */
  position = 0
  /** The asynchronous context of the request that opened the stream: what concerns the client is told in it. */
  readonly context = new AsyncResource('fastify-sse-hub.client')
  readonly #host: ClientHost
  readonly #connectedAt = Date.now()
  // Made on first use: together they would take 200 bytes of every client, most of which are in one channel.
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
    // Where the application declares a type for it, routes must give it.
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

  /** Its channels, without making the set. */
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

  stream (source: AsyncIterable<unknown> | Iterable<unknown> | Readable, options: SSEStreamOptions): Promise<boolean> {
    return this.#logged(this.#streamFrom(source, options))
  }

  async #streamFrom (source: unknown, options: SSEStreamOptions): Promise<boolean> {
    const { event, ...sendOptions } = checkStreamOptions(options)
    return await pump(source, this, item => this.#send(event, item, sendOptions), error => this.#host.sendFailed(this, error))
  }

  /** A promise whose rejection is logged, and can't crash the process where nobody awaits it. */
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

  /** Aborts its signal, if anyone has asked for it. */
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
