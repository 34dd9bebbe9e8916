// With `SSERegister` declared: what must compile, and what must not.
import { Type } from '@sinclair/typebox'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Readable } from 'node:stream'
import Fastify from 'fastify'
import { describe, expect, test } from 'tstyche'
import sse, { keyed, sseResponse, type SSEClient, type SSEEventData, type SSEEventName, type SSEInput, type SSEMetadata, type SSEPublished, type SSEPublishOptions, type SSEState } from 'fastify-sse-hub'

const events = {
  notification: Type.Object({ type: Type.String(), message: Type.String() }),
  progress: Type.Object({ percent: Type.Number() }),
  fragment: Type.String(),
  price: keyed(Type.Object({ symbol: Type.String() }), 'symbol')
}

declare module 'fastify-sse-hub' {
  interface SSERegister { events: typeof events, metadata: { user: string } }
}

const app = Fastify()
app.register(sse, { events })
declare const client: SSEClient
declare const transient: boolean
declare const options: SSEPublishOptions
declare const either: { transient: true } | { retry: number }
declare const name: 'notification' | 'progress'

describe('publishing', () => {
  test('the data follows the event', () => {
    expect(app.sse.send).type.toBeCallableWith('notification', { type: 'info', message: 'hi' })
    expect(app.sse.toChannel).type.toBeCallableWith('room', 'progress', { percent: 1 })
    expect(app.sse.toChannels).type.toBeCallableWith(['a', 'b'], 'progress', { percent: 1 })
    expect(app.sse.toClient).type.toBeCallableWith('id', 'progress', { percent: 1 }, { transient: true })
    expect(client.send).type.toBeCallableWith('progress', { percent: 1 })
  })

  test('data of another event, or incomplete, is refused', () => {
    expect(app.sse.send).type.not.toBeCallableWith('notification', { percent: 1 })
    expect(app.sse.send).type.not.toBeCallableWith('notification', { type: 'info' })
    expect(app.sse.toChannel).type.not.toBeCallableWith('room', 'progress', { percent: '1' })
    expect(client.send).type.not.toBeCallableWith('progress', {})
  })

  test('an event that is not declared is refused', () => {
    expect(app.sse.send).type.not.toBeCallableWith('notificatoin', { type: 'info', message: 'hi' })
    expect(app.sse.toClient).type.not.toBeCallableWith('id', 'message', {})
    expect(client.stream).type.not.toBeCallableWith([], { event: 'token' })
  })

  test('raw data is a string', () => {
    expect(app.sse.send).type.toBeCallableWith('fragment', '<b>hi</b>', { raw: true })
    expect(app.sse.send).type.not.toBeCallableWith('fragment', { html: '' }, { raw: true })
  })

  test('an option that there is not is refused', () => {
    expect(app.sse.send).type.not.toBeCallableWith('progress', { percent: 1 }, { transent: true })
    expect(app.sse.send).type.not.toBeCallableWith('progress', { percent: 1 }, { retry: '1' })
  })

  test('an id is a string, and null where the event is transient', () => {
    expect(app.sse.send('progress', { percent: 1 })).type.toBe<Promise<{ id: string, recipients: number }>>()
    expect(app.sse.send('progress', { percent: 1 }, { retry: 1 }).then(({ id }) => id)).type.toBe<Promise<string>>()
    expect(app.sse.send('progress', { percent: 1 }, { transient: true }).then(({ id }) => id)).type.toBe<Promise<null>>()
    expect(app.sse.send('progress', { percent: 1 }, { transient: false }).then(({ id }) => id)).type.toBe<Promise<string>>()
    expect(app.sse.toClient('id', 'progress', { percent: 1 }).then(({ id }) => id)).type.toBe<Promise<string>>()
  })

  test('an id may be null where the type of the options does not say whether the event is transient', () => {
    expect(app.sse.send('progress', { percent: 1 }, { transient }).then(({ id }) => id)).type.toBe<Promise<string | null>>()
    expect(app.sse.toChannel('room', 'progress', { percent: 1 }, options).then(({ id }) => id)).type.toBe<Promise<string | null>>()
    expect(app.sse.toChannels(['room'], 'progress', { percent: 1 }, either).then(({ id }) => id)).type.toBe<Promise<string | null>>()
    expect<SSEPublished['id']>().type.toBe<string | null>()
  })

  test('where the name is one of several, the data must be right for each of them', () => {
    expect(app.sse.send).type.not.toBeCallableWith(name, { percent: 1 })
    expect(app.sse.toChannel).type.not.toBeCallableWith('room', name, { type: 'info', message: 'hi' })
    expect(client.send).type.not.toBeCallableWith(name, { percent: 1 })
    expect(client.stream).type.not.toBeCallableWith([{ percent: 1 }], { event: name })
    expect(app.sse.send).type.toBeCallableWith(name, { percent: 1, type: 'info', message: 'hi' })
  })

  test('a generic function can publish', () => {
    const publish = async <Name extends SSEEventName>(name: Name, data: SSEInput<Name, SSEPublishOptions>): Promise<number> =>
      (await app.sse.send(name, data)).recipients
    expect(publish).type.toBeCallableWith('progress', { percent: 1 })
    expect(publish).type.not.toBeCallableWith('progress', 'text')
  })
})

