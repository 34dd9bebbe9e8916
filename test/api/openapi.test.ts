// The OpenAPI document of routes with streams, made by @fastify/swagger.
import swagger from '@fastify/swagger'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Type, type TSchema } from '@sinclair/typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import sse, { keyed, sseResponse, SSE_ERR_INVALID_EVENT_NAME, SSE_ERR_INVALID_OPTION, SSE_ERR_UNKNOWN_EVENT, type SSEPluginOptions } from '../../lib/index.js'
import { listen } from '../support/app.js'
import { openStream } from '../support/streams.js'

const VERSIONS = ['3.0.3', '3.1.0']

const events = {
  notification: Type.Object({ type: Type.String(), message: Type.String() }, { description: 'For a user' }),
  price: keyed(Type.Object({ symbol: Type.String(), price: Type.Number() }), 'symbol'),
  progress: Type.Object({ percent: Type.Integer({ minimum: 0, maximum: 100 }) })
}

interface EventSchema {
  readonly title: string
  readonly properties: Record<'event' | 'data' | 'id' | 'retry', Record<string, unknown>>
}

interface Document {
  readonly paths: Record<string, Record<string, { readonly responses: Record<string, { readonly description: string, readonly content: Record<string, { schema: { oneOf: EventSchema[] } }> }> }>>
}

/** An app with @fastify/swagger. It has a hub if options are given. */
async function build (t: Test, options: SSEPluginOptions | null = { events }, openapi = '3.1.0'): Promise<FastifyInstance> {
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: { openapi, info: { title: 'app', version: '1.0.0' } } })
  if (options !== null) await app.register(sse, options)
  return app
}

/** Resolves with the app's document as it is served, after a validator has found no errors in it. */
async function documentOf (t: Test, app: FastifyInstance): Promise<Document> {
  await app.ready()
  const document = JSON.parse(JSON.stringify(app.swagger())) as Document
  const { valid, errors } = await new Validator().validate(document as never)
  t.ok(valid, JSON.stringify(errors))
  return document
}

/** The events in the document for the stream at a path, by name. */
function streamed (document: Document, path = '/events'): Record<string, EventSchema['properties']> {
  const { oneOf } = document.paths[path]!.get!.responses[200]!.content['text/event-stream']!.schema
  return Object.fromEntries(oneOf.map(({ properties }) => [(properties.event.enum as string[])[0], properties]))
}

