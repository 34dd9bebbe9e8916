// Describes a route's stream in its schema, for OpenAPI documents: the events and the schemas of their data. It must not
// know how events are sent.
import { Kind, KindGuard, type TSchema } from '@sinclair/typebox'
import type { FastifyInstance, RouteOptions } from 'fastify'
import type { SSEEventName, SSEResponseSchema } from '../../types/index.js'
import { EVENT_STREAM } from './accept.js'
import { SSE_ERR_INVALID_OPTION, SSE_ERR_UNKNOWN_EVENT } from '../errors.js'
import { coreOf } from '../hub/hub.js'
import { checkEventName } from '../names.js'
import type { HubOptions } from '../options.js'

/** The property in which a schema keeps its event names; `null` stands for all events of the hub. */
const NAMES = Symbol('fastify-sse-hub.events')

type JSONSchema = Record<string, unknown>
type Names = readonly string[] | null
type Described = Pick<HubOptions, 'events' | 'heartbeatEvent'>

const DESCRIPTION = 'A stream of server-sent events (WHATWG HTML 9.2). The schema is that of one event. On the wire it is the ' +
  'lines `event:`, `data:` with the data as JSON, and `id:` and `retry:` where it has them, and an empty line at its end. ' +
  'Lines that begin with a colon are heartbeats.'

/**
 * A route's `schema` for OpenAPI documents: it says which events the route streams. The schemas of their data are the
 * `events` option of the hub nearest to the route. They are looked up when the app is ready: `app.ready()` rejects with
 * {@link SSE_ERR_UNKNOWN_EVENT} if the hub does not have one of the names. Nothing is validated or serialised with it.
 * ```ts
 * app.get('/events', { schema: sseResponse(['notification']) }, (request, reply) => { reply.sse() })
 * ```
 * With other answers: `schema: { response: { ...sseResponse(['notification']).response, 401: Problem } }`.
 * @param names the names of the events; default: all events of the hub
 * @throws {@link SSE_ERR_INVALID_OPTION} where `names` is not an array, {@link SSE_ERR_INVALID_EVENT_NAME}
 * @category Schemas
 */
export function sseResponse (names?: readonly SSEEventName[]): SSEResponseSchema {
  if (names !== undefined && !Array.isArray(names)) throw new SSE_ERR_INVALID_OPTION('sseResponse() takes an array of event names')
  names?.forEach(checkEventName)
  const streamed = names === undefined ? null : [...names]
  // A route that has no hub keeps this schema.
  const schema = { ...streamSchema(streamed, { events: undefined, heartbeatEvent: null }), [NAMES]: streamed }
  return { response: { 200: { description: DESCRIPTION, content: { [EVENT_STREAM]: { schema } } } } } as unknown as SSEResponseSchema
}

interface Answer {
  readonly content: Record<string, { schema?: { [NAMES]?: Names } }>
}

/**
 * Describes the streams of all routes when the app is ready. Until then the routes' schemas don't have them, so that
 * Fastify compiles no serializer for them: a stream needs none, and some compilers refuse schemas of another library.
 */
export function describeStreams (fastify: FastifyInstance): void {
  const fills: Array<() => void> = []
  fastify.addHook('onRoute', function (route) {
    const given = route.schema?.response as Record<string, unknown> | undefined
    const streams = Object.entries(given ?? {}).filter((entry): entry is [string, Answer] => namesOf(entry[1]) !== undefined)
    if (streams.length === 0) return
    // A copy: two routes may share one schema object and have different hubs.
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
  // A context may register its own hub after its routes. Only now the nearest hub is known.
  fastify.addHook('onReady', async () => fills.forEach(fill => fill()))
}

/** The event names of an answer that `sseResponse()` made; `undefined` for other answers. */
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
  // OpenAPI 3.0 has no `const`, so it is an `enum` of one.
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

/** How TypeBox's types that JSON lacks look on the wire: a `Date` is sent as a string, for example. */
const SENT_AS: Record<string, JSONSchema> = {
  Date: { type: 'string', format: 'date-time' },
  Uint8Array: { type: 'string', format: 'byte' },
  RegExp: { type: 'string' },
  Undefined: { type: 'null' },
  Void: { type: 'null' }
}

/**
 * A schema that is valid in every version of OpenAPI and at every place of a document. It has no symbols and no types
 * that JSON lacks. References are replaced by what they refer to, because `@fastify/swagger` does not resolve them in a
 * response's `content`. A reference to a schema that contains it is left open: the `children` of a `Tree` get a
 * description that names `Tree`, and no schema. Bounds that the versions write differently are widened:
 * `exclusiveMinimum: 0` becomes `minimum: 0`.
 * @param known the schemas that a reference may name, by their ids, without those that contain this one
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
    // OpenAPI 3.1 can say which item stands at which place. OpenAPI 3.0 can't.
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

/** A keyword's value: schemas, schemas by name, or a plain value. */
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
