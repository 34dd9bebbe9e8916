// With `SSERegister` declared: what must compile, and what must not.
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import { describe, expect, test } from 'tstyche'
import sse, { type SSEClient, type SSEEventData, type SSEEventName, type SSEMetadata } from 'fastify-sse-hub'

const events = {
  notification: Type.Object({ type: Type.String(), message: Type.String() }),
  progress: Type.Object({ percent: Type.Number() }),
  fragment: Type.String()
}

declare module 'fastify-sse-hub' {
  interface SSERegister { events: typeof events, metadata: { user: string } }
}

const app = Fastify()
app.register(sse, { events })
declare const client: SSEClient

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
  })
})

test('names, data and metadata can be had as types', () => {
  expect<SSEEventName>().type.toBe<'notification' | 'progress' | 'fragment'>()
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