for (const version of VERSIONS) {
  t.test(`the OpenAPI ${version} document shows a stream with the schemas of its events, and is valid`, async t => {
    const app = await build(t, { events }, version)
    app.get('/events', { schema: sseResponse(['notification', 'price']) }, (_request, reply) => { reply.sse() })
    const document = await documentOf(t, app)
    const { responses } = document.paths['/events']!.get!
    t.same(Object.keys(responses), ['200'])
    t.same(Object.keys(responses[200]!.content), ['text/event-stream'])
    t.match(responses[200]!.description, /server-sent events/)
    const { notification, price, ...own } = streamed(document)
    t.same(notification!.data, {
      type: 'object',
      description: 'For a user',
      required: ['type', 'message'],
      properties: { type: { type: 'string' }, message: { type: 'string' } }
    })
    t.same(price!.data.properties, { symbol: { type: 'string' }, price: { type: 'number' } })
    t.match(notification, { event: { type: 'string', enum: ['notification'] }, id: { type: 'string' }, retry: { type: 'integer' } })
    t.same(Object.keys(own), ['sse:open', 'sse:gap'])
  })

  t.test(`the OpenAPI ${version} document is valid with every kind of schema`, async t => {
    const Names = Type.Module({ Person: Type.Object({ name: Type.Ref('Name') }), Name: Type.String({ examples: ['Ada'] }), Tree: Type.Object({ children: Type.Array(Type.Ref('Tree')) }) })
    const kinds: Record<string, TSchema> = {
      identified: Type.Object({ a: Type.String() }, { $id: 'Identified' }),
      recursive: Type.Recursive(This => Type.Object({ children: Type.Array(This) }), { $id: 'Node' }),
      imported: Names.Import('Person'),
      importedTree: Names.Import('Tree'),
      union: Type.Union([Type.Literal('a'), Type.Literal(1), Type.Null()]),
      tuple: Type.Tuple([Type.String(), Type.Number()]),
      empty: Type.Tuple([]),
      intersection: Type.Intersect([Type.Object({ a: Type.String() }), Type.Object({ b: Type.Date() })], { unevaluatedProperties: false }),
      record: Type.Record(Type.String(), Type.Number()),
      others: Type.Object({ at: Type.Date({ description: 'when' }), bytes: Type.Uint8Array({ title: 'what' }), nothing: Type.Undefined() }),
      bounds: Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1 }),
      examples: Type.Object({ a: Type.String() }, { examples: [{ a: 'b' }], default: { a: 'c' } }),
      anything: Type.Any()
    }
    const app = await build(t, { events: kinds }, version)
    const schema = sseResponse()
    app.get('/events', { schema }, (_request, reply) => { reply.sse() })
    app.get('/again', { schema }, (_request, reply) => { reply.sse() })
    const document = await documentOf(t, app)
    const { identified, recursive, imported, importedTree, tuple, empty, others, bounds, examples } = streamed(document)
    t.match(identified!.data, { title: 'Identified', properties: { a: { type: 'string' } } })
    t.match(recursive!.data, { title: 'Node', properties: { children: { type: 'array', items: { description: 'As Node, which it is a part of' } } } })
    t.match(imported!.data, { title: 'Person', properties: { name: { title: 'Name', type: 'string', example: 'Ada' } } })
    t.match(importedTree!.data, { title: 'Tree', properties: { children: { type: 'array', items: { description: 'As Tree, which it is a part of' } } } })
    t.match(tuple!.data, { type: 'array', minItems: 2, maxItems: 2, items: { anyOf: [{ type: 'string' }, { type: 'number' }] } })
    t.match(empty!.data, { type: 'array', maxItems: 0 })
    t.match(others!.data.properties, { at: { type: 'string', format: 'date-time', description: 'when' }, bytes: { type: 'string', format: 'byte', title: 'what' } })
    t.match(bounds!.data, { minimum: 0, maximum: 1 })
    t.match(examples!.data, { example: { a: 'b' }, default: { a: 'c' } })
    t.same(streamed(document, '/again'), streamed(document))
  })

  t.test(`a stream sends what the OpenAPI ${version} document says`, async t => {
    const app = await build(t, { events, heartbeatEvent: 'beat', heartbeatInterval: 20 }, version)
    app.get('/events', { schema: sseResponse(['notification', 'price']) }, (_request, reply) => { reply.sse() })
    const document = await documentOf(t, app)
    const judge = Fastify({ ajv: { customOptions: { coerceTypes: false } } })
    judge.post('/', { schema: { body: { ...document.paths['/events']!.get!.responses[200]!.content['text/event-stream']!.schema } } }, async () => 'as said')
    const status = async (event: object): Promise<number> => (await judge.inject({ method: 'POST', url: '/', payload: event })).statusCode
    const client = await openStream(t, await listen(app))
    await app.sse.send('notification', { type: 'info', message: 'hi' }, { retry: 10 })
    await app.sse.send('price', { symbol: 'ACME', price: 1 }, { transient: true })
    await client.until(() => client.events.at(-1)?.event === 'beat')
    t.same([...new Set(client.events.map(({ event }) => event))].sort(), ['beat', 'notification', 'price', 'sse:open'])
    for (const { id, event, data } of client.events) t.equal(await status({ id, event, data: JSON.parse(data) }), 200, String(event))
    t.equal(await status({ event: 'sse:gap', data: { lost: 3 } }), 200)
    t.equal(await status({ event: 'sse:gap', data: { lost: null } }), 200)
    t.equal(await status({ event: 'progress', data: { percent: 1 } }), 400)
    t.equal(await status({ event: 'notification', data: { type: 'info' } }), 400)
    t.equal(await status({ event: 'notification' }), 400)
  })
}

