// A reply that is a stream's: gives the stream to Fastify as the payload, and from then on stands between the reply and a
// handler that returns, sends or throws something late, or a hook that fails.
import type { FastifyReply } from 'fastify'
import { EVENT_STREAM } from './accept.js'
import type { Client } from '../client/client.js'
import { SSE_ERR_ALREADY_SENT } from '../errors.js'
import type { HubCore } from '../hub/core.js'
import { coreOf } from '../hub/hub.js'
import type { EventStream } from '../transport/event-stream.js'

const HEADERS = {
  'content-type': EVENT_STREAM,
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no'
}

/** Stands as the content type between a stream's release and the error handler; it is never sent. */
const RELEASED = `${EVENT_STREAM}; released`

/** Where a reply keeps its client. */
export const kClient = Symbol('fastify-sse-hub.client')

interface StreamingReply extends FastifyReply {
  [kClient]: Client | null
}

/** The core of the hub nearest to the reply's route. */
export function hubOf (reply: FastifyReply): HubCore {
  return coreOf(reply.server.sse)
}

/** Whether the reply is sent, or is a stream's. */
export function isTaken (reply: FastifyReply): boolean {
  return reply.sent || reply.raw.headersSent || (reply as StreamingReply)[kClient] !== null
}

/** Sends a client's stream: from here on the reply is the client's. */
export function takeOver (reply: FastifyReply, client: Client, stream: EventStream): void {
  // An error handler may open a stream in place of one whose hook failed.
  restore(reply)
  const { send } = reply
  ;(reply as StreamingReply)[kClient] = client
  reply.headers(HEADERS)
  if (client.compressed) {
    reply.header('content-encoding', 'gzip')
    reply.header('vary', varied(reply.getHeader('vary')))
  }
  Object.defineProperties(reply, OVERRIDES)
  try {
    send.call(reply, stream)
  } catch (error) {
    release(reply)
    restore(reply)
    throw error
  }
}

/**
 * A stream that was not piped yet will not be: a hook failed, or something else is sent. Up to the moment at which an
 * error handler runs, what the handler returns is still not wanted: the content type, which Fastify removes just
 * before, tells.
 */
export function release (reply: FastifyReply): void {
  const streaming = reply as StreamingReply
  const client = streaming[kClient]
  if (client === null || client.piped) return
  streaming[kClient] = null
  for (const name of [...Object.keys(HEADERS), ...client.compressed ? ['content-encoding'] : []]) {
    reply.removeHeader(name)
    // Where a header can't be sent, Fastify finds out when it has set some.
    if (!reply.raw.headersSent) reply.raw.removeHeader(name)
  }
  reply.header('content-type', RELEASED)
  hubOf(reply).connections.leaveResponse(client)
}

/** What the answer depends on, with the client's encodings (RFC 9110 12.5.5). */
function varied (vary: string | number | readonly string[] | undefined): string {
  const names = String(vary ?? '')
  if (names === '') return 'accept-encoding'
  return /(?:^|,)\s*(?:\*|accept-encoding)\s*(?:,|$)/i.test(names) ? names : `${names}, accept-encoding`
}

/** Whoever answers finds the reply as it was: own properties go, so that those of the prototype are back. */
function restore (reply: FastifyReply): void {
  if (isHeld(reply)) reply.removeHeader('content-type')
  Reflect.deleteProperty(reply, 'send')
  Reflect.deleteProperty(reply, 'sent')
}

/** Whether the stream was released, and no error handler runs yet. */
function isHeld (reply: FastifyReply): boolean {
  return reply.getHeader('content-type') === RELEASED
}

/**
 * Fastify hands what a handler returns or throws to `send`, unless `sent` is true, as it would be after `hijack()`.
 * A returned client means nothing more than that it is returned. What is thrown must end the stream.
 */
const OVERRIDES: PropertyDescriptorMap & ThisType<StreamingReply> = {
  send: {
    configurable: true,
    writable: true,
    value (this: StreamingReply, payload?: unknown): FastifyReply {
      const client = this[kClient]
      if (client === null) {
        if (isHeld(this)) return this
        restore(this)
        return this.send(payload)
      }
      if (payload === undefined || payload === client || payload === this) return this
      if (!client.piped && (payload instanceof Error || this.getHeader('content-type') !== EVENT_STREAM)) {
        release(this)
        restore(this)
        return this.send(payload)
      }
      if (payload instanceof Error) {
        this.log.error({ err: payload }, 'the handler failed after reply.sse(), so its stream ends')
        hubOf(this).connections.disconnect(client, 'error')
      } else {
        this.log.warn({ err: new SSE_ERR_ALREADY_SENT() }, 'reply.send() was called after reply.sse()')
      }
      return this
    }
  },
  sent: {
    configurable: true,
    get (): boolean {
      const client = this[kClient]
      if (this.raw.writableEnded) return true
      return client === null ? isHeld(this) : client.piped && client.closed
    }
  }
}
