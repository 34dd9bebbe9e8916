// What a route's schema says of its stream, for OpenAPI documents: which events, and the schemas of their data. It must not
// know how events are sent.
import { Kind, KindGuard, type TSchema } from '@sinclair/typebox'
import type { FastifyInstance, RouteOptions } from 'fastify'
import type { SSEEventName, SSEResponseSchema } from '../../types/index.js'
import { EVENT_STREAM } from './accept.js'
import { SSE_ERR_INVALID_OPTION, SSE_ERR_UNKNOWN_EVENT } from '../errors.js'
import { coreOf } from '../hub/hub.js'
import { checkEventName } from '../names.js'
import type { HubOptions } from '../options.js'

/** Where a schema keeps the names it was made for; `null` for all that the hub has. */
const NAMES = Symbol('fastify-sse-hub.events')

type JSONSchema = Record<string, unknown>
type Names = readonly string[] | null
type Described = Pick<HubOptions, 'events' | 'heartbeatEvent'>

const DESCRIPTION = 'A stream of server-sent events (WHATWG HTML 9.2). The schema is that of one event. On the wire it is the ' +
  'lines `event:`, `data:` with the data as JSON, and `id:` and `retry:` where it has them, and an empty line at its end. ' +
  'Lines that begin with a colon are heartbeats.'

/**
 * A route's `schema` that says which events it streams, for OpenAPI documents. The data's schemas are the `events` of the hub
 * nearest to the route, and are looked up when the app is ready: a name that the hub has not rejects with
 * {@link SSE_ERR_UNKNOWN_EVENT} there. Nothing is validated or serialised by it.
 * ```ts
 * app.get('/events', { schema: sseResponse(['notification']) }, (request, reply) => { reply.sse() })
 * ```
 * Beside other answers: `schema: { response: { ...sseResponse(['notification']).response, 401: Problem } }`.
 * @param names of the events; default: all that the hub has
 * @throws {@link SSE_ERR_INVALID_OPTION} where `names` is no array, {@link SSE_ERR_INVALID_EVENT_NAME}
 * @category Schemas
 */
export function sseResponse (names?: readonly SSEEventName[]): SSEResponseSchema {
  if (names !== undefined && !Array.isArray(names)) throw new SSE_ERR_INVALID_OPTION('sseResponse() takes an array of event names')
  names?.forEach(checkEventName)
  const streamed = names === undefined ? null : [...names]
  // Where no hub sees the route, this is all that can be said.
  const schema = { ...streamSchema(streamed, { events: undefined, heartbeatEvent: null }), [NAMES]: streamed }
  return { response: { 200: { description: DESCRIPTION, content: { [EVENT_STREAM]: { schema } } } } } as unknown as SSEResponseSchema
}

interface Answer {
  readonly content: Record<string, { schema?: { [NAMES]?: Names } }>
}

/**
 * Has the streams of all routes described when the app is ready. Until then they are no part of the routes' schemas, so that
 * Fastify compiles no serialiser for them: some compilers take schemas of one kind only, and a stream has no use for any.
 */
export function describeStreams (fastify: FastifyInstance): void {
  const fills: Array<() => void> = []
  fastify.addHook('onRoute', function (route) {
    const given = route.schema?.response as Record<string, unknown> | undefined
    const streams = Object.entries(given ?? {}).filter((entry): entry is [string, Answer] => namesOf(entry[1]) !== undefined)
    if (streams.length === 0) return
    // The route's own: the schema it was given may be another's as well, with another hub.
    const response = { ...given }
    for (const [status, answer] of streams) {
      const { [EVENT_STREAM]: media, ...others } = answer.content
      if (Object.keys(others).length === 0) delete response[status]
      else response[status] = { ...answer, content: others }
      fills.push(() => {
        const { options } = coreOf(this.sse)
        checkKnown(namesOf(answer)!, options, route)
        const schema = streamSchema(namesOf(answer)!, options)
        response[status] = { ...answer, content: { ...answer.content, [EVENT_STREAM]: { ...media, schema } } }
      })
    }
    route.schema = { ...route.schema, response }
  })
  // Only now is it sure which hub is the nearest one.
  fastify.addHook('onReady', async () => fills.forEach(fill => fill()))
}

/** The names that an answer was made for; `undefined` where it is not one of `sseResponse()`. */
function namesOf (answer: unknown): Names | undefined {
  return (answer as Answer | null | undefined)?.content?.[EVENT_STREAM]?.schema?.[NAMES]
}

function checkKnown (names: Names, { events }: Described, { method, url }: RouteOptions): void {
  if (events === undefined) return
  const unknown = names?.find(name => !Object.hasOwn(events, name))
  if (unknown === undefined) return
  throw new SSE_ERR_UNKNOWN_EVENT(`The schema of ${[method].flat().join(', ')} ${url} names the event "${unknown}", which has no schema in the "events" option; there are ${Object.keys(events).join(', ')}`)
}

