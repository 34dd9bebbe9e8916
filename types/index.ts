// The public types. They must not know how the hub is built: nothing here imports from lib/.
import type { EventEmitter } from 'node:events'
import type { Readable } from 'node:stream'
import type { Static, TSchema, TUnsafe } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import type { Broker, BrokerStats } from './broker.js'
import type { SSEMetricsOptions } from './observability.js'

export type * from './broker.js'
export type * from './observability.js'

/**
 * Declare your events and your client metadata here, once, and every call follows:
 *
 * ```ts
 * declare module 'fastify-sse-hub' {
 *   interface SSERegister { events: typeof events, metadata: { user: string } }
 * }
 * ```
 * With nothing declared, event names are `string`, data is `unknown`, metadata is a record of unknowns.
 * @category Schemas
 */
export interface SSERegister {}

/**
 * One TypeBox schema per event name.
 * @category Schemas
 */
export type SSEEventSchemas = Record<string, TSchema>

/**
 * The names that may be published: the declared ones, or any string.
 * @category Schemas
 */
export type SSEEventName = SSERegister extends { events: infer Events } ? Extract<keyof Events, string> : string

/**
 * The data that goes with an event name.
 * @category Schemas
 */
export type SSEEventData<Name extends SSEEventName> =
  SSERegister extends { events: infer Events }
    ? Name extends keyof Events
      ? Events[Name] extends TSchema ? Static<Events[Name]> : never
      : never
    : unknown

/**
 * What a publishing call takes as data: a string where `raw` is set, else what the event's schema says; `null` to remove a state.
 * @category Schemas
 */
export type SSEInput<Name extends SSEEventName, Options> =
  (Options extends { raw: true } ? string : SSEEventData<Name>) | (Options extends { remove: true } ? null : never)

/**
 * The properties of an event's data that can be its key. See `keyed()`.
 * @category Schemas
 */
export type SSEKeyProperty<Data> = [Data] extends [object]
  ? { [Property in keyof Data]-?: Data[Property] extends string | number ? Property : never }[keyof Data] & string
  : never

/**
 * What {@link sseResponse} gives: a route's `schema`, or its `response` beside other answers.
 * @category Schemas
 */
export interface SSEResponseSchema {
  /** Answers by status. */
  response: {
    /** The stream. */
    200: {
      /** What documents say of it in words. */
      description: string
      /** By media type. */
      content: {
        /** The stream as WHATWG HTML 9.2.5 has it. */
        'text/event-stream': {
          /** The schema of one of its events. To a type provider it is what the handler may return. */
          schema: TUnsafe<SSEClient>
        }
      }
    }
  }
}

/**
 * What a route says of its client.
 * @category Schemas
 */
export type SSEMetadata = SSERegister extends { metadata: infer Metadata } ? Metadata : Record<string, unknown>

/** What a new stream is given of the kept events. See {@link SSEPluginOptions.replay}. */
export type SSEReplay = 'all' | 'missed' | 'none'

