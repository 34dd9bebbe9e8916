// A reply whose answer is a stream. It gives the stream to Fastify as the payload. From then on it keeps the reply from
// a handler that returns, sends or throws something later, and gives it back where a hook fails. It must not know what
// the stream sends.
import { types } from 'node:util'
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
/** Where a reply keeps what it had of its own before the overrides; `null` without them. */
export const kOwn = Symbol('fastify-sse-hub.own')

interface StreamingReply extends FastifyReply {
  [kClient]: Client | null
  [kOwn]: Own | null
}

type Own = Record<'send' | 'sent', PropertyDescriptor | undefined>

/** What nearly all replies have of their own: they share it, to save memory. */
const NOTHING: Own = { send: undefined, sent: undefined }

/** The mark that `isThrown` found last. No reply has this first one. */
let kReplyIsError = Symbol('fastify-sse-hub.unknown')

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
  if (client.compressed) reply.header('content-encoding', 'gzip')
  try {
    send.call(reply, stream)
  } catch (error) {
    release(reply)
    restore(reply)
    throw error
  }
  override(reply)
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

/** Gives the reply the overrides. What it had of its own in their place, e.g. the `send` of a plugin that logs answers, is kept. */
function override (reply: FastifyReply): void {
  const streaming = reply as StreamingReply
  const send = Object.getOwnPropertyDescriptor(reply, 'send')
  const sent = Object.getOwnPropertyDescriptor(reply, 'sent')
  streaming[kOwn] = send === undefined && sent === undefined ? NOTHING : { send, sent }
  Object.defineProperties(reply, OVERRIDES)
}

/** Makes the reply as it was. */
function restore (reply: FastifyReply): void {
  if (isHeld(reply)) reply.removeHeader('content-type')
  const streaming = reply as StreamingReply
  const own = streaming[kOwn]
  if (own === null) return
  streaming[kOwn] = null
  for (const name of ['send', 'sent'] as const) {
    const descriptor = own[name]
    // Without an own property, that of the prototype holds again.
    if (descriptor === undefined) Reflect.deleteProperty(reply, name)
    else Object.defineProperty(reply, name, descriptor)
  }
}

/**
 * Whether Fastify sends what was thrown. That may be of any type, and Fastify marks the reply before it sends it. The mark is a
 * symbol of Fastify's own, which each reply has from the beginning; another copy of Fastify has another symbol.
 */
function isThrown (reply: FastifyReply, payload: unknown): boolean {
  if (!(kReplyIsError in reply)) kReplyIsError = Object.getOwnPropertySymbols(reply).find(isErrorMark) ?? kReplyIsError
  return marksOf(reply)[kReplyIsError] === true || payload instanceof Error || types.isNativeError(payload)
}

function marksOf (reply: FastifyReply): Record<symbol, unknown> {
  return reply as unknown as Record<symbol, unknown>
}

function isErrorMark ({ description }: symbol): boolean {
  return description === 'fastify.reply.isError'
}

/** Whether the stream is released and no error handler runs yet. */
function isHeld (reply: FastifyReply): boolean {
  return reply.getHeader('content-type') === RELEASED
}

/** What the application's logger throws would reach Fastify in the place of what the handler did. */
function log (reply: FastifyReply, level: 'error' | 'warn', err: unknown, message: string): void {
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
      const thrown = isThrown(this, payload)
      if (!thrown && (payload === undefined || payload === client || payload === this)) return this
      if (!client.piped && (thrown || this.getHeader('content-type') !== EVENT_STREAM)) {
        release(this)
        restore(this)
        return this.send(payload)
      }
      if (thrown) {
        if (kReplyIsError in this) marksOf(this)[kReplyIsError] = false
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
