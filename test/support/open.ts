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

/** Resolves when the head has come: by then the client is in its channels. */
export type Open = (channels?: string | readonly string[], options?: SSEConnectOptions, headers?: Record<string, string>) => Promise<OpenStream>

/** Adds a route for this to an app that does not listen yet, and makes it listen. */
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
 * All that has been put in line for a client until now, without the hub's own events: what a client was not sent can
 * only be seen by what comes after it, which is an event of its own here.
 */
export async function received ({ raw, client }: OpenStream): Promise<ReceivedEvent[]> {
  const mark = `mark-${++marks}`
  await client.send(mark, '', { raw: true })
  await raw.until(() => raw.events.at(-1)?.event === mark)
  return raw.events.filter(({ event }) => !/^(?:sse:|mark-\d)/.test(event ?? ''))
    .map(({ id, event, data }) => ({ id, event, data }))
}

/** The names alone. */
export async function receivedNames (stream: OpenStream): Promise<Array<string | undefined>> {
  return (await received(stream)).map(({ event }) => event)
}
