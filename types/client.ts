// One open stream: how a route opens it, what the application does with it, and why it ends. It must not know of the hub.
import type { Readable } from 'node:stream'
import type { SSEEventName, SSEInput, SSEMetadata } from './schemas.js'

/** Which kept events a new stream gets. See {@link SSEPluginOptions.replay}. */
export type SSEReplay = 'all' | 'missed' | 'none'

/** How streams are compressed. */
export interface SSECompressOptions {
  /** Fewer bytes than this in one write are stored, not compressed. 0 to 65536. Default 256. */
  threshold?: number
  /** The level of zlib, 1 (fast) to 9 (small). Default 3. */
  level?: number
}

/** Options of `reply.sse()`. */
export interface SSEConnectOptions {
  /**
   * The client's id: 1 to 256 well-formed characters without CR, LF and NUL, and not with `~` at its beginning. Several streams may
   * share one. What `toClient` sends to an id that a route gave is kept and replayed. Take it from the authenticated user, never from
   * the request. Default: `~` and 128
   * random bits, which nobody can guess.
   */
  id?: string
  /** Your own data. You can read it on the client. Default `{}`. */
  metadata?: SSEMetadata
  /** Sends only events of these names. Default: all. */
  events?: readonly SSEEventName[]
  /** Whether the stream gets what `send()` publishes. `false` makes a private stream. Default true. */
  broadcast?: boolean
  /** Whether the stream begins with `sse:open`. Default: the setting of the hub. */
  greeting?: boolean
  /** Which kept events the stream gets. Default: the setting of the hub. */
  replay?: SSEReplay
  /**
   * The id of the event after which the stream resumes; `null` for none. Default: the `Last-Event-ID` header (WHATWG HTML
   * 9.2.4), else the query parameter {@link SSEPluginOptions.lastEventIdQuery}.
   */
  lastEventId?: string | null
  /**
   * The `retry:` field at the start of the stream (WHATWG HTML 9.2.6), in milliseconds. `null` leaves it out. Default: the
   * setting of the hub.
   */
  retry?: number | null
  /** Whether the stream is compressed for clients that admit it. Default: the setting of the hub. */
  compress?: boolean | SSECompressOptions
}

/** Options of a client's own `send()`. */
export interface SSEClientSendOptions {
  /** The data is a string and is sent as it is. Default false. */
  raw?: boolean
  /** Whether the event may be compressed, where the stream is. Default false: data for one client may be a secret. */
  compress?: boolean
}

/** Options of a client's `stream()`. */
export interface SSEStreamOptions<Name extends SSEEventName = SSEEventName> extends SSEClientSendOptions {
  /** The name of the events. Each item is one event. */
  event: Name
}

/** What `client.stream()` needs of a web `ReadableStream`, e.g. the `body` of a `fetch()`. */
export interface SSEWebStream<Item = unknown> {
  /** Takes the stream's reader. It must not be locked. */
  getReader (): {
    /** Gives the next item. */
    read (): Promise<{
      /** Whether the stream has ended. */
      readonly done: boolean
      /** The item, where it has not. */
      readonly value?: Item | undefined
    }>
    /** Tells the source that nothing more is wanted. */
    cancel (): Promise<void>
  }
}

/** What `client.stream()` sends: an array, a generator, a `Readable` or a web `ReadableStream`. */
export type SSEStreamSource<Item = unknown> = AsyncIterable<Item> | (Iterable<Item> & object) | Readable | SSEWebStream<Item>

/** One open stream. */
export interface SSEClient {
  /** The id that the route gave, which other streams may share, or a random one. */
  readonly id: string
  /** The channels that the client is in. After its end: those that it was in. */
  readonly channels: ReadonlySet<string>
  /** The object that the route gave, not a copy. `{}` where it gave none. */
  readonly metadata: SSEMetadata
  /** The id of the last event that the client had, as the client says it. `null` on a first visit. */
  readonly lastEventId: string | null
  /** When `reply.sse()` was called. */
  readonly connectedAt: Date
  /** True once the stream ends or has ended. The client gets nothing that is published from then on. */
  readonly closed: boolean
  /**
   * Aborted when the client is disconnected: stop producing for it. It is made on first use. Its listeners run as those of
   * {@link SSEHubEvents} do, and what one throws is logged. For a HEAD request, and where the client left before `reply.sse()`,
   * it is aborted after the handler's turn.
   */
  readonly signal: AbortSignal
  /**
   * Sends an event to this stream only. It has no id and is not kept. Resolves to true when the socket took it. Resolves to
   * false when the client was disconnected first, or when the event was dropped because the client reads too slowly.
   * Rejects with {@link SSE_ERR_INVALID_EVENT_NAME}, {@link SSE_ERR_INVALID_DATA}, {@link SSE_ERR_UNKNOWN_EVENT},
   * {@link SSE_ERR_EVENT_TOO_LARGE} or {@link SSE_ERR_INVALID_OPTION}. A rejection is also logged. It can't crash the process
   * where the caller does not await it.
   */
  send<Name extends SSEEventName, const Options extends SSEClientSendOptions = SSEClientSendOptions> (
    event: Name, data: SSEInput<Name, Options>, options?: Options): Promise<boolean>
  /**
   * Sends each item of a source as one event. It sends an item when the socket took the item before. Resolves to true after
   * the last item, and to false when the client was disconnected first. Where it ends before the source does, the source is told
   * at once, even while it gives nothing: a `Readable` is destroyed, a web stream is cancelled, and of another source `return()` is
   * called.
   * Rejects with what the source throws, and as {@link SSEClient.send} does.
   * @param source an array, a generator, or a stream of Node or of the web, e.g. of text with `raw`; each item is data of the event,
   *   as `send` takes it. The type refuses a string, which would be sent letter by letter
   */
  stream<Name extends SSEEventName, const Options extends SSEClientSendOptions = SSEClientSendOptions> (
    source: SSEStreamSource<SSEInput<Name, Options>>, options: Options & SSEStreamOptions<Name>): Promise<boolean>
  /**
   * Subscribes the client to a channel. Before the first bytes of the stream that counts as if the route had named the channel: the
   * client gets what it missed there. Later nothing is replayed, and the channel is this connection's alone: after a reconnect the
   * client is in the route's channels again. Does nothing where the client is in the channel, or is `closed`.
   * @throws {@link SSE_ERR_INVALID_CHANNEL}, {@link SSE_ERR_TOO_MANY_CHANNELS}
   */
  join (channel: string): void
  /**
   * Unsubscribes the client from a channel. Before the first bytes of the stream it gets nothing of the channel at all. Does nothing where the client is not in the channel, or
   * is `closed`.
   */
  leave (channel: string): void
  /**
   * Sends what waits, then ends the stream. The reason is `'server'`. A browser's `EventSource` reconnects (WHATWG HTML
   * 9.2.3).
   */
  close (): void
  /** For `JSON.stringify()` and loggers: what the client is, and nothing of the hub. */
  toJSON (): SSEClientJSON
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

/**
 * Why a client was disconnected:
 * - `'client'`: the client closed the connection, or the system found that it is gone
 * - `'server'`: `close()` was called
 * - `'slow'`: the client read too slowly, see {@link SSEPluginOptions.slowClient}
 * - `'stalled'`: its socket accepted nothing, or its machine answered nothing, see {@link SSEPluginOptions.stallTimeout}
 * - `'shutdown'`: the app was closed
 * - `'error'`: its handler, a hook or its socket failed
 */
export type SSEDisconnectReason = 'client' | 'server' | 'slow' | 'stalled' | 'shutdown' | 'error'
