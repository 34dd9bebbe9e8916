// One open stream: how it is opened, what can be done with it, and how it ends. It must not know of the hub.
import type { Readable } from 'node:stream'
import type { SSEEventName, SSEInput, SSEMetadata } from './schemas.js'

/** What a new stream is given of the kept events. See {@link SSEPluginOptions.replay}. */
export type SSEReplay = 'all' | 'missed' | 'none'

/** How streams are compressed. */
export interface SSECompressOptions {
  /** What is smaller than this many bytes when it is written is stored as it is. 0 to 65536. Default 256. */
  threshold?: number
  /** 1 (fast) to 9 (small), as zlib has them. Default 3. */
  level?: number
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
}

/**
 * Why a client went: it left, `close()` was called, it read too slowly (`slowClient`), its socket accepted nothing
 * (`stallTimeout`), the app shut down, or its handler, a hook or its socket failed.
 */
export type SSEDisconnectReason = 'client' | 'server' | 'slow' | 'stalled' | 'shutdown' | 'error'
