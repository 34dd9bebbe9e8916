// The hub: publishes, tells what happens, and counts. It must not know how it is registered.
import type { EventEmitter } from 'node:events'
import type { BrokerStats } from './broker.js'
import type { SSEPresence, SSEState } from './channel.js'
import type { SSEClient, SSEDisconnectReason } from './client.js'
import type { SSEEventName, SSEInput } from './schemas.js'

/** Options of `send`, `toChannel`, `toChannels` and `toClient`. */
export interface SSEPublishOptions {
  /** Delivered live only: not kept in history, no id. */
  transient?: boolean
  /** Skip the connections of this client id: the sender in a chat. Holds in replays too. */
  except?: string
  /** A `retry:` field, in milliseconds, sent with the event. */
  retry?: number
  /** Data is a string and is sent as it is, e.g. an HTML fragment. Line breaks arrive as LF. */
  raw?: boolean
  /**
   * Whose state the event says, 1 to 256 characters: of each channel, event name and key history keeps the newest, and so
   * does what waits for a client that reads too slowly. Default: what the event's schema names, see `keyed()`.
   */
  key?: string
  /**
   * With a key: the state is forgotten, and no new client gets it. The event is delivered, and its data may be `null`; the key
   * is not sent, so let the data say what went where clients need to know.
   */
  remove?: boolean
  /** A retry of a publish with the same key is stored once and answered with the first one's result. */
  idempotencyKey?: string
  /**
   * Whether it may be compressed, where the stream is: false keeps it apart, so that its length tells nothing of it.
   * Default true, with `toClient` false.
   */
  compress?: boolean
}

/** What a publishing call resolves to. */
export interface SSEPublished<Options = SSEPublishOptions> {
  /** The event's id (WHATWG HTML 9.2.6), a place to resume from; `null` for a transient one, which has none. */
  id: Options extends { transient: true } ? null : string
  /** How many clients of this instance the event was for when the broker accepted it. */
  recipients: number
}

/**
 * What `fastify.sse.on()` tells, by name, with the arguments that listeners get. Listeners run at once, inside the hub's work;
 * what one throws or rejects with is logged and stops nothing.
 */
export interface SSEHubEvents {
  /** A client of this instance is there, in its channels. */
  connect: [client: SSEClient]
  /** A client of this instance is gone: what is published from now on it does not get. `client.channels` has those that it was in. */
  disconnect: [client: SSEClient, reason: SSEDisconnectReason]
  /** A stream of any instance came to a channel. */
  join: [who: SSEPresence, channel: string]
  /** A stream of any instance left a channel, or is gone. */
  leave: [who: SSEPresence, channel: string]
}

/** How this instance's hub is: counters since start, and gauges of now. {@link SSEPluginOptions.metrics} has the same for Prometheus. */
export interface SSEStats {
  /** Open streams now. */
  clients: number
  /** Channels with at least one client now. */
  channels: number
  /** Streams opened since start. */
  connections: number
  /** Streams refused since start, by `maxClients`, `maxClientsPerKey` or because the hub was closing. */
  refused: number
  /** Events accepted since start. */
  published: number
  /** Live events written to clients since start, counted once per client. */
  delivered: number
  /** Events written to clients from history since start, counted once per client. */
  replayed: number
  /** Events dropped for slow clients since start. */
  dropped: number
  /** Events since start that a slow client was not sent, since a newer one of their key took their place. */
  conflated: number
  /** Clients disconnected because they read too slowly or not at all, since start. */
  slowDisconnects: number
  /** Bytes of event stream written to sockets since start, without the transfer coding. */
  bytesWritten: number
  /** Bytes waiting for clients now, in the hub and in their sockets. */
  bufferedBytes: number
  /** Events kept now. */
  historyEvents: number
  /** Bytes they take now, overhead included. */
  historyBytes: number
  /** Milliseconds since the hub was made. */
  uptime: number
  /** How the broker is; `null` for the one in memory. */
  broker: BrokerStats | null
}

