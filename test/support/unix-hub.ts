// A hub whose clients use a Unix socket. If such a client pauses, the server's socket soon refuses bytes.
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'
import type { SSEClient, SSEConnectOptions, SSEPluginOptions } from '../../lib/index.js'
import { buildApp, nextClient } from './app.js'
import { StreamClient } from './stream-client.js'
import { unixSocket } from './unix-socket.js'

export interface Opened {
  /** The browser's end. */
  readonly reader: StreamClient
  /** The server's end. */
  readonly client: SSEClient
}

interface Opening extends SSEConnectOptions {
  channels?: readonly string[]
  /** If set, the client reads no byte of the stream until `resume()`. */
  paused?: boolean
  headers?: Record<string, string>
}

export interface UnixHub {
  readonly app: FastifyInstance
  /** Resolves when the client is in its channels. If it reads and gets a greeting, it has the greeting by then. */
  open (opening?: Opening): Promise<Opened>
}

/**
 * An app that listens. It is closed when the test ends.
 * @param prepare adds what can't be added after the app listens
 */
export async function unixHub (t: Test, options: SSEPluginOptions = {}, server: FastifyServerOptions = {}, prepare: (app: FastifyInstance) => void = () => {}): Promise<UnixHub> {
  const app = await buildApp(t, options, server)
  prepare(app)
  const openings: Opening[] = []
  app.get<{ Params: { opening: number } }>('/:opening', (request, reply) => {
    const { channels, paused, headers, ...rest } = openings[request.params.opening]!
    reply.sse(channels, rest)
  })
  const socketPath = unixSocket(t)
  await app.listen({ path: socketPath })
  const open = async (opening: Opening = {}): Promise<Opened> => {
    const connected = nextClient(app)
    const reader = new StreamClient({ socketPath }, `/${openings.push(opening) - 1}`, opening.headers)
    t.teardown(() => reader.destroy())
    if (opening.paused === true) reader.pause()
    const client = await connected
    const greeted = opening.greeting ?? options.greeting ?? true
    if (opening.paused !== true && greeted) await reader.untilEvent('sse:open')
    return { reader, client }
  }
  return { app, open }
}
