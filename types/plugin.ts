// What an application meets first: the options of the registration, what the plugin adds to Fastify, and the schema of a route.
// No other file here may import it.
import type { TUnsafe } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import type { Broker } from './broker.js'
import type { SSEClient, SSECompressOptions, SSEConnectOptions, SSEReplay } from './client.js'
import type { SSEHub } from './hub.js'
import type { SSEMetricsOptions } from './observability.js'
import type { SSEEventSchemas } from './schemas.js'

/** Options of the registration. All times are milliseconds, all sizes are bytes. */
export interface SSEPluginOptions {
  /**
   * A client to which nothing was written for this long gets a comment line (WHATWG HTML 9.2.7). 0 turns it off. Default
   * 30000.
   */
  heartbeatInterval?: number
  /**
   * Sends an event of this name, with `{}` as data, in place of the comment. A client can hear it, and so notice silence.
   * As other event names, it must not begin with `sse:`. Default: none.
   */
  heartbeatEvent?: string
  /**
   * The `retry:` field at the start of each stream (WHATWG HTML 9.2.6): how long a client waits before it reconnects. `null`
   * leaves it out. Default 3000.
   */
  retry?: number | null
  /**
   * How many events without a key each channel keeps, and the states of how many keys. Broadcasts count as one channel. 0
   * keeps none. Default 50: 50 events and the states of 50 keys.
   */
  historySize?: number
  /** Events older than this are not replayed. Default: no limit. */
  historyMaxAge?: number
  /**
   * How many bytes the kept events of the whole hub may take, overhead included. The oldest events are removed first. Beside
   * it, replays keep the bytes that they share, up to a quarter of it and at most 16 MiB. {@link SSEHub.state} keeps the states of as
   * many bytes of events. Default 64 MiB.
   */
  historyMaxBytes?: number
  /**
   * Which kept events a new stream gets. Default `'all'`.
   * - `'all'`: what the client missed, where it says which event it had last; else all that is kept
   * - `'missed'`: only what the client missed; nothing on a first visit
   * - `'none'`: nothing
   */
  replay?: SSEReplay
  /** Whether each stream begins with `sse:open`. Default true. */
  greeting?: boolean
  /**
   * With this many clients, `reply.sse()` throws {@link SSE_ERR_TOO_MANY_CLIENTS} (503). A client whose stream has ended counts
   * while its last bytes wait. Default: no limit.
   */
  maxClients?: number
  /**
   * With this many clients of one `key`, `reply.sse()` throws {@link SSE_ERR_TOO_MANY_CLIENTS_PER_KEY} (429), so that nobody
   * takes all places. Each instance counts its own clients. Default: no limit.
   */
  maxClientsPerKey?: number
  /**
   * Whom a request counts for in `maxClientsPerKey`, e.g. the name of its user. `undefined` counts for nobody and has no limit.
   * What this function throws, `reply.sse()` throws. Default: {@link addressKey}, which counts by `request.ip`, an IPv6 address by
   * its /64. Behind a proxy set Fastify's `trustProxy`.
   */
  key?: (request: FastifyRequest) => string | undefined
  /** How many channels one client may be in. One more throws {@link SSE_ERR_TOO_MANY_CHANNELS}. Default 100. */
  maxChannelsPerClient?: number
  /**
   * An event with more bytes of data, in UTF-8, is refused with {@link SSE_ERR_EVENT_TOO_LARGE}. Where it is
   * given, it may not be above `maxBufferedBytes`. Default 1 MiB.
   */
  maxEventBytes?: number
  /**
   * How many bytes may wait for one client that reads too slowly, in the hub and in its socket. Default 1 MiB. The limit counts
   * once the socket refuses bytes, and when it refuses them. An event takes more bytes than its data: its id, its name, and `data: `
   * for each line. A socket of Node refuses them from 64 KiB on, in Node 20 from 16 KiB on: a smaller value is
   * no limit.
   */
  maxBufferedBytes?: number
  /**
   * What happens above `maxBufferedBytes`. Default `'disconnect'`.
   * - `'disconnect'`: the client is disconnected; it reconnects and resumes from history
   * - `'drop'`: its oldest waiting events are dropped, and `sse:gap` tells the client
   */
  slowClient?: 'disconnect' | 'drop'
  /**
   * A client whose socket accepts nothing for this long is disconnected. So is a client that vanished without a word: its machine
   * answers nothing for this long. On Linux it is found at most `stallTimeout` + 2 × `heartbeatInterval` + 15 s after it vanished.
   * For other systems see the guide's page on limits, slow clients and disconnects. 0 turns both off. Default 60000.
   */
  stallTimeout?: number
  /**
   * How long `app.close()` waits for the last bytes to leave. After it the broker has up to 2,000 ms to close. So the hub holds
   * `app.close()` for at most `closeTimeout` + 2,000. Default 2000.
   */
  closeTimeout?: number
  /**
   * At shutdown every client gets a random `retry:` between `retry` and `retry + reconnectSpread`, so that they do not all
   * reconnect at once. 0 sends none. Default 5000: with the default `retry` the clients wait 3 to 8 seconds.
   */
  reconnectSpread?: number
  /**
   * The query parameter that is read where a request has no `Last-Event-ID` header (WHATWG HTML 9.2.4). `null` turns it off.
   * Default `'lastEventId'`.
   */
  lastEventIdQuery?: string | null
  /**
   * Sends gzip to clients whose `Accept-Encoding` admits it (RFC 9110 12.5.3). What many clients get is compressed once for
   * all of them. Do not use it for a stream on which one client gets both a secret and text that an attacker may choose: the
   * compressed length tells about the secret. Default false.
   */
  compress?: boolean | SSECompressOptions
  /**
   * A TypeBox schema for each event name. Data is checked and serialised by it, and other event names are refused. Default:
   * none.
   */
  events?: SSEEventSchemas
  /** Turns data into text, for events without a schema. It must be synchronous. Default: JSON. */
  serializer?: (data: unknown, event: string) => string
  /** Puts events in order. Default: in memory, for one process. */
  broker?: Broker
  /** Fills a registry of `prom-client` with the hub's metrics. Default: none. */
  metrics?: SSEMetricsOptions
}

