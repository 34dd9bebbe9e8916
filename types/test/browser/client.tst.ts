// `fastify-sse-hub/client` in a page: with the DOM's types and without Node's.
import { expect, test } from 'tstyche'
import { connect, type StreamOptions } from 'fastify-sse-hub/client'

test('the browser\'s own EventSource, URLs and signals are taken', () => {
  expect(connect).type.toBeCallableWith('/', { EventSource, signal: AbortSignal.timeout(1000), withCredentials: true })
  expect(connect).type.toBeCallableWith(new URL('/', location.href))
  expect<StreamOptions['EventSource']>().type.not.toBeAssignableFrom(WebSocket)
})
