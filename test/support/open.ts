// Opens streams with any arguments of `reply.sse()`, and gives both ends of each.
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { SSEClient, SSEConnectOptions } from '../../lib/index.js'
import { listen } from './app.js'
import { RawClient } from './raw-client.js'

export interface OpenStream {
  /** The browser's end. */
  readonly raw: RawClient
  /** The server's end. */
  readonly client: SSEClient
}

/** Resolves when the head has come. The client is in its channels by then. */
export type Open = (channels?: string | readonly string[], options?: SSEConnectOptions, headers?: Record<string, string>) => Promise<OpenStream>

/** Adds the route of these streams to an app, and makes the app listen. */
export async function opener (t: Test, app: FastifyInstance): Promise<Open> {
  const calls: Array<{ channels: string | readonly string[], options: SSEConnectOptions, client?: SSEClient }> = []
  app.get<{ Params: { call: number } }>('/opened/:call', (request, reply) => {
    const call = calls[request.params.call]!
    call.client = reply.sse(call.channels, call.options)
  })
  const port = await listen(app)
  return async (channels = [], options = {}, headers = {}) => {
    const call: typeof calls[number] = { channels, options }
    const raw = new RawClient(port, { path: `/opened/${calls.push(call) - 1}`, headers })
    t.teardown(() => raw.destroy())
    await raw.until(() => raw.head !== '')
    return { raw, client: call.client! }
  }
}

export interface ReceivedEvent {
  id: string | undefined
  event: string | undefined
  data: string
}

let marks = 0

/**
 * The events that were queued for a client until now, without the hub's own. A test can see that something was not sent only
 * by a later event that came. So this sends an event of its own and waits for it.
 */
export async function received ({ raw, client }: OpenStream): Promise<ReceivedEvent[]> {
  const mark = `mark-${++marks}`
  await client.send(mark, '', { raw: true })
  await raw.until(() => raw.events.at(-1)?.event === mark)
  return raw.events.filter(({ event }) => !/^(?:sse:|mark-\d)/.test(event ?? ''))
    .map(({ id, event, data }) => ({ id, event, data }))
}

/** Only the names of these events. */
export async function receivedNames (stream: OpenStream): Promise<Array<string | undefined>> {
  return (await received(stream)).map(({ event }) => event)
}
