// The steps of a test of a whole stream: open it, see that an event arrives, and use its connection again.
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { RawClient, requestText, type RawRequest } from './raw-client.js'
import { parseResponses, type ParsedResponse } from './responses.js'

/** Resolves with a client when the head of its response has come. The test closes its connection at the end. */
export async function request (t: Test, port: number, request: RawRequest = {}): Promise<RawClient> {
  const client = new RawClient(port, request)
  t.teardown(() => client.destroy())
  await client.until(() => client.head !== '')
  return client
}

/** Resolves with a stream that has had its greeting. */
export async function openStream (t: Test, port: number, { path = '/events', ...rest }: RawRequest = {}): Promise<RawClient> {
  const client = await request(t, port, { path, ...rest })
  if (client.status !== 200) t.fail(`the stream is answered with ${client.status}: ${client.text}`)
  const [greeting] = await client.untilEvents(1)
  t.equal(greeting!.event, 'sse:open')
  return client
}

let published = 0

/** Checks that an event for all clients is the next thing that this stream gets, and that it is complete. */
export async function checkReceives (t: Test, hub: FastifyInstance['sse'], client: RawClient): Promise<void> {
  const count = client.events.length
  const data = { n: ++published, text: 'ä €' }
  const { id } = await hub.send('message', data)
  const event = (await client.untilEvents(count + 1))[count]!
  t.match(event, { event: 'message', id, data: JSON.stringify(data) })
}

/**
 * Sends one more request and gives all responses of the connection. The test fails if bytes belong to no response, or if the
 * connection does not serve the request.
 */
export async function responsesAfter (client: RawClient, path: string): Promise<ParsedResponse[]> {
  const count = parseResponses(client.received).length + 1
  client.socket.write(requestText({ path }))
  await client.until(() => parseResponses(client.received).length >= count)
  return parseResponses(client.received)
}