/** Options of the registration. All times are milliseconds, all sizes bytes. */
export interface SSEPluginOptions {
  /** A client to which nothing was written for this long gets a comment line. 0 turns it off. Default 30000. */
  heartbeatInterval?: number
  /** Send an event of this name, with `{}` as data, in place of the comment: for clients that watch for silence. */
  heartbeatEvent?: string
  /** The `retry:` field at the start of each stream (WHATWG HTML 9.2.6). `null` leaves it out. Default 3000. */
  retry?: number | null
  /** Events kept per channel, and of those with a key so many keys; broadcasts count as one channel of their own. 0 keeps none. Default 50. */
  historySize?: number
  /** Events older than this are not replayed. Default: no limit. */
  historyMaxAge?: number
  /** Cap of the kept events of the whole hub, overhead included; the oldest go first. Default 64 MiB. */
  historyMaxBytes?: number
  /**
   * What a new connection gets. `'all'`: what is kept, or what it missed where it says what it had last;
   * `'missed'`: only that; `'none'`: nothing. Default `'all'`.
   */
  replay?: SSEReplay
  /** Send `sse:open` first. Default true. */
  greeting?: boolean
  /** Above this many clients `reply.sse()` throws {@link SSE_ERR_TOO_MANY_CLIENTS} (503). Default: no limit. */
  maxClients?: number
  /**
   * Above this many clients of one `key` `reply.sse()` throws {@link SSE_ERR_TOO_MANY_CLIENTS_PER_KEY} (429), so that nobody
   * takes all places. Each instance counts its own. Default: no limit.
   */
  maxClientsPerKey?: number
  /**
   * Whose client a request makes, for `maxClientsPerKey`; `undefined` for nobody's, which has no limit. What it throws
   * `reply.sse()` throws. Default: `request.ip`, which behind a proxy wants Fastify's `trustProxy`.
   */
  key?: (request: FastifyRequest) => string | undefined
  /** How many channels one client may be in. Default 100. */
  maxChannelsPerClient?: number
  /** A larger event is refused with {@link SSE_ERR_EVENT_TOO_LARGE}. Its data counts, in UTF-8. Default 1 MiB. */
  maxEventBytes?: number
  /**
   * What may wait for one client that reads too slowly, in bytes, in the hub and in its socket. Default 1 MiB. It counts
   * once the socket refuses bytes, which Node's does from 64 KiB on, in Node 20 from 16 KiB on: less than that is no limit.
   */
  maxBufferedBytes?: number
  /**
   * Past `maxBufferedBytes`: `'disconnect'` (the client reconnects and resumes from history) or `'drop'`
   * (its oldest waiting events go, and `sse:gap` tells it). Default `'disconnect'`.
   */
  slowClient?: 'disconnect' | 'drop'
  /** A client whose socket accepts nothing for this long is disconnected. 0 turns it off. Default 60000. */
  stallTimeout?: number
  /** How long `app.close()` waits for the last bytes to leave. Default 2000. */
  closeTimeout?: number
  /**
   * At shutdown every client is told a `retry:` drawn at random from `retry` to `retry + reconnectSpread`,
   * so that they don't all come back at once. Default 5000.
   */
  reconnectSpread?: number
  /** Query parameter read where there is no `Last-Event-ID` header. `null` turns it off. Default `'lastEventId'`. */
  lastEventIdQuery?: string | null
  /**
   * Sends gzip to clients whose `Accept-Encoding` admits it (RFC 9110 12.5.3): compressed once for all who get the same.
   * Not for streams on which a secret goes to the same client as text that an attacker may choose: lengths tell. Default
   * false.
   */
  compress?: boolean | SSECompressOptions
  /** A TypeBox schema per event name: data is then checked and serialised by it, and other names are refused. */
  events?: SSEEventSchemas
  /** Turns data into text, for events without a schema. Default: JSON. */
  serializer?: (data: unknown, event: string) => string
  /** Where events are ordered. Default: in memory, for one process. */
  broker?: Broker
  /** Fills a registry of `prom-client` with the hub's metrics. Default: none. */
  metrics?: SSEMetricsOptions
}

/** How streams are compressed. */
export interface SSECompressOptions {
  /** What is smaller than this many bytes when it is written is stored as it is. 0 to 65536. Default 256. */
  threshold?: number
  /** 1 (fast) to 9 (small), as zlib has them. Default 3. */
  level?: number
}

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

/** Options of `reply.sse()`. */
export interface SSEConnectOptions {
  /**
   * The client's id, 1 to 256 characters. Default: random, unguessable, 128 bits. Several connections may share
   * one, and what `toClient` sent to a given one is kept and replayed. Take it from the authenticated user, never
   * from the request.
   */
  id?: string
  /** Yours; readable on the client. Default `{}`. */
  metadata?: SSEMetadata
  /** Receive only events of these names. Default: all. */
  events?: readonly SSEEventName[]
  /** Receive what `send()` publishes. Default true; false makes a private stream. */
  broadcast?: boolean
  /** Send `sse:open` first. Default: the hub's. */
  greeting?: boolean
  /** What is replayed. Default: the hub's. */
  replay?: SSEReplay
  /** The place to resume from. Default: the `Last-Event-ID` header, then the query parameter. */
  lastEventId?: string | null
  /** The `retry:` field at the start of this stream, in milliseconds; `null` leaves it out. Default: the hub's. */
  retry?: number | null
  /** Whether this stream is compressed for clients that admit it. Default: the hub's. */
  compress?: boolean | SSECompressOptions
}

/** Options of a client's own `send()`. */
export interface SSEClientSendOptions {
  /** Data is a string and is sent as it is. */
  raw?: boolean
  /** Whether it may be compressed, where the stream is. Default false: what is for one client may be a secret. */
  compress?: boolean
}

/** Options of a client's `stream()`. */
export interface SSEStreamOptions<Name extends SSEEventName = SSEEventName> extends SSEClientSendOptions {
  /** The name of the events, one for each item. */
  event: Name
}

/** What `JSON.stringify()` and loggers make of a client. */
export interface SSEClientJSON {
  /** As {@link SSEClient.id}. */
  id: string
  /** As {@link SSEClient.channels}. */
  channels: string[]
  /** As {@link SSEClient.metadata}. */
  metadata: SSEMetadata
  /** As {@link SSEClient.lastEventId}. */
  lastEventId: string | null
  /** As {@link SSEClient.connectedAt}. */
  connectedAt: Date
  /** As {@link SSEClient.closed}. */
  closed: boolean
}

