// Declared events: data is checked by its schema, and only declared fields are sent.
import { Type, type TSchema } from '@sinclair/typebox'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import sse, { SSE_ERR_INVALID_DATA, SSE_ERR_INVALID_OPTION, SSE_ERR_UNKNOWN_EVENT, type SSEPluginOptions } from '../../lib/index.js'
import { buildApp } from '../support/app.js'
import { opener } from '../support/open.js'

const User = Type.Object({ name: Type.String(), age: Type.Optional(Type.Integer()) })

/** Publishes each value with a schema, and resolves with the data that arrives. */
async function declaredOf (t: Test, schema: TSchema, data: readonly unknown[]): Promise<unknown[]> {
  const app = await buildApp(t, { events: { x: schema } })
  const open = await opener(t, app)
  const { raw } = await open([], { greeting: false })
  for (const one of data) await app.sse.send('x', one)
  return (await raw.untilEvents(data.length)).map(({ data }) => JSON.parse(data))
}

t.test('data that fits its schema is sent', async t => {
  t.strictSame(await declaredOf(t, User, [{ name: 'a' }, { name: 'b', age: 1 }]), [{ name: 'a' }, { name: 'b', age: 1 }])
})

t.test('data that does not fit is refused with an error that has the event and the path, and nothing is sent', async t => {
  const app = await buildApp(t, { events: { user: User, users: Type.Array(User), text: Type.String(), nothing: Type.Null(), end: Type.Any() } })
  const open = await opener(t, app)
  const { raw, client } = await open('room', { id: 'alice', greeting: false })
  const bad: Array<[event: string, data: unknown, path: string]> = [
    ['user', {}, '/name'],
    ['user', { name: 1 }, '/name'],
    ['user', { name: 'a', age: 1.5 }, '/age'],
    ['user', null, '/'],
    ['user', undefined, '/'],
    ['user', 'a', '/'],
    ['user', [], '/'],
    ['users', [{ name: 'a' }, { name: 2 }], '/1/name'],
    ['users', {}, '/'],
    ['text', 1, '/'],
    ['nothing', undefined, '/']
  ]
  for (const [event, data, path] of bad) {
    for (const [what, call] of [
      ['send', () => app.sse.send(event, data)],
      ['toChannel', () => app.sse.toChannel('room', event, data)],
      ['toChannels', () => app.sse.toChannels(['room'], event, data)],
      ['toClient', () => app.sse.toClient('alice', event, data)],
      ['client.send', () => client.send(event, data)],
      ['client.stream', () => client.stream([data], { event })]
    ] as const) {
      const error = await call().then(() => null, error => error)
      t.ok(error instanceof SSE_ERR_INVALID_DATA, `${what} ${event} ${JSON.stringify(data)}: ${error}`)
      t.ok(error?.message.includes(`"${event}"`) && error.message.includes(`"${path}"`), error?.message)
    }
  }
  t.equal(app.sse.stats().published, 0)
  await app.sse.send('end', 1)
  t.strictSame((await raw.untilEvents(1)).map(({ event }) => event), ['end'])
})