t.test('without names, the document shows all events of the hub; a name that is given twice is shown once', async t => {
  const app = await build(t)
  app.get('/events', { schema: sseResponse() }, (_request, reply) => { reply.sse() })
  app.get('/one', { schema: sseResponse(['progress', 'progress']) }, (_request, reply) => { reply.sse() })
  const document = await documentOf(t, app)
  t.same(Object.keys(streamed(document)), ['notification', 'price', 'progress', 'sse:open', 'sse:gap'])
  t.same(Object.keys(streamed(document, '/one')), ['progress', 'sse:open', 'sse:gap'])
})

t.test('a heartbeatEvent that is also a declared event keeps the schema of its data', async t => {
  const heartbeats = async (heartbeatEvent: string): Promise<unknown> => {
    const app = await build(t, { events: { progress: Type.Object({ percent: Type.Number() }) }, heartbeatEvent })
    app.get('/events', { schema: sseResponse(['progress']) }, (_request, reply) => { reply.sse() })
    return streamed(await documentOf(t, app))[heartbeatEvent]!.data
  }
  t.match(await heartbeats('progress'), { properties: { percent: { type: 'number' } } })
  t.match(await heartbeats('beat'), { description: 'A heartbeat' })
})

t.test('with a hub without schemas, or without a hub, the document shows the names and any data', async t => {
  for (const options of [{}, null]) {
    const app = await build(t, options)
    app.get('/events', { schema: sseResponse(['anything']) }, async () => null)
    app.get('/all', { schema: sseResponse() }, async () => null)
    const document = await documentOf(t, app)
    t.same(streamed(document).anything!.data, {})
    t.match(document.paths['/all']!.get!.responses[200]!.content['text/event-stream'], { schema: { properties: { event: { type: 'string' } } } })
  }
})

t.test('ready() rejects a name without a schema, with an error that has the name and its route', async t => {
  const app = await build(t)
  app.get('/events', { schema: sseResponse(['notification', 'notificatoin']) }, (_request, reply) => { reply.sse() })
  await t.rejects(Promise.resolve(app.ready()), {
    code: 'SSE_ERR_UNKNOWN_EVENT',
    message: 'The schema of GET /events names the event "notificatoin", which has no schema in the "events" option; there are notification, price, progress'
  })
  const other = await build(t)
  other.get('/events', { schema: sseResponse(['toString']) }, (_request, reply) => { reply.sse() })
  await t.rejects(Promise.resolve(other.ready()), SSE_ERR_UNKNOWN_EVENT)
})

t.test('a value that is not a list of event names is refused', async t => {
  t.throws(() => sseResponse('notification' as never), SSE_ERR_INVALID_OPTION)
  t.throws(() => sseResponse([1] as never), SSE_ERR_INVALID_EVENT_NAME)
  t.throws(() => sseResponse(['sse:open']), SSE_ERR_INVALID_EVENT_NAME)
})

t.test('sseResponse is a property of the plugin, for require()', async t => {
  t.equal(sse.sseResponse, sseResponse)
})

t.test('the schemas are those of the nearest hub, whether the route or the hub was registered first', async t => {
  const app = await build(t)
  const schema = sseResponse(['notification'])
  app.get('/events', { schema }, (_request, reply) => { reply.sse() })
  await app.register(async child => {
    // It is not awaited, so the route is added before the hub.
    child.register(sse, { events: { notification: Type.String(), local: Type.Null() } })
    child.get('/child', { schema }, (_request, reply) => { reply.sse() })
    child.get('/local', { schema: sseResponse(['local']) }, (_request, reply) => { reply.sse() })
    await child.register(async grandchild => {
      grandchild.get('/', { schema }, (_request, reply) => { reply.sse() })
    }, { prefix: '/grandchild' })
  })
  const document = await documentOf(t, app)
  t.equal(streamed(document).notification!.data.type, 'object')
  t.equal(streamed(document, '/child').notification!.data.type, 'string')
  t.equal(streamed(document, '/grandchild/').notification!.data.type, 'string')
  t.equal(streamed(document, '/local').local!.data.type, 'null')
  t.same(streamed(document, '/local').notification, undefined)
})