/** The schema of one event of a stream. */
function streamSchema (names: Names, { events, heartbeatEvent }: Described): JSONSchema {
  const streamed = names ?? (events === undefined ? null : Object.keys(events))
  if (streamed === null) return { title: 'Event', ...eventSchema({ type: 'string' }, {}) }
  const schemas = new Map<string, JSONSchema>()
  for (const name of streamed) schemas.set(name, events === undefined ? {} : dataSchema(events[name]!))
  if (heartbeatEvent !== null && !schemas.has(heartbeatEvent)) schemas.set(heartbeatEvent, { type: 'object', description: 'A heartbeat' })
  for (const [name, schema] of OWN) schemas.set(name, schema)
  // An `enum` of one, since OpenAPI 3.0 has no `const`.
  return { oneOf: [...schemas].map(([name, schema]) => ({ title: name, ...eventSchema({ type: 'string', enum: [name] }, schema) })) }
}

/** The hub's own events. */
const OWN: ReadonlyArray<readonly [string, JSONSchema]> = [
  ['sse:open', {
    type: 'object',
    description: 'The beginning of the stream',
    required: ['clientId', 'recovered'],
    properties: {
      clientId: { type: 'string' },
      recovered: { type: 'boolean', description: 'Whether nothing since `Last-Event-ID` is missing' }
    }
  }],
  ['sse:gap', {
    type: 'object',
    description: 'Events were lost for this client',
    required: ['lost'],
    properties: { lost: { type: ['integer', 'null'], description: 'How many; null where nobody knows' } }
  }]
]

function eventSchema (event: JSONSchema, data: JSONSchema): JSONSchema {
  return {
    type: 'object',
    required: ['event', 'data'],
    properties: {
      event,
      data,
      id: { type: 'string', description: 'A place to resume from, for `Last-Event-ID`; the event is kept' },
      retry: { type: 'integer', minimum: 0, description: 'How long to wait before reconnecting, in milliseconds' }
    }
  }
}

/** What TypeBox takes of types that JSON lacks is sent as. */
const SENT_AS: Record<string, JSONSchema> = {
  Date: { type: 'string', format: 'date-time' },
  Uint8Array: { type: 'string', format: 'byte' },
  RegExp: { type: 'string' },
  Undefined: { type: 'null' },
  Void: { type: 'null' }
}

/**
 * A schema as any version of OpenAPI takes it, wherever in a document it stands: without symbols, types that JSON lacks and
 * references, which `@fastify/swagger` finds in no response's `content`. What refers to what it is a part of is left open, and
 * bounds that the versions say in different ways are widened.
 * @param known the schemas that may be referred to and are not entered, by their ids
 */
function dataSchema (schema: TSchema, known: Known = new Map()): JSONSchema {
  const { $id, $ref, $defs, examples, exclusiveMinimum, exclusiveMaximum, unevaluatedProperties, ...rest } = schema
  if (KindGuard.IsImport(schema)) return dataSchema(schema.$defs[schema.$ref as never], new Map([...known, ...Object.entries<TSchema>(schema.$defs)]))
  if (KindGuard.IsRef(schema) || KindGuard.IsThis(schema)) {
    const target = known.get(schema.$ref)
    return target === undefined ? { description: `As ${schema.$ref}, which it is a part of` } : dataSchema(target, without(known, schema.$ref))
  }
  const { title = $id, description } = schema
  const sentAs = SENT_AS[schema[Kind]]
  if (sentAs !== undefined) return { ...title !== undefined && { title }, ...description !== undefined && { description }, ...sentAs }
  if (KindGuard.IsTuple(schema)) {
    // Its items' places are said in one way in OpenAPI 3.1, and in 3.0 in none.
    const { additionalItems, items = [], ...array } = rest as { items?: TSchema[], additionalItems?: boolean }
    return { ...array, items: items.length === 0 ? {} : { anyOf: items.map(item => dataSchema(item, known)) } }
  }
  return {
    ...title !== undefined && { title },
    ...mapped(rest, value => part(value, $id === undefined ? known : without(known, $id))),
    ...exclusiveMinimum !== undefined && { minimum: exclusiveMinimum },
    ...exclusiveMaximum !== undefined && { maximum: exclusiveMaximum },
    ...Array.isArray(examples) && { example: examples[0] }
  }
}

type Known = ReadonlyMap<string, TSchema>

/** What a keyword holds: schemas, schemas by name, or a value. */
function part (value: unknown, known: Known): unknown {
  if (Array.isArray(value)) return value.map(item => part(item, known))
  if (typeof value !== 'object' || value === null) return value
  return KindGuard.IsKind(value) ? dataSchema(value as unknown as TSchema, known) : mapped(value, field => part(field, known))
}

function mapped (fields: object, map: (value: unknown) => unknown): JSONSchema {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, map(value)]))
}

function without (known: Known, id: string): Known {
  return new Map([...known].filter(([other]) => other !== id))
}
