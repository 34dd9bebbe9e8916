// `reply.sse()`: checks the request, makes the client and its stream, and gives both to the hub and the reply. It must
// not know what a stream is given to send.
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { SSEConnectOptions } from '../../types/index.js'
import { acceptsEventStream, acceptsGzip } from './accept.js'
import type { Admission } from '../hub/admission.js'
import type { Client } from '../client/client.js'
import { SSE_ERR_ALREADY_SENT, SSE_ERR_INVALID_OPTION, SSE_ERR_NOT_ACCEPTABLE } from '../errors.js'
import type { HubCore } from '../hub/core.js'
import { checkChannels } from '../names.js'
import { EventStream } from '../transport/event-stream.js'
import { prepareRefusal } from './refusal.js'
import { hubOf, isTaken, takeOver } from './takeover.js'

/** The decorator. */
export function sse (this: FastifyReply, channels: string | readonly string[] = [], options: SSEConnectOptions = {}): Client {
  const hub = hubOf(this)
  if (isTaken(this)) throw new SSE_ERR_ALREADY_SENT()
  const { request, raw } = this
  // The limits come first: to parse headers costs more.
  const key = admissionKey(hub, request)
  admit(hub.admission, this, key)
  if (!acceptsEventStream(request.headers.accept)) throw new SSE_ERR_NOT_ACCEPTABLE()
  const names = checkChannels(typeof channels === 'string' ? [channels] : channels)
  let varies = false
  const client = hub.connections.open(names, options, {
    lastEventId: () => lastEventIdOf(request.raw.headers['last-event-id'], request.raw.url!, hub.options.lastEventIdQuery),
    // A handler that sets `content-encoding` encodes the stream itself.
    admitsGzip: () => {
      if (this.hasHeader('content-encoding')) return false
      varies = true
      return acceptsGzip(request.raw.headers['accept-encoding'] as string | undefined)
    }
  })
  const stream = new EventStream(client, request.raw, raw, this)
  client.attach(stream)
  // A HEAD response has no body. And the connection may have closed while the handler awaited something.
  if (request.method !== 'HEAD' && client.alive) hub.connections.enter(client, names, key)
  else hub.connections.dismiss(client)
  if (varies) this.header('vary', varied(this.getHeader('vary')))
  takeOver(this, client, stream)
  return client
}

/** The key by which `maxClientsPerKey` counts the client; `undefined` where it is not counted. */
function admissionKey ({ options }: HubCore, request: FastifyRequest): string | undefined {
  if (options.maxClientsPerKey === Infinity) return undefined
  const key: unknown = options.key(request)
  if (key === undefined || typeof key === 'string') return key
  // An async function is refused below. The rejection of its promise must not end the process.
  if (key instanceof Promise) key.catch(() => {})
  throw new SSE_ERR_INVALID_OPTION(`Option "key" of fastify-sse-hub is invalid: it must return a string or undefined, and it returned ${key === null ? 'null' : `a value of type ${typeof key}`}`)
}

function admit (admission: Admission, reply: FastifyReply, key: string | undefined): void {
  try {
    admission.check(key)
  } catch (error) {
    prepareRefusal(reply, error, admission.retryAfter)
    throw error
  }
}

/** The `vary` header with `accept-encoding` in it (RFC 9110 12.5.5). */
function varied (vary: string | number | readonly string[] | undefined): string {
  const names = String(vary ?? '')
  if (names === '') return 'accept-encoding'
  return /(?:^|,)\s*(?:\*|accept-encoding)\s*(?:,|$)/i.test(names) ? names : `${names}, accept-encoding`
}

/** The id of the last event that the client has: from the header, else from the query parameter that polyfills send. */
function lastEventIdOf (header: string | string[] | undefined, url: string, parameter: string | null): string | null {
  if (header !== undefined && header !== '') return String(header)
  if (parameter === null) return null
  const query = url.indexOf('?')
  // A route's schema may remove it from `request.query`, so it is read from the URL.
  // Clients append it to their URL. So where it is there twice, the last one is the newer one.
  return query === -1 ? null : new URLSearchParams(url.slice(query)).getAll(parameter).at(-1) || null
}