/** Options of {@link addressKey}. */
export interface SSEAddressKeyOptions {
  /** How many bits of an IPv6 address are its network, 1 to 128. Default 64. Providers that give a customer more give 56 or 48. */
  ipv6Prefix?: number
}

/**
 * What {@link sseResponse} returns: the `schema` of a route. Its `response` can stand beside other answers.
 * @category Schemas
 */
export interface SSEResponseSchema {
  /** The answers by status. */
  response: {
    /** The answer that is a stream. */
    200: {
      /** What API documents say about the stream in words. */
      description: string
      /** The content by media type. */
      content: {
        /** The stream (WHATWG HTML 9.2.5). */
        'text/event-stream': {
          /** The schema of one event. A type provider takes it as the type that the handler may return. */
          schema: TUnsafe<SSEClient>
        }
      }
    }
  }
}

/** What the plugin adds to a Fastify instance. */
export interface SSEInstanceDecorator {
  /** The hub of the nearest context that registered `fastify-sse-hub`. */
  sse: SSEHub
}

/** What the plugin adds to a Fastify reply. */
export interface SSEReplyDecorator {
  /**
   * Answers with an event stream (WHATWG HTML 9.2) that is subscribed to these channels.
   * @param channels one name or several, each of 1 to 256 characters; default: none, for broadcasts and the client's id alone
   * @throws Before anything is written: {@link SSE_ERR_NOT_ACCEPTABLE} (406), {@link SSE_ERR_TOO_MANY_CLIENTS_PER_KEY} (429),
   * {@link SSE_ERR_TOO_MANY_CLIENTS} and {@link SSE_ERR_CLOSED} (503), {@link SSE_ERR_ALREADY_SENT},
   * {@link SSE_ERR_INVALID_CHANNEL}, {@link SSE_ERR_TOO_MANY_CHANNELS}, {@link SSE_ERR_INVALID_CLIENT_ID},
   * {@link SSE_ERR_INVALID_OPTION}, {@link SSE_ERR_INVALID_EVENT_NAME}, {@link SSE_ERR_UNKNOWN_EVENT}
   */
  sse (channels?: string | readonly string[], options?: SSEConnectOptions): SSEClient
}

// The decorators are interfaces of their own, because the API's documentation does not show additions to another package.
declare module 'fastify' {
  interface FastifyInstance extends SSEInstanceDecorator {}
  interface FastifyReply extends SSEReplyDecorator {}
}
