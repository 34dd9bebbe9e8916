// `reply.sse()`: checks the request, makes the client, and has its stream sent.
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { SSEConnectOptions } from '../../types/index.js'
import { acceptsEventStream, acceptsGzip } from './accept.js'
import type { Admission } from '../hub/admission.js'
import type { Client } from '../client/client.js'
import { SSE_ERR_ALREADY_SENT, SSE_ERR_INVALID_OPTION, SSE_ERR_NOT_ACCEPTABLE } from '../errors.js'
import type { HubCore } from '../hub/core.js'
import { checkChannels } from '../names.js'
import { EventStream } from '../transport/event-stream.js'
import { hubOf, isTaken, takeOver } from './takeover.js'

/** The decorator. */
export function sse (this: FastifyReply, channels: string | readonly string[] = [], options: SSEConnectOptions = {}): Client {
  const hub = hubOf(this)
  if (isTaken(this)) throw new SSE_ERR_ALREADY_SENT()
  const { request, raw } = this
  if (!acceptsEventStream(request.headers.accept)) throw new SSE_ERR_NOT_ACCEPTABLE()
  const key = admissionKey(hub, request)
  admit(hub.admission, this, key)
  const names = checkChannels(typeof channels === 'string' ? [channels] : channels)
  const client = hub.connections.open(names, options, {
    lastEventId: () => lastEventIdOf(request.raw.headers['last-event-id'], request.raw.url!, hub.options.lastEventIdQuery),
    // Where the application says in which encoding it answers, that is its own to make.
    admitsGzip: () => !this.hasHeader('content-encoding') && acceptsGzip(request.raw.headers['accept-encoding'] as string | undefined)
  })
  const stream = new EventStream(client, request.raw, raw, this)
  client.attach(stream)
  if (request.method !== 'HEAD' && client.alive) hub.connections.enter(client, names, key)
  else hub.connections.dismiss(client)
  takeOver(this, client, stream)
  return client
}

/** What the request's client counts for, where that is limited. */
function admissionKey ({ options }: HubCore, request: FastifyRequest): string | undefined {
  if (options.maxClientsPerKey === Infinity) return undefined
  const key: unknown = options.key(request)
  if (key === undefined || typeof key === 'string') return key
  // Of an async function's promise nobody would see the rejection, which ends the process.
  if (key instanceof Promise) key.catch(() => {})
  throw new SSE_ERR_INVALID_OPTION(`Option "key" of fastify-sse-hub is invalid: it must return a string or undefined, and it returned ${key === null ? 'null' : `a value of type ${typeof key}`}`)
}

function admit (admission: Admission, reply: FastifyReply, key: string | undefined): void {
  try {
    admission.check(key)
  } catch (error) {
    reply.header('retry-after', admission.retryAfter)
    reply.log = admission.silentLog
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