describe('stream()', () => {
  const numbers = async function * (): AsyncGenerator<{ percent: number }> { yield { percent: 1 } }

  test('takes items of its event', () => {
    expect(client.stream).type.toBeCallableWith([{ percent: 1 }], { event: 'progress' })
    expect(client.stream).type.toBeCallableWith(new Set([{ percent: 1 }]), { event: 'progress' })
    expect(client.stream).type.toBeCallableWith(numbers(), { event: 'progress', compress: true })
    expect(client.stream).type.toBeCallableWith(['a', 'b'], { event: 'fragment' })
    expect(client.stream).type.toBeCallableWith(['<b>', 'hi'], { event: 'progress', raw: true })
    expect(client.stream).type.toBeCallableWith(Readable.from(['a']), { event: 'fragment' })
    expect(client.stream(numbers(), { event: 'progress' })).type.toBe<Promise<boolean>>()
  })

  test('refuses items of another event, and a string, which would be sent letter by letter', () => {
    expect(client.stream).type.not.toBeCallableWith([1, 2], { event: 'notification' })
    expect(client.stream).type.not.toBeCallableWith(numbers(), { event: 'notification' })
    expect(client.stream).type.not.toBeCallableWith([{ percent: 1 }], { event: 'progress', raw: true })
    expect(client.stream).type.not.toBeCallableWith('text', { event: 'fragment' })
    expect(client.stream).type.not.toBeCallableWith('text', { event: 'fragment', raw: true })
    expect(client.stream).type.not.toBeCallableWith([{ percent: 1 }], { event: 'progress', every: 1 })
  })
})

test('names, data and metadata can be had as types', () => {
  expect<SSEEventName>().type.toBe<'notification' | 'progress' | 'fragment' | 'price'>()
  expect<SSEEventData<'progress'>>().type.toBe<{ percent: number }>()
  expect<SSEMetadata>().type.toBe<{ user: string }>()
})

test('metadata follows the declaration', () => {
  app.get('/', (_request, reply) => {
    expect(reply.sse).type.toBeCallableWith('room', { metadata: { user: 'ada' } })
    expect(reply.sse).type.not.toBeCallableWith('room', { metadata: { user: 1 } })
    expect(reply.sse).type.not.toBeCallableWith('room', { metadata: {} })
  })
  expect(app.sse.channelClients('room').map(client => client.metadata.user)).type.toBe<string[]>()
})

test('the event filter of a stream holds declared names', () => {
  app.get('/', (_request, reply) => {
    expect(reply.sse).type.toBeCallableWith([], { events: ['progress'] })
    expect(reply.sse).type.not.toBeCallableWith([], { events: ['progres'] })
  })
})

