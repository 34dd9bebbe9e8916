// `reply.sse()`: checks the request, makes the client, and gives its stream to Fastify as the reply's payload.
// From then on it stands between the reply and a handler that returns, sends or throws something late.
import type { FastifyReply } from 'fastify'
import type { SSEConnectOptions } from '../types/index.js'
import { acceptsEventStream, EVENT_STREAM } from './accept.js'
import type { Client } from './client.js'
import { SSE_ERR_ALREADY_SENT, SSE_ERR_NOT_ACCEPTABLE } from './errors.js'
import type { Hub } from './hub.js'
import { checkChannels } from './names.js'
import { EventStream } from './stream.js'

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

/** The decorator. */
export function sse (this: FastifyReply, channels: string | readonly string[] = [], options: SSEConnectOptions = {}): Client {
  const reply = this as StreamingReply
  const hub = hubOf(reply)
  if (reply.sent || reply.raw.headersSent || reply[kClient] !== null) throw new SSE_ERR_ALREADY_SENT()
  const { request } = reply
  if (!acceptsEventStream(request.headers.accept)) throw new SSE_ERR_NOT_ACCEPTABLE()
  admit(hub, reply)
  const names = checkChannels(typeof channels === 'string' ? [channels] : channels)
  const client = hub.prepare(names, options, () => lastEventIdOf(request.raw.headers['last-event-id'], request.raw.url!, hub.options.lastEventIdQuery))
  const stream = new EventStream(client, request.raw, reply.raw, () => reply.hijack())
  client.attach(stream)
  // Nobody reads what follows a HEAD response's head, nor a connection that went while the handler was busy.
  if (request.method !== 'HEAD' && client.alive) {
    hub.enter(client, names)
  } else {
    client.closed = true
    client.dismiss()
  }
  start(reply, client, stream)
  return client
}

/** The hub nearest to the reply's route. */
function hubOf (reply: FastifyReply): Hub {
  return reply.server.sse as unknown as Hub
}

function admit (hub: Hub, reply: FastifyReply): void {
  try {
    hub.admit()
  } catch (error) {
    reply.header('retry-after', hub.retryAfter)
    throw error
  }
}

/** What the client says it had last: the header, else the query parameter, which polyfills send. */
function lastEventIdOf (header: string | string[] | undefined, url: string, parameter: string | null): string | null {
  if (header !== undefined && header !== '') return String(header)
  if (parameter === null) return null
  const query = url.indexOf('?')
  // Read from the URL, since a route's schema may take it out of `request.query`.
  return query === -1 ? null : new URLSearchParams(url.slice(query)).get(parameter) || null
}

function start (reply: StreamingReply, client: Client, stream: EventStream): void {
  // An error handler may open a stream in place of one whose hook failed.
  restore(reply)
  const { send } = reply
  reply[kClient] = client
  reply.headers(HEADERS)
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
  for (const name of Object.keys(HEADERS)) {
    reply.removeHeader(name)
    // Where a header can't be sent, Fastify finds out when it has set some.
    if (!reply.raw.headersSent) reply.raw.removeHeader(name)
  }
  reply.header('content-type', RELEASED)
  hubOf(reply).abandon(client)
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
        hubOf(this).disconnect(client, 'error')
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
