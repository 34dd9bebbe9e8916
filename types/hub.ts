// The hub: how to publish, what it tells the application, and what it counts. It must not know of the plugin's options.
import type { EventEmitter } from 'node:events'
import type { BrokerStats } from './broker.js'
import type { SSEPresence, SSEState } from './channel.js'
import type { SSEClient, SSEDisconnectReason } from './client.js'
import type { SSEEventName, SSEInput } from './schemas.js'

/** Options of `send`, `toChannel`, `toChannels` and `toClient`. */
export interface SSEPublishOptions {
  /** Delivers the event live only. It is not kept in history and has no id. Default false. */
  transient?: boolean
  /**
   * A client id that does not get the event, e.g. the sender's in a chat. It does not get the event in a replay either. Example
   * of the one exception: with a `key`, alice sets a title from one tab. A tab that she opens later begins with the title, as any
   * new stream does that knows no event yet. One that resumes does not get it.
   */
  except?: string
  /** The `retry:` field of the event (WHATWG HTML 9.2.6), in milliseconds. Default: none. */
  retry?: number
  /** The data is a string and is sent as it is, e.g. an HTML fragment. Line breaks arrive as LF. Default false. */
  raw?: boolean
  /**
   * Makes the event a state: the newest value of this key, 1 to 256 well-formed characters. History keeps only the newest event of each
   * channel, event name and key. Only the newest one waits for a client that reads too slowly. Example: after 100 prices with
   * the key `'ACME'` a new client gets the last one. Default: the key that the event's schema names, see {@link keyed}.
   */
  key?: string
  /**
   * With a key: the hub forgets the state, and new clients do not get it. The event itself is delivered. With the option `key`
   * its data may be `null`; else {@link keyed} needs the data, for its key. The key is not sent. Name it in the data where clients
   * must know it. Default false.
   */
  remove?: boolean
  /**
   * Makes a retry harmless: publishes with the same key are stored once, and each resolves to the first one's result. 1 to 256
   * characters. In memory the last 10,000 keys are remembered, over Redis those of an hour.
   */
  idempotencyKey?: string
  /**
   * Whether the event may be compressed, where the stream is. `false` keeps it apart from other events, so that its length
   * tells nothing about it. Default true, with `toClient` false.
   */
  compress?: boolean
}

/** The options of a call that has none. */
type SSENoOptions = Record<never, never>

/** The id where the option `transient` has this type; `unknown` where there is no such option. */
type MaybeNull<Transient> = unknown extends Transient ? string : true extends Transient ? string | null : string

/** What a publishing call resolves to. */
export interface SSEPublished<Options = SSEPublishOptions> {
  /**
   * The event's id (WHATWG HTML 9.2.6), a place to resume from. `null` for a transient event, which has none. Where the type of the
   * options does not say whether the event is transient, it is `string | null`.
   */
  id: Options extends { transient: true } ? null : Options extends { transient?: infer Transient } ? MaybeNull<Transient> : string
  /** How many clients of this instance the event was for when the broker accepted it. */
  recipients: number
}

/**
 * The events of `fastify.sse.on()`, with the arguments of their listeners.
 *
 * Listeners run after the hub's own work is done, in order, before the call that caused them returns. For a stream of
 * this instance they run in the asynchronous context of the request that opened it. What a listener throws or rejects with is
 * logged and stops nothing. Example: one publish disconnects 3 slow clients. All 3 have left their channels before the first
 * listener runs.
 *
 * `connect` and `join` are told only where they still hold when their turn comes. Example: a listener of `connect` closes the
 * client, so that its `join` is not told. No listener hears `join` after `leave`.
 */
export interface SSEHubEvents {
  /** A client of this instance is connected and is in its channels. */
  connect: [client: SSEClient]
  /**
   * A client of this instance is disconnected. It gets nothing that is published from now on. `client.channels` has the
   * channels that it was in.
   */
  disconnect: [client: SSEClient, reason: SSEDisconnectReason]
  /** A stream of any instance joined a channel. */
  join: [presence: SSEPresence, channel: string]
  /** A stream of any instance left a channel, or has ended. */
  leave: [presence: SSEPresence, channel: string]
}

/**
 * The figures of this instance's hub: counters since start, and gauges of now. {@link SSEPluginOptions.metrics} has the same
 * for Prometheus.
 */