t.test('a field that the schema does not declare never leaves the server', async t => {
  const secret = 'hidden'
  const user = { name: 'a', secret }
  const clean = { name: 'a' }
  const cases: Array<[what: string, schema: TSchema, data: unknown, expected: unknown]> = [
    ['at the top', User, { name: 'a', age: 1, secret }, { name: 'a', age: 1 }],
    ['no field at all', Type.Object({}), user, {}],
    ['nested', Type.Object({ a: Type.Object({ user: User }) }), { a: { user, secret }, secret }, { a: { user: clean } }],
    ['in an array', Type.Array(User), [user, user], [clean, clean]],
    ['in a tuple', Type.Tuple([User, Type.Number()]), [user, 1], [clean, 1]],
    ['in a record', Type.Record(Type.String(), User), { x: user, y: user }, { x: clean, y: clean }],
    ['in a union', Type.Union([Type.Object({ a: Type.Number() }), User]), user, clean],
    ['in a union of one and null', Type.Object({ user: Type.Union([User, Type.Null()]) }), { user }, { user: clean }],
    ['in an intersection', Type.Intersect([User, Type.Object({ id: Type.Number() })]), { ...user, id: 1 }, { name: 'a', id: 1 }],
    ['in an optional field', Type.Object({ user: Type.Optional(User) }), { user }, { user: clean }],
    ['where an optional field is missing', Type.Object({ user: Type.Optional(User) }), { secret }, {}],
    ['in a recursive type', Type.Recursive(Node => Type.Object({ id: Type.Number(), nodes: Type.Array(Node) })),
      { id: 1, secret, nodes: [{ id: 2, secret, nodes: [] }] }, { id: 1, nodes: [{ id: 2, nodes: [] }] }],
    ['by a module', Type.Module({ User, Group: Type.Object({ users: Type.Array(Type.Ref('User')) }) }).Import('Group'), { users: [user], secret }, { users: [clean] }],
    ['of a part', Type.Pick(Type.Object({ name: Type.String(), secret: Type.String() }), ['name']), user, clean],
    ['with the name of a member of every object', User, { name: 'a', constructor: secret, toString: secret, valueOf: secret, hasOwnProperty: secret }, clean],
    ['of a toJSON', User, { name: 'a', toJSON: 'hidden' }, clean]
  ]
  for (const [what, schema, data, expected] of cases) {
    const before = structuredClone(data)
    t.strictSame(await declaredOf(t, schema, [data]), [expected], what)
    t.strictSame(data, before, 'the caller\'s object is not changed')
  }
})

t.test('a field that the schema does not declare may have any value, because it is not checked', async t => {
  const circle: Record<string, unknown> = { name: 'a' }
  circle.self = circle
  const data = [circle, { name: 'a', save () {} }, { name: 'a', n: 1n, s: Symbol('x') }, { name: 'a', parts: new DataView(new ArrayBuffer(1)) }]
  t.strictSame(await declaredOf(t, User, data), data.map(() => ({ name: 'a' })))
})

t.test('every field that some part of a union or an intersection declares is sent', async t => {
  const Less = Type.Object({ type: Type.String() })
  const More = Type.Object({ type: Type.String(), detail: Type.String() })
  t.strictSame(await declaredOf(t, Type.Union([Less, More]), [{ type: 'a', detail: 'b' }]), [{ type: 'a', detail: 'b' }])
  const Nested = Type.Intersect([Type.Object({ in: Type.Object({ a: Type.Number() }) }), Type.Object({ in: Type.Object({ b: Type.Number() }) })])
  t.strictSame(await declaredOf(t, Nested, [{ in: { a: 1, b: 2, c: 3 } }]), [{ in: { a: 1, b: 2 } }])
})

t.test('a field that every object inherits is one that the data has as any other', async t => {
  const data = JSON.parse('{"name":"a","__proto__":{"secret":1},"toString":"own"}') as unknown
  t.strictSame(await declaredOf(t, User, [data]), [{ name: 'a' }])
  const [open] = await declaredOf(t, Type.Object({}, { additionalProperties: Type.String() }), [JSON.parse('{"toString":"own"}')])
  t.equal(Object.hasOwn(open as object, 'toString'), true)
  t.equal((open as { toString: unknown }).toString, 'own')
})

t.test('data that is frozen at any depth can be sent where an open and a closed part declare it, and sending changes no data', async t => {
  const schema = Type.Intersect([
    Type.Object({ a: Type.Any() }),
    Type.Object({ a: Type.Object({ b: Type.Number() }) })
  ])
  const data = Object.freeze({ a: Object.freeze({ b: 1, c: Object.freeze([1]) }) })
  t.strictSame(await declaredOf(t, schema, [data]), [{ a: { b: 1, c: [1] } }])
  const changeable = { a: { b: 1, c: [1] } }
  await declaredOf(t, schema, [changeable])
  t.strictSame(changeable, { a: { b: 1, c: [1] } })
})

t.test('if several parts of an intersection declare the same items, the fields of all parts are sent', async t => {
  const A = Type.Object({ a: Type.Number() })
  const B = Type.Object({ b: Type.Number() })
  const both = { a: 1, b: 2, secret: 3 }
  t.strictSame(await declaredOf(t, Type.Object({
    list: Type.Intersect([Type.Array(A), Type.Array(B)]),
    pair: Type.Intersect([Type.Tuple([A, Type.Any()]), Type.Tuple([B, A])]),
    loose: Type.Array(Type.Any()),
    free: Type.Intersect([A, Type.Object({})], { unevaluatedProperties: B })
  }), [{ list: [both, both], pair: [both, both], loose: [both], free: { a: 1, more: both } }]), [
    { list: [{ a: 1, b: 2 }, { a: 1, b: 2 }], pair: [{ a: 1, b: 2 }, both], loose: [both], free: { a: 1, more: { b: 2 } } }
  ])
})

