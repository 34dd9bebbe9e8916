// What an application meets first: the options of the registration, what it adds to Fastify, and a route's schema. No other
// file here imports it.
import type { TUnsafe } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import type { Broker } from './broker.js'
import type { SSEClient, SSECompressOptions, SSEConnectOptions, SSEReplay } from './client.js'
import type { SSEHub } from './hub.js'
import type { SSEMetricsOptions } from './observability.js'
import type { SSEEventSchemas } from './schemas.js'

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