t.test('a document that shows HEAD routes is valid, too', async t => {
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'app', version: '1.0.0' } }, exposeHeadRoutes: true })
  await app.register(sse, { events })
  app.get('/events', { schema: { operationId: 'events', ...sseResponse(['progress']) } }, (_request, reply) => { reply.sse() })
  const { paths } = await documentOf(t, app)
  t.same(Object.keys(paths['/events']!), ['get', 'head'])
})

t.test('the rest of a route\'s schema works as usual: its query is checked, and its other answers are serialised and documented', async t => {
  const app = await build(t)
  const json = { 'application/json': { schema: Type.Object({ open: Type.Number() }) } }
  const { 200: stream } = sseResponse(['progress']).response
  const schema = {
    summary: 'Progress',
    querystring: Type.Object({ job: Type.Integer() }),
    response: {
      200: { ...stream, description: 'Progress, or how many look at it', content: { ...stream.content, ...json } },
      403: Type.Object({ reason: Type.String() }),
      '4xx': Type.Object({ code: Type.String() })
    }
  }
  app.get<{ Querystring: { job: number } }>('/events', { schema }, async ({ query }, reply) => {
    if (query.job === 0) return await reply.code(403).send({ reason: 'not yours', secret: 1 })
    if (query.job === 1) return await reply.type('application/json').send({ open: 1, secret: 1 })
    t.equal(query.job, 2)
    reply.sse()
  })
  const port = await listen(app)
  const get = async (job: string, accept = '*/*'): Promise<string> => (await app.inject({ url: `/events?job=${job}`, headers: { accept } })).body
  t.equal(await get('0'), '{"reason":"not yours"}')
  t.equal(await get('1'), '{"open":1}')
  t.equal(await get('x'), '{"code":"FST_ERR_VALIDATION"}')
  t.equal(await get('2', 'text/html'), '{"code":"SSE_ERR_NOT_ACCEPTABLE"}')
  const client = await openStream(t, port, { path: '/events?job=2' })
  await app.sse.send('progress', { percent: 50 })
  t.match((await client.untilEvents(2))[1], { event: 'progress', data: '{"percent":50}' })
  const document = await documentOf(t, app)
  const { summary, parameters, responses } = document.paths['/events']!.get! as never as Record<string, object>
  t.match({ summary, parameters }, { summary: 'Progress', parameters: [{ in: 'query', name: 'job' }] })
  t.match(responses, {
    200: { description: 'Progress, or how many look at it', content: { 'application/json': { schema: { properties: { open: {} } } } } },
    403: { content: { 'application/json': {} } },
    '4XX': { content: { 'application/json': {} } }
  })
  t.same(Object.keys(streamed(document)), ['progress', 'sse:open', 'sse:gap'])
})

t.test('Fastify makes no serialiser for a stream', async t => {
  const app = await build(t)
  const compiled: string[] = []
  app.setSerializerCompiler(({ httpStatus }) => {
    compiled.push(httpStatus!)
    return data => JSON.stringify(data)
  })
  app.get('/events', { schema: { response: { ...sseResponse(['progress']).response, 403: Type.Object({}) } } }, (_request, reply) => { reply.sse() })
  await openStream(t, await listen(app))
  // One is for GET and one for HEAD.
  t.same(compiled, ['403', '403'])
})

t.test('one schema can be used in two apps', async t => {
  const schema = { querystring: Type.Object({ job: Type.Integer() }), ...sseResponse(['progress']) }
  for (const events of [{ progress: Type.Number() }, { progress: Type.String() }]) {
    const app = await build(t, { events })
    app.get('/events', { schema }, (_request, reply) => { reply.sse() })
    t.equal(streamed(await documentOf(t, app)).progress!.data.type, events.progress.type)
  }
})