t.test('an array of a schema that accepts any value is sent as a whole', async t => {
  t.strictSame(await declaredOf(t, Type.Union([Type.Unknown(), Type.Null()]), [[1, { a: 1 }]]), [[1, { a: 1 }]])
  t.strictSame(await declaredOf(t, Type.Any(), [[1, { a: 1 }]]), [[1, { a: 1 }]])
})

t.test('a field of a schema that accepts any value is sent as JSON', async t => {
  const data = { any: { date: new Date(0), bytes: Uint8Array.of(1), view: new DataView(Uint8Array.of(1).buffer), deep: [{ any: 1 }] } }
  t.strictSame(await declaredOf(t, Type.Object({ any: Type.Any() }), [data]), [
    { any: { date: '1970-01-01T00:00:00.000Z', bytes: 'AQ==', view: 'AQ==', deep: [{ any: 1 }] } }
  ])
})

t.test('declared additional properties are sent as their schema says', async t => {
  const schema = Type.Object({ name: Type.String() }, { additionalProperties: Type.Object({ n: Type.Number() }) })
  t.strictSame(await declaredOf(t, schema, [{ name: 'a', more: { n: 1, secret: 1 } }]), [{ name: 'a', more: { n: 1 } }])
})

t.test('a schema that forbids other fields refuses them', async t => {
  const app = await buildApp(t, { events: { x: Type.Object({ a: Type.Number() }, { additionalProperties: false }) } })
  await t.rejects(app.sse.send('x', { a: 1, b: 2 }), { code: 'SSE_ERR_INVALID_DATA', message: /"\/b"/ })
})

t.test('binary data and dates can be declared', async t => {
  const schema = Type.Object({ bytes: Type.Uint8Array(), at: Type.Date() })
  t.strictSame(await declaredOf(t, schema, [{ bytes: Buffer.from('ab'), at: new Date(0) }, { bytes: new Uint8Array(0), at: new Date(1) }]), [
    { bytes: 'YWI=', at: '1970-01-01T00:00:00.000Z' },
    { bytes: '', at: '1970-01-01T00:00:00.001Z' }
  ])
})

t.test('data that fits the schema but can\'t be serialised is refused', async t => {
  const circle: Record<string, unknown> = { nodes: [] }
  circle.nodes = [circle]
  const app = await buildApp(t, {
    events: {
      big: Type.BigInt(),
      any: Type.Any(),
      tree: Type.Recursive(Node => Type.Object({ nodes: Type.Array(Node) })),
      user: User
    }
  })
  await t.rejects(app.sse.send('big', 1n), { code: 'SSE_ERR_INVALID_DATA' })
  await t.rejects(app.sse.send('any', circle), { code: 'SSE_ERR_INVALID_DATA' })
  await t.rejects(app.sse.send('any', () => {}), { code: 'SSE_ERR_INVALID_DATA' })
  await t.rejects(app.sse.send('tree', circle), { code: 'SSE_ERR_INVALID_DATA', message: /"tree"/ })
  await t.rejects(app.sse.send('user', { get name () { throw new Error('no') } }), { code: 'SSE_ERR_INVALID_DATA', message: /"user"/ })
})

t.test('raw data is checked by its schema and sent as it is', async t => {
  const app = await buildApp(t, { events: { html: Type.String({ maxLength: 20 }), user: User } })
  const open = await opener(t, app)
  const { raw } = await open([], { greeting: false })
  await t.rejects(app.sse.send('html', 'x'.repeat(21), { raw: true }), { code: 'SSE_ERR_INVALID_DATA', message: /"html"/ })
  await t.rejects(app.sse.send('user', '{"name":"a"}', { raw: true }), { code: 'SSE_ERR_INVALID_DATA', message: /"user"/ })
  await app.sse.send('html', '<p>\n</p>', { raw: true })
  await app.sse.send('html', '<p>')
  t.strictSame((await raw.untilEvents(2)).map(({ data }) => data), ['<p>\n</p>', '"<p>"'])
})

