// Opens clients, moves them between channels and ends them. It must not know what is sent to them, nor of requests and replies.
import type { SSEConnectOptions, SSEDisconnectReason, SSEMetadata } from '../../types/index.js'
import { Client, type ClientHost } from '../client/client.js'
import { randomClientId } from '../client/client-id.js'
import { Opening, type OpeningHost } from '../client/opening.js'
import { SSE_ERR_TOO_MANY_CHANNELS } from '../errors.js'
import { checkChannel, checkEventName, checkOwnClientId } from '../names.js'
import { checkConnectOptions, compressionOf, USUAL_RETRY, type HubOptions } from '../options.js'
import type { Counters } from '../observe/counters.js'
import type { DataFormat } from '../schemas/data.js'
import { Chunk } from '../wire/chunk.js'
import { formatRetry } from '../wire/format.js'
import type { SlowLog } from './delivery.js'
import type { Encodings } from './encodings.js'
import type { HubLog } from './hub-log.js'
import type { Listeners } from './listeners.js'
import type { Presence } from './presence.js'
import type { Registry } from './registry.js'
import { targetsOf } from './targets.js'
import type { Vanishing } from './vanishing.js'
import type { Work } from './work.js'

export interface ConnectionsParts {
  readonly options: HubOptions
  readonly work: Work
  readonly vanishing: Vanishing
  readonly registry: Registry
  readonly presence: Presence
  readonly listeners: Listeners
  readonly encodings: Encodings
  readonly data: DataFormat
  readonly counters: Counters
  readonly slowLog: SlowLog
  readonly log: HubLog
  readonly clientHost: ClientHost
  readonly openingHost: OpeningHost
}

/** What the request of a new stream says. */
export interface Requested {
  /** The id of the last event that the client had. Called only where the route does not give one. */
  lastEventId (): string | null
  /** Whether the client accepts gzip. */
  admitsGzip (): boolean
}

/** With these reasons the client may still read, so its stream ends after what waits for it. With others it is cut. */
const IN_ORDER: ReadonlySet<SSEDisconnectReason> = new Set(['server', 'shutdown', 'error'])

export class Connections {
  readonly #parts: ConnectionsParts
  /** Clients that get no new events, and whose last bytes have not left. */
  readonly #ending = new Set<Client>()
  #onEnded: (() => void) | null = null

  constructor (parts: ConnectionsParts) {
    this.#parts = parts
  }

  /**
   * Makes a client. It is not in the registry before `enter`.
   * @throws SSE_ERR_INVALID_OPTION, SSE_ERR_INVALID_CHANNEL, SSE_ERR_TOO_MANY_CHANNELS, SSE_ERR_INVALID_CLIENT_ID,
   *   SSE_ERR_INVALID_EVENT_NAME, SSE_ERR_UNKNOWN_EVENT
   */
  open (channels: readonly string[], options: SSEConnectOptions, requested: Requested): Client {
    const { options: usual, encodings, clientHost, openingHost } = this.#parts
    const checked = checkConnectOptions(options)
    if (channels.length > usual.maxChannelsPerClient) throw new SSE_ERR_TOO_MANY_CHANNELS(usual.maxChannelsPerClient)
    const stable = checked.id !== undefined
    if (stable) checkOwnClientId(checked.id)
    const id = stable ? checked.id as string : randomClientId()
    const names = this.#filter(checked.events)
    const broadcast = checked.broadcast ?? true
    const targets = targetsOf({ id, stable, broadcast }, channels)
    const compression = compressionOf(checked.compress, usual.compress)
    const encoding = encodings.of(compression !== null && requested.admitsGzip() ? compression : null)
    const lastEventId = checked.lastEventId === undefined ? requested.lastEventId() : checked.lastEventId || null
    const opening = new Opening(openingHost, {
      clientId: id,
      greeting: checked.greeting ?? usual.greeting,
      retry: checked.retry === undefined ? usual.retry : checked.retry,
      mode: checked.replay ?? usual.replay,
      lastEventId,
      targets,
      names,
      encoding
    })
    const client = new Client(clientHost, { id, stable, metadata: checked.metadata as SSEMetadata | undefined, lastEventId, names, broadcast, opening, encoding })
    opening.begin(client)
    return client
  }

