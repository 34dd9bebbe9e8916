// A reply whose answer is a stream. It gives the stream to Fastify as the payload. From then on it keeps the reply from
// a handler that returns, sends or throws something later, and gives it back where a hook fails. It must not know what
// the stream sends.
import type { FastifyReply } from 'fastify'
import { EVENT_STREAM } from './accept.js'
import type { Client } from '../client/client.js'
import { SSE_ERR_ALREADY_SENT } from '../errors.js'
import { guarded } from '../guarded.js'
import type { HubCore } from '../hub/core.js'
import { coreOf } from '../hub/hub.js'
import type { EventStream } from '../transport/event-stream.js'

const HEADERS = {
  'content-type': EVENT_STREAM,
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no'
}

/** The content type between a stream's release and the error handler. It is never sent. */
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

/** Whether the reply is sent, or has a stream. */
export function isTaken (reply: FastifyReply): boolean {
  return reply.sent || reply.raw.headersSent || (reply as StreamingReply)[kClient] !== null
}

/** Sends a client's stream as the reply's payload. */
export function takeOver (reply: FastifyReply, client: Client, stream: EventStream): void {
  // After a hook has failed, an error handler may open a new stream. The reply still has the first one's overrides.
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
 * Gives the reply back where its stream is not piped and never will be, because a hook failed or something else is
 * sent. Until an error handler runs, what the route's handler returns must still not be sent. The content type
 * `RELEASED` marks that time: Fastify removes it just before it calls the error handler.
 */
export function release (reply: FastifyReply): void {
  const streaming = reply as StreamingReply
  const client = streaming[kClient]
  if (client === null || client.piped) return
  streaming[kClient] = null
  for (const name of [...Object.keys(HEADERS), ...client.compressed ? ['content-encoding'] : []]) {
    reply.removeHeader(name)
    // Fastify may have copied some headers to the response before one of them was refused.
    if (!reply.raw.headersSent) reply.raw.removeHeader(name)
  }
  reply.header('content-type', RELEASED)
  hubOf(reply).connections.leaveResponse(client)
}

/** The `vary` header with `accept-encoding` in it (RFC 9110 12.5.5). */
function varied (vary: string | number | readonly string[] | undefined): string {
  const names = String(vary ?? '')
  if (names === '') return 'accept-encoding'
  return /(?:^|,)\s*(?:\*|accept-encoding)\s*(?:,|$)/i.test(names) ? names : `${names}, accept-encoding`
}

/** Makes the reply as it was: without the own properties, those of the prototype hold again. */
function restore (reply: FastifyReply): void {
  if (isHeld(reply)) reply.removeHeader('content-type')
  Reflect.deleteProperty(reply, 'send')
  Reflect.deleteProperty(reply, 'sent')
}

/** Whether the stream is released and no error handler runs yet. */
function isHeld (reply: FastifyReply): boolean {
  return reply.getHeader('content-type') === RELEASED
}

/** What the application's logger throws would reach Fastify in the place of what the handler did. */
function log (reply: FastifyReply, level: 'error' | 'warn', err: Error, message: string): void {
  guarded(() => reply.log[level]({ err }, message), () => {})
}

/**
 * Fastify passes what a handler returns or throws to `send`, unless `sent` is true. After `hijack()` it would be true,
 * and a thrown error would not end the stream, as it must. A handler that returns its client, the reply or nothing has
 * answered as it should.
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
        log(this, 'error', payload, 'the handler failed after reply.sse(), so its stream ends')
        hubOf(this).connections.disconnect(client, 'error')
      } else {
        log(this, 'warn', new SSE_ERR_ALREADY_SENT(), 'reply.send() was called after reply.sse()')
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