t.test('an event without a schema is refused by every call that takes an event', async t => {
  const app = await buildApp(t, { events: { known: Type.Any() } })
  let events: string[] = []
  app.get('/filtered', (_request, reply) => { reply.sse([], { events }) })
  const open = await opener(t, app)
  const { raw, client } = await open('room', { id: 'alice', events: ['known'], greeting: false })
  for (const name of ['unknown', 'Known', 'known ', '__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
    for (const call of [
      () => app.sse.send(name, 1),
      () => app.sse.send(name, 'x', { raw: true }),
      () => app.sse.send(name, null, { key: 'its state', remove: true }),
      () => app.sse.toChannel('room', name, 1),
      () => app.sse.toChannels(['room'], name, 1),
      () => app.sse.toClient('alice', name, 1),
      () => client.send(name, 1),
      () => client.stream([1], { event: name })
    ]) {
      const error = await call().then(() => null, error => error)
      t.ok(error instanceof SSE_ERR_UNKNOWN_EVENT, `${call}`)
      t.ok(error?.message.includes(`"${name}"`))
      t.ok(error?.message.includes('; there are '))
    }
    events = ['known', name]
    const response = await app.inject('/filtered')
    t.match([response.statusCode, response.json().code], [500, 'SSE_ERR_UNKNOWN_EVENT'])
  }
  t.equal(app.sse.stats().published, 0)
  await app.sse.send('known', 1)
  t.strictSame((await raw.untilEvents(1)).map(({ event }) => event), ['known'])
})

t.test('a name that every object has as a property can be declared', async t => {
  const app = await buildApp(t, { events: { ['__proto__']: Type.Number(), constructor: Type.Number() } })
  const open = await opener(t, app)
  const { raw } = await open([], { greeting: false })
  await app.sse.send('__proto__', 1)
  await app.sse.send('constructor', 2)
  await t.rejects(app.sse.send('toString', 3), { code: 'SSE_ERR_UNKNOWN_EVENT' })
  t.strictSame((await raw.untilEvents(2)).map(({ event }) => event), ['__proto__', 'constructor'])
})

t.test('if no event is declared, no event can be sent', async t => {
  const app = await buildApp(t, { events: {} })
  await t.rejects(app.sse.send('x', 1), { code: 'SSE_ERR_UNKNOWN_EVENT' })
})

t.test('the serializer is not called for events with a schema', async t => {
  const app = await buildApp(t, { events: { x: User }, serializer: () => 'custom' })
  const open = await opener(t, app)
  const { raw } = await open([], { greeting: false })
  await app.sse.send('x', { name: 'a' })
  t.strictSame((await raw.untilEvents(1)).map(({ data }) => data), ['{"name":"a"}'])
})

t.test('register() rejects a value that is not a TypeBox schema, and a bad event name', async t => {
  const bad: Array<[events: unknown, message: RegExp]> = [
    [{ x: { type: 'string' } }, /"events".*"x" is not a TypeBox schema; those of @sinclair\/typebox are/],
    [{ x: null }, /"events".*"x" is not a TypeBox schema/],
    [{ x: undefined }, /"events".*"x" is not a TypeBox schema/],
    [{ x: String }, /"events".*"x" is not a TypeBox schema/],
    [{ ok: Type.Any(), x: 'string' }, /"events".*"x" is not a TypeBox schema/],
    [{ x: Type.Unsafe({ type: 'string' }) }, /"events".*"x"/],
    [{ x: Type.Object({ a: Type.Ref('nowhere') }) }, /"events".*"x"/],
    [{ '': Type.Any() }, /"events".*must not be empty/],
    [{ 'a\nb': Type.Any() }, /"events".*CR, LF or NUL/],
    [{ 'sse:open': Type.Any() }, /"events".*"sse:"/],
    [{ ['x'.repeat(257)]: Type.Any() }, /"events".*at most 256/],
    [[Type.Any()], /"events"/],
    [null, /"events"/]
  ]
  for (const [events, message] of bad) {
    const app = Fastify()
    t.teardown(() => app.close())
    const error = await (async () => { await app.register(sse, { events } as SSEPluginOptions) })().catch(error => error)
    t.ok(error instanceof SSE_ERR_INVALID_OPTION)
    t.match(error.message, message)
  }
})