/** One open stream. */
export interface SSEClient {
  /** Its id: the route's, which others may share, or a random one. */
  readonly id: string
  /** The channels it is in. */
  readonly channels: ReadonlySet<string>
  /** What the route gave, itself and no copy; `{}` where it gave nothing. */
  readonly metadata: SSEMetadata
  /** What the client said it had last, as it said it; `null` on a first visit. */
  readonly lastEventId: string | null
  /** When `reply.sse()` was called. */
  readonly connectedAt: Date
  /** Whether it is gone, or on its way: nothing that is published from now on reaches it. */
  readonly closed: boolean
  /** Aborted when the client goes: stop producing for it. Made on first use. */
  readonly signal: AbortSignal
  /**
   * Sends an event to this connection only: not kept, no id. Resolves to true when the socket took it, to false
   * when the client went first or the event was dropped because the client reads too slowly.
   * Rejects with {@link SSE_ERR_INVALID_EVENT_NAME}, {@link SSE_ERR_INVALID_DATA}, {@link SSE_ERR_UNKNOWN_EVENT},
   * {@link SSE_ERR_EVENT_TOO_LARGE} or {@link SSE_ERR_INVALID_OPTION}. A rejection is logged as well, and a caller who does
   * not await it can't crash the process.
   */
  send<Name extends SSEEventName, const Options extends SSEClientSendOptions = SSEClientSendOptions> (
    event: Name, data: SSEInput<Name, Options>, options?: Options): Promise<boolean>
  /**
   * Sends one event per item, each when the socket took the one before. Resolves to true after the last one, to
   * false when the client went first; the source's `return()` is called then, so that it stops producing.
   * Rejects with what the source throws, and as {@link SSEClient.send}.
   * @param source of data, one item an event: an array, a generator, or a `Readable`, e.g. of text with `raw`
   */
  stream<Name extends SSEEventName> (
    source: AsyncIterable<unknown> | Iterable<unknown> | Readable, options: SSEStreamOptions<Name>): Promise<boolean>
  /**
   * Subscribes to a channel from now on; nothing is replayed. Does nothing where it is in it, or is gone.
   * @throws {@link SSE_ERR_INVALID_CHANNEL}, {@link SSE_ERR_TOO_MANY_CHANNELS}
   */
  join (channel: string): void
  /** Unsubscribes from a channel. Does nothing where it is not in it, or is gone. */
  leave (channel: string): void
  /** Sends what waits and ends the stream: `'server'`. A browser's `EventSource` comes back (WHATWG HTML 9.2.3). */
  close (): void
  /** For `JSON.stringify()` and loggers: what the client is, and nothing of the hub. */
  toJSON (): SSEClientJSON
}

/**
 * Why a client went: it left, `close()` was called, it read too slowly (`slowClient`), its socket accepted nothing
 * (`stallTimeout`), the app shut down, or its handler, a hook or its socket failed.
 */
export type SSEDisconnectReason = 'client' | 'server' | 'slow' | 'stalled' | 'shutdown' | 'error'

/** A stream in a channel, on whichever instance. */
export interface SSEPresence {
  /** The client's id, which other streams may share. */
  readonly clientId: string
  /** What its route gave. Over Redis it went through JSON. */
  readonly metadata: SSEMetadata
  /** Which instance it is connected to: a random name, new with every start. */
  readonly instance: string
}

/** A state of a channel. */
export interface SSEState<Name extends SSEEventName = SSEEventName> {
  /** Whose state it is. */
  readonly key: string
  /** The newest that was published for this key, as its schema has it. */
  readonly data: SSEEventData<Name>
  /** The id of the event that said it. The last one's is a place to resume from. */
  readonly id: string
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

/** What the plugin adds to a Fastify instance. */
export interface SSEInstanceDecorator {
  /** The hub of the nearest context that registered `fastify-sse-hub`. */
  sse: SSEHub
}

/** What the plugin adds to a Fastify reply. */
export interface SSEReplyDecorator {
  /**
   * Answers with an event stream (WHATWG HTML 9.2), subscribed to these channels.
   * @param channels one name or several, each of 1 to 256 characters; default: none, for broadcasts and the client's id alone
   * @throws Before anything is written: {@link SSE_ERR_NOT_ACCEPTABLE} (406), {@link SSE_ERR_TOO_MANY_CLIENTS_PER_KEY} (429),
   * {@link SSE_ERR_TOO_MANY_CLIENTS} and {@link SSE_ERR_CLOSED} (503), {@link SSE_ERR_ALREADY_SENT},
   * {@link SSE_ERR_INVALID_CHANNEL}, {@link SSE_ERR_TOO_MANY_CHANNELS}, {@link SSE_ERR_INVALID_CLIENT_ID},
   * {@link SSE_ERR_INVALID_OPTION}, {@link SSE_ERR_INVALID_EVENT_NAME}, {@link SSE_ERR_UNKNOWN_EVENT}
   */
  sse (channels?: string | readonly string[], options?: SSEConnectOptions): SSEClient
}

// Interfaces of their own, since the API's documentation does not show what is added to another package's.
declare module 'fastify' {
  interface FastifyInstance extends SSEInstanceDecorator {}
  interface FastifyReply extends SSEReplyDecorator {}
}