describe('the schema of a route', () => {
  test('names declared events', () => {
    expect(sseResponse).type.toBeCallableWith(['notification', 'progress'])
    expect(sseResponse).type.toBeCallableWith()
    expect(sseResponse).type.not.toBeCallableWith(['notificatoin'])
    expect(sseResponse).type.not.toBeCallableWith('notification')
    expect(sse.sseResponse).type.toBe<typeof sseResponse>()
  })

  test('is one that a route takes, alone and beside other answers, and lets a handler return its stream', () => {
    const typed = app.withTypeProvider<TypeBoxTypeProvider>()
    const Problem = Type.Object({ reason: Type.String() })
    typed.get('/returned', { schema: sseResponse(['progress']) }, async (_request, reply) => reply.sse())
    typed.get('/not', { schema: sseResponse() }, (_request, reply) => { reply.sse() })
    typed.get('/beside', {
      schema: { querystring: Type.Object({ job: Type.Number() }), response: { ...sseResponse(['progress']).response, 403: Problem } }
    }, async (request, reply) => {
      expect(request.query).type.toBe<{ job: number }>()
      expect(reply.code(403).send).type.toBeCallableWith({ reason: 'not yours' })
      expect(reply.code(403).send).type.not.toBeCallableWith({ reason: 1 })
      return reply.sse()
    })
    app.get('/untyped', { schema: { response: { ...sseResponse(['progress']).response, 403: Problem } } }, async (_request, reply) => reply.sse())
  })
})

describe('states', () => {
  const price = Type.Object({ symbol: Type.String(), price: Type.Number(), note: Type.Optional(Type.String()), tags: Type.Array(Type.String()) })

  test('a schema names a property that holds a string or a number as its key, and stays what it is', () => {
    expect(keyed).type.toBeCallableWith(price, 'symbol')
    expect(keyed).type.toBeCallableWith(price, 'price')
    expect(keyed).type.not.toBeCallableWith(price, 'sybmol')
    expect(keyed).type.not.toBeCallableWith(price, 'tags')
    expect(keyed).type.not.toBeCallableWith(price, 'note')
    expect(keyed).type.not.toBeCallableWith(Type.String(), 'symbol')
    expect(keyed(price, 'symbol')).type.toBe<typeof price>()
    expect(keyed(Type.Union([price, Type.Object({ symbol: Type.Literal('x') })]), 'symbol')).type.toBeAssignableTo<object>()
  })

  test('what is removed needs no data', () => {
    expect(app.sse.toChannel).type.toBeCallableWith('room', 'progress', null, { key: 'x', remove: true })
    expect(app.sse.toChannel).type.toBeCallableWith('room', 'progress', { percent: 1 }, { key: 'x', remove: true })
    expect(app.sse.toChannel).type.not.toBeCallableWith('room', 'progress', null, { key: 'x' })
    expect(app.sse.toChannel).type.not.toBeCallableWith('room', 'progress', null, { remove: true })
    expect(app.sse.toChannel).type.toBeCallableWith('room', 'progress', { percent: 1 }, { remove: true })
    expect(app.sse.toChannel).type.not.toBeCallableWith('room', 'price', null, { remove: true })
    expect(app.sse.toChannel).type.toBeCallableWith('room', 'price', { symbol: 'ACME' }, { remove: true })
    expect(app.sse.toChannel).type.toBeCallableWith('room', 'price', null, { key: 'ACME', remove: true })
    expect(app.sse.toChannel).type.not.toBeCallableWith('room', 'progress', null, { key: 'x', remove: false })
    expect(app.sse.toChannel).type.not.toBeCallableWith('room', 'progress', undefined, { key: 'x', remove: true })
    expect(app.sse.toChannel).type.not.toBeCallableWith('room', 'progress', { percent: 1 }, { key: 1 })
    expect(client.send).type.not.toBeCallableWith('progress', { percent: 1 }, { key: 'x' })
  })

  test('the present states have the data of their event', () => {
    expect(app.sse.state('room', 'progress')).type.toBe<Promise<Array<SSEState<'progress'>>>>()
    expect(app.sse.state(null, 'progress').then(([state]) => state!.data.percent)).type.toBe<Promise<number>>()
    expect(app.sse.state).type.not.toBeCallableWith('room', 'message')
    expect(app.sse.state).type.not.toBeCallableWith(undefined, 'progress')
  })
})