  #filter (events: readonly unknown[] | undefined): ReadonlySet<string> | null {
    if (events === undefined) return null
    const names = new Set<string>()
    for (const event of events) {
      checkEventName(event)
      this.#parts.data.checkKnown(event)
      names.add(event)
    }
    return names
  }

  /** Puts the client into its channels, and counts it for its admission key. */
  enter (client: Client, channels: readonly string[], key?: string): void {
    const { work, vanishing, counters, registry, presence, listeners } = this.#parts
    work.do(() => {
      vanishing.watch(client)
      counters.connections++
      client.key = key
      registry.add(client)
      for (const channel of channels) registry.join(client, channel)
      presence.announce(client)
      listeners.came(client, channels)
    })
  }

  /**
   * Answers with a head alone. Nobody reads more: the request is a HEAD, or the connection closed while the handler ran.
   * The signal is aborted after the handler's turn, so that listeners which the handler adds in this turn are called.
   */
  dismiss (client: Client): void {
    client.closed = true
    client.finishEmpty()
    setImmediate(() => this.#parts.listeners.abort(client))
  }

  /** @throws SSE_ERR_INVALID_CHANNEL, SSE_ERR_TOO_MANY_CHANNELS */
  join (client: Client, channel: string): void {
    const { options: { maxChannelsPerClient }, work, registry, presence, listeners } = this.#parts
    checkChannel(channel)
    if (client.closed || client.isIn(channel)) return
    if (client.channels.size >= maxChannelsPerClient) throw new SSE_ERR_TOO_MANY_CHANNELS(maxChannelsPerClient)
    work.do(() => {
      registry.join(client, channel)
      if (!client.begun) client.joinEarly(channel, targetsOf(client, client.channelNames()))
      presence.announce(client)
      listeners.joined(client, channel)
    })
  }

  leave (client: Client, channel: string): void {
    const { work, registry, presence, listeners } = this.#parts
    if (client.closed || !client.isIn(channel)) return
    work.do(() => {
      registry.leave(client, channel)
      if (!client.begun) client.leaveEarly(channel, targetsOf(client, client.channelNames()))
      presence.announce(client)
      listeners.left(client, channel)
    })
  }

  /**
   * Removes a client from the hub, once, and ends its stream. A client that is ending already can still be cut. Example: a client
   * that was closed with `server` takes no bytes. Later it is disconnected with `stalled`, which cuts it.
   */
  disconnect (client: Client, reason: SSEDisconnectReason): void {
    const { options, work, registry, presence, listeners } = this.#parts
    work.do(() => {
      const inOrder = IN_ORDER.has(reason)
      if (!client.closed) {
        client.closed = true
        registry.remove(client)
        presence.withdraw(client)
        listeners.went(client, reason)
        if (inOrder) {
          this.#ending.add(client)
          // A client that has read all makes room at once. Another could open streams without end, and leave their last bytes unread.
          if (!client.unread) registry.free(client)
          client.finish(reason === 'shutdown' ? farewellTo(client, options.reconnectSpread) : null)
        }
      }
      if (!inOrder) client.cut()
    })
  }

  /** Ends a client whose response the application has ended itself. */
  overtaken (client: Client): void {
    this.#parts.work.do(() => {
      this.disconnect(client, 'server')
      client.finishOvertaken()
    })
  }

  /** Ends a client whose socket has accepted nothing for too long, or whose machine has not answered. */
  stalled (client: Client): void {
    const { counters, slowLog } = this.#parts
    counters.slowDisconnects++
    slowLog.count('stalledClients')
    this.disconnect(client, 'stalled')
  }

  /** Ends a client whose response is answered without its stream. */
  leaveResponse (client: Client): void {
    this.#parts.work.do(() => {
      this.disconnect(client, 'error')
      client.leaveResponse()
    })
  }

  /** Ends a client after a write to it failed. */
  failed (client: Client, error: unknown): void {
    const { work, log } = this.#parts
    work.do(() => {
      log.error({ err: error, clientId: client.id }, 'writing to a client failed')
      this.disconnect(client, 'error')
      client.cut()
    })
  }

  /** Removes a client whose stream is over. */
  gone (client: Client): void {
    this.#parts.work.do(() => {
      if (!client.closed) this.disconnect(client, client.finished ? 'server' : 'client')
      this.#parts.registry.free(client)
      this.#ending.delete(client)
      if (this.#ending.size === 0) this.#onEnded?.()
    })
  }

  /** All clients with a stream, also those that are ending. */
  * all (): Generator<Client, void> {
    yield * this.#parts.registry.clients
    yield * this.#ending
  }

  /** Ends the clients whose connection is gone, and returns how many there were. */
  sweep (): number {
    const { work } = this.#parts
    let count = 0
    work.do(() => {
      for (const client of this.all()) {
        if (client.alive) continue
        this.disconnect(client, 'client')
        count++
      }
    })
    return count
  }

  /**
   * Ends every stream after its last events. Waits until the bytes have left and the application was told.
   * @param timeout when it resolves, the streams that are left are cut
   */
  async close (timeout: Promise<void>): Promise<void> {
    const { work, registry } = this.#parts
    const clients = [...this.all()]
    work.do(() => {
      for (const client of [...registry.clients]) this.disconnect(client, 'shutdown')
    })
    const ended = new Promise<void>(resolve => { this.#onEnded = resolve })
    if (this.#ending.size > 0) await Promise.race([ended, timeout])
    for (const client of [...this.#ending]) {
      client.cut()
      client.endSession('destroy')
    }
    for (const client of clients) client.endSession('close')
    await Promise.race([work.idle(), timeout])
  }
}

/**
 * The last bytes of a stream at shutdown. They spread the reconnects: with a `retry:` of 3000 and a spread of 2000, the clients
 * come back after 3 to 5 seconds.
 */
function farewellTo (client: Client, spread: number): Chunk | null {
  if (spread === 0) return null
  const wait = (client.retry ?? USUAL_RETRY) + Math.floor(Math.random() * (spread + 1))
  const text = formatRetry(wait) + '\n'
  return Chunk.fromText(text, text.length)
}
