// With nothing declared: event names are strings, data is unknown.
import { once } from 'node:events'
import Fastify, { type FastifyRequest } from 'fastify'
import { register, Registry, type OpenMetricsContentType } from 'prom-client'
import { describe, expect, test } from 'tstyche'
import sse, {
  addressKey, sseResponse, SSE_ERR_CLOSED, type SSEClient, type SSEDisconnectReason, type SSEEventData, type SSEEventName, type SSEHub,
  type SSEMetadata, type SSEPluginOptions, type SSEStats
} from 'fastify-sse-hub'

const app = Fastify()
declare const client: SSEClient

describe('registration', () => {
  test('takes options or none', () => {
    expect(app.register).type.toBeCallableWith(sse)
    expect(app.register).type.toBeCallableWith(sse, { historySize: 1000, heartbeatInterval: 30_000 })
    expect(app.register).type.toBeCallableWith(sse, { retry: null, lastEventIdQuery: null, slowClient: 'drop', replay: 'missed' })
  })

  test('takes the registries of prom-client as they are', () => {
    expect(app.register).type.toBeCallableWith(sse, { metrics: { register } })
    expect(app.register).type.toBeCallableWith(sse, { metrics: { register: new Registry<OpenMetricsContentType>(), prefix: 'chat_', labels: { hub: 'chat' } } })
    expect<SSEPluginOptions>().type.not.toBeAssignableFrom({ metrics: {} })
    expect<SSEPluginOptions>().type.not.toBeAssignableFrom({ metrics: { register: {} } })
    expect<SSEPluginOptions>().type.not.toBeAssignableFrom({ metrics: { register, labels: { hub: 1 } } })
  })

  test('takes a key by address', () => {
    expect<SSEPluginOptions>().type.toBeAssignableFrom({ key: addressKey })
    expect<SSEPluginOptions>().type.toBeAssignableFrom({ key: (request: FastifyRequest) => addressKey(request, { ipv6Prefix: 48 }) })
    expect(addressKey).type.not.toBeCallableWith({ ip: '::1' }, { ipv4Prefix: 24 })
  })

  test('refuses wrong ones', () => {
    expect<SSEPluginOptions>().type.not.toBeAssignableFrom({ historySize: '1000' })
    expect<SSEPluginOptions>().type.not.toBeAssignableFrom({ slowClient: 'wait' })
    expect<SSEPluginOptions>().type.not.toBeAssignableFrom({ events: { message: 'a string' } })
  })
})

test('the decorators are typed', () => {
  expect(app.sse).type.toBe<SSEHub>()
  app.get('/', (_request, reply) => {
    expect(reply.sse()).type.toBe<SSEClient>()
    expect(reply.sse).type.toBeCallableWith('room')
    expect(reply.sse).type.toBeCallableWith(['a', 'b'] as const, { id: 'x', broadcast: false, lastEventId: null, retry: null })
    expect(reply.sse).type.not.toBeCallableWith(1)
    expect(reply.sse).type.not.toBeCallableWith('room', { channel: 'x' })
  })
})

test('any event and any data may be published', () => {
  expect(app.sse.send).type.toBeCallableWith('anything', { at: 'all' })
  expect(app.sse.toChannel).type.toBeCallableWith('room', 'anything', undefined)
  expect(app.sse.toChannel).type.not.toBeCallableWith('room', 'anything')
  expect(app.sse.toChannel).type.not.toBeCallableWith(['room'], 'anything', 1)
  expect(app.sse.send).type.toBeCallableWith('html', '<b>hi</b>', { raw: true })
  expect(app.sse.send).type.not.toBeCallableWith('html', 1, { raw: true })
  expect<SSEEventName>().type.toBe<string>()
  expect<SSEEventData<'x'>>().type.toBe<unknown>()
  expect<SSEMetadata>().type.toBe<Record<string, unknown>>()
})

test('a route\'s schema may name any event', () => {
  expect(sseResponse).type.toBeCallableWith(['anything'] as const)
  expect(sseResponse).type.not.toBeCallableWith([1])
  app.get('/schema', { schema: sseResponse(['anything']) }, async (_request, reply) => reply.sse())
})

test('listeners get typed arguments', () => {
  app.sse.on('connect', client => { expect(client).type.toBe<SSEClient>() })
  app.sse.on('disconnect', (client, reason) => {
    expect(client).type.toBe<SSEClient>()
    expect(reason).type.toBe<SSEDisconnectReason>()
  })
  expect(app.sse.on).type.not.toBeCallableWith('message', () => {})
  expect(once).type.toBeCallableWith(app.sse, 'connect')
})

test('a client can be read, sent to and closed, not written to', () => {
  expect(client.send('x', 1)).type.toBe<Promise<boolean>>()
  expect(client.stream).type.toBeCallableWith((async function * () { yield 1 })(), { event: 'x' })
  expect(client.stream).type.toBeCallableWith(new ReadableStream<string>(), { event: 'x', raw: true })
  expect(client.stream).type.toBeCallableWith(new Response('x').body!, { event: 'x' })
  expect(client.stream).type.not.toBeCallableWith({}, { event: 'x' })
  expect(client.stream).type.not.toBeCallableWith([1])
  expect(client.channels).type.toBe<ReadonlySet<string>>()
  expect(client.signal).type.toBe<AbortSignal>()
  expect(client.lastEventId).type.toBe<string | null>()
  expect(client).type.not.toHaveProperty('host')
})

test('the hub answers questions', () => {
  expect(app.sse.client('x')).type.toBe<SSEClient | undefined>()
  expect(app.sse.channels()).type.toBe<Array<{ name: string, count: number }>>()
  expect(app.sse.clientCount).type.toBeCallableWith()
  expect(app.sse.stats()).type.toBe<SSEStats>()
})

test('errors are classes with a code', () => {
  expect(new SSE_ERR_CLOSED().code).type.toBe<'SSE_ERR_CLOSED'>()
})