export interface SSEStats {
  /** Open streams now. */
  clients: number
  /** Channels with at least one client now. */
  channels: number
  /** Streams opened since start. */
  connections: number
  /** Streams refused since start: by `maxClients`, by `maxClientsPerKey`, or because the hub was closing. */
  refused: number
  /** Events that the broker gave to this instance since start, whichever instance published them. */
  published: number
  /** Live events written to clients since start, counted once per client. */
  delivered: number
  /** Events written to clients from history since start, counted once per client. */
  replayed: number
  /** Events dropped for slow clients since start, counted once per client. */
  dropped: number
  /** Events that a slow client was not sent since start, because a newer event of their key took their place. */
  conflated: number
  /** Clients disconnected since start because they read too slowly or not at all. */
  slowDisconnects: number
  /** Bytes of event stream written to sockets since start, without the transfer coding (RFC 9112 7.1). */
  bytesWritten: number
  /** Bytes that wait for clients now, in the hub and in their sockets. */
  bufferedBytes: number
  /** Events kept in history now. */
  historyEvents: number
  /** Bytes that these events take now, overhead included. */
  historyBytes: number
  /** Milliseconds since the hub was made. */
  uptime: number
  /** The state of the broker. `null` for the broker in memory. */
  broker: BrokerStats | null
}

/** The hub, `fastify.sse`. It publishes events and knows the streams. Its own events are {@link SSEHubEvents}. */
export interface SSEHub extends EventEmitter<SSEHubEvents> {
  /**
   * Publishes to every client that did not opt out of broadcasts. Resolves when the broker has accepted the event.
   * Rejects, with nothing sent, with {@link SSE_ERR_INVALID_EVENT_NAME}, {@link SSE_ERR_INVALID_DATA},
   * {@link SSE_ERR_UNKNOWN_EVENT}, {@link SSE_ERR_EVENT_TOO_LARGE}, {@link SSE_ERR_INVALID_OPTION}, {@link SSE_ERR_CLOSED} or
   * {@link SSE_ERR_BROKER_UNAVAILABLE}.
   * A rejection is also logged. It can't crash the process where the caller does not await it.
   */
  send<Name extends SSEEventName, const Options extends SSEPublishOptions = SSENoOptions> (
    event: Name, data: SSEInput<Name, Options>, options?: Options): Promise<SSEPublished<Options>>
  /** Publishes to a channel. As {@link SSEHub.send}. Also rejects with {@link SSE_ERR_INVALID_CHANNEL}. */
  toChannel<Name extends SSEEventName, const Options extends SSEPublishOptions = SSENoOptions> (
    channel: string, event: Name, data: SSEInput<Name, Options>, options?: Options): Promise<SSEPublished<Options>>
  /**
   * Publishes one event to several channels. A client that is in more than one of them gets it once. As
   * {@link SSEHub.toChannel}.
   */
  toChannels<Name extends SSEEventName, const Options extends SSEPublishOptions = SSENoOptions> (
    channels: readonly string[], event: Name, data: SSEInput<Name, Options>, options?: Options): Promise<SSEPublished<Options>>
  /** Publishes to all streams of a client id. As {@link SSEHub.send}. Also rejects with {@link SSE_ERR_INVALID_CLIENT_ID}. */
  toClient<Name extends SSEEventName, const Options extends SSEPublishOptions = SSENoOptions> (
    clientId: string, event: Name, data: SSEInput<Name, Options>, options?: Options): Promise<SSEPublished<Options>>
  /**
   * The present states of a channel, e.g. to render the first view of a page: the newest event of each key, the one that
   * changed last at the end. Where the `serializer` did not write data as JSON, the data is given as its text. The array is yours;
   * the states in it and their data are frozen, because until a state changes, all calls give the same ones.
   * Rejects with {@link SSE_ERR_INVALID_CHANNEL}, {@link SSE_ERR_INVALID_EVENT_NAME}, {@link SSE_ERR_UNKNOWN_EVENT} or
   * {@link SSE_ERR_BROKER_UNAVAILABLE}.
   * @param channel `null` for what `send()` publishes
   */
  state<Name extends SSEEventName> (channel: string | null, event: Name): Promise<Array<SSEState<Name>>>
  /** The client with this id. Where several streams share the id, the oldest one. */
  client (id: string): SSEClient | undefined
  /** All clients of this instance, in the order in which they connected. */
  clients (): SSEClient[]
  /** The clients of this instance in a channel. */
  channelClients (channel: string): SSEClient[]
  /** The channels that have clients of this instance. */
  channels (): Array<{
    /** The channel's name. */
    name: string
    /** How many clients are in it, at least 1. */
    count: number
  }>
  /**
   * How many clients this instance has.
   * @param channel counts only the clients in this channel; default: all
   */
  clientCount (channel?: string): number
  /**
   * The streams in a channel, over all instances. A change on another instance arrives within a fraction of a second. The
   * streams of a killed instance are removed after three of the broker's lease periods, e.g. 6 s with the default of 2 s.
   * Rejects with {@link SSE_ERR_INVALID_CHANNEL}.
   */
  presence (channel: string): Promise<SSEPresence[]>
  /** Removes now the clients whose connection is gone, as the hub does by itself. Returns how many it removed. */
  cleanupDisconnected (): number
  /** The counters since start, and the gauges of now. */
  stats (): SSEStats
}