/** The hub, `fastify.sse`: publishes, and knows who is there. Its events are {@link SSEHubEvents}. */
export interface SSEHub extends EventEmitter<SSEHubEvents> {
  /**
   * Publishes to every client that did not opt out of broadcasts. Resolves once the broker has accepted the event.
   * Rejects, with nothing sent, with {@link SSE_ERR_INVALID_EVENT_NAME}, {@link SSE_ERR_INVALID_DATA},
   * {@link SSE_ERR_UNKNOWN_EVENT}, {@link SSE_ERR_EVENT_TOO_LARGE}, {@link SSE_ERR_INVALID_OPTION}, {@link SSE_ERR_CLOSED} or
   * {@link SSE_ERR_BROKER_UNAVAILABLE}.
   * A rejection is logged as well, and a caller who does not await it can't crash the process.
   */
  send<Name extends SSEEventName, const Options extends SSEPublishOptions = SSEPublishOptions> (
    event: Name, data: SSEInput<Name, Options>, options?: Options): Promise<SSEPublished<Options>>
  /** Publishes to a channel. As {@link SSEHub.send}; also rejects with {@link SSE_ERR_INVALID_CHANNEL}. */
  toChannel<Name extends SSEEventName, const Options extends SSEPublishOptions = SSEPublishOptions> (
    channel: string, event: Name, data: SSEInput<Name, Options>, options?: Options): Promise<SSEPublished<Options>>
  /** Publishes one event to several channels: once per client, even if it is in more than one. As {@link SSEHub.toChannel}. */
  toChannels<Name extends SSEEventName, const Options extends SSEPublishOptions = SSEPublishOptions> (
    channels: readonly string[], event: Name, data: SSEInput<Name, Options>, options?: Options): Promise<SSEPublished<Options>>
  /** Publishes to all connections of a client id. As {@link SSEHub.send}; also rejects with {@link SSE_ERR_INVALID_CLIENT_ID}. */
  toClient<Name extends SSEEventName, const Options extends SSEPublishOptions = SSEPublishOptions> (
    clientId: string, event: Name, data: SSEInput<Name, Options>, options?: Options): Promise<SSEPublished<Options>>
  /**
   * The present states of a channel, e.g. to render a page's first view: the newest event of each key, oldest first. Data that
   * the `serializer` did not write as JSON is given as its text.
   * Rejects with {@link SSE_ERR_INVALID_CHANNEL}, {@link SSE_ERR_INVALID_EVENT_NAME}, {@link SSE_ERR_UNKNOWN_EVENT} or
   * {@link SSE_ERR_BROKER_UNAVAILABLE}.
   * @param channel `null` for what `send()` publishes
   */
  state<Name extends SSEEventName> (channel: string | null, event: Name): Promise<Array<SSEState<Name>>>
  /** A connection with this id; where several share it, the oldest. */
  client (id: string): SSEClient | undefined
  /** All clients, in the order in which they came. */
  clients (): SSEClient[]
  /** The clients in a channel. */
  channelClients (channel: string): SSEClient[]
  /** The channels that have clients of this instance, and how many. */
  channels (): Array<{
    /** The channel's. */
    name: string
    /** How many clients are in it, at least 1. */
    count: number
  }>
  /**
   * How many clients of this instance there are.
   * @param channel only those in it; default: all
   */
  clientCount (channel?: string): number
  /**
   * Who is in a channel, over all instances: one entry a stream. What another instance's clients did arrives within a
   * fraction of a second; what a killed one had told is gone after three of the broker's lease periods.
   * Rejects with {@link SSE_ERR_INVALID_CHANNEL}.
   */
  presence (channel: string): Promise<SSEPresence[]>
  /** Sweeps now what the hub sweeps by itself: clients whose connection is gone. Returns how many it removed. */
  cleanupDisconnected (): number
  /** Counters since start and gauges now. */
  stats (): SSEStats
}
