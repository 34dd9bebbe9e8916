// What a test of a whole stream does: open it, see an event arrive, and use its connection again.
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { RawClient, requestText, type RawRequest } from './raw-client.js'
import { parseResponses, type ParsedResponse } from './responses.js'

/** A client whose response's head has come; its connection is closed when the test ends. */
export async function request (t: Test, port: number, request: RawRequest = {}): Promise<RawClient> {
  const client = new RawClient(port, request)
  t.teardown(() => client.destroy())
  await client.until(() => client.head !== '')
  return client
}

/** A stream that has greeted. */
export async function openStream (t: Test, port: number, { path = '/events', ...rest }: RawRequest = {}): Promise<RawClient> {
  const client = await request(t, port, { path, ...rest })
  if (client.status !== 200) t.fail(`the stream is answered with ${client.status}: ${client.text}`)
  const [greeting] = await client.untilEvents(1)
  t.equal(greeting!.event, 'sse:open')
  return client
}

let published = 0

/** Checks that an event published to everybody arrives at a stream, next and unharmed. */
export async function checkReceives (t: Test, hub: FastifyInstance['sse'], client: RawClient): Promise<void> {
  const count = client.events.length
  const data = { n: ++published, text: 'ä €' }
  const { id } = await hub.send('message', data)
  const event = (await client.untilEvents(count + 1))[count]!
  t.match(event, { event: 'message', id, data: JSON.stringify(data) })
}

/**
 * All responses on a connection, after one more request on it: bytes that do not belong to one, and a connection that
 * does not serve another request, fail the test.
 */
export async function responsesAfter (client: RawClient, path: string): Promise<ParsedResponse[]> {
  const count = parseResponses(client.received).length + 1
  client.socket.write(requestText({ path }))
  await client.until(() => parseResponses(client.received).length >= count)
  return parseResponses(client.received)
}
