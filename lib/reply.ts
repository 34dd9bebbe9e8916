// `reply.sse()`: checks the request, makes the client, and has its stream sent.
import type { FastifyReply } from 'fastify'
import type { SSEConnectOptions } from '../types/index.js'
import { acceptsEventStream } from './accept.js'
import type { Client } from './client.js'
import { SSE_ERR_ALREADY_SENT, SSE_ERR_NOT_ACCEPTABLE } from './errors.js'
import type { Hub } from './hub.js'
import { checkChannels } from './names.js'
import { EventStream } from './stream.js'
import { hubOf, isTaken, takeOver } from './takeover.js'

/** The decorator. */
export function sse (this: FastifyReply, channels: string | readonly string[] = [], options: SSEConnectOptions = {}): Client {
  const hub = hubOf(this)
  if (isTaken(this)) throw new SSE_ERR_ALREADY_SENT()
  const { request, raw } = this
  if (!acceptsEventStream(request.headers.accept)) throw new SSE_ERR_NOT_ACCEPTABLE()
  admit(hub, this)
  const names = checkChannels(typeof channels === 'string' ? [channels] : channels)
  const client = hub.prepare(names, options, () => lastEventIdOf(request.raw.headers['last-event-id'], request.raw.url!, hub.options.lastEventIdQuery))
  const stream = new EventStream(client, request.raw, raw, this)
  client.attach(stream)
  // Nobody reads what follows a HEAD response's head, nor a connection that went while the handler was busy.
  if (request.method !== 'HEAD' && client.alive) {
    hub.enter(client, names)
  } else {
    client.closed = true
    client.dismiss()
  }
  takeOver(this, client, stream)
  return client
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
