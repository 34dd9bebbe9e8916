// With plain types in `SSERegister`, where there are no schemas.
import Fastify from 'fastify'
import { expect, test } from 'tstyche'
import sse, { type SSEClient, type SSEEventData, type SSEEventName } from 'fastify-sse-hub'
import { connect } from 'fastify-sse-hub/client'

interface Prices {
  price: { symbol: string, price: number }
  halt: string | null
}

declare module 'fastify-sse-hub' {
  interface SSERegister { events: Prices }
}

const app = Fastify()
app.register(sse)
declare const client: SSEClient

test('names and data are those of the types, as with connect()', () => {
  expect<SSEEventName>().type.toBe<'price' | 'halt'>()
  expect<SSEEventData<'price'>>().type.toBe<{ symbol: string, price: number }>()
  expect<SSEEventData<'halt'>>().type.toBe<string | null>()
  connect<Prices>('/', { on: { halt: data => expect(data).type.toBe<SSEEventData<'halt'>>() } })
})

test('every call follows them', () => {
  expect(app.sse.send).type.toBeCallableWith('price', { symbol: 'ACME', price: 1 })
  expect(app.sse.toChannel).type.toBeCallableWith('room', 'halt', null)
  expect(client.send).type.toBeCallableWith('halt', 'ACME')
  expect(client.stream).type.toBeCallableWith([{ symbol: 'ACME', price: 1 }], { event: 'price' })
  expect(app.sse.state(null, 'price').then(([state]) => state!.data.price)).type.toBe<Promise<number>>()
  expect(app.sse.send).type.not.toBeCallableWith('price', { symbol: 'ACME' })
  expect(app.sse.send).type.not.toBeCallableWith('halt', undefined)
  expect(app.sse.send).type.not.toBeCallableWith('prise', null)
  expect(client.stream).type.not.toBeCallableWith(['ACME', 1], { event: 'halt' })
})
