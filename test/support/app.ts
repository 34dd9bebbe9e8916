// What most tests need: an app with the plugin that listens, and clients. The app is closed when the test ends.
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'
import sse, { type SSEPluginOptions } from '../../lib/index.js'

/** An app with the plugin. It is closed when the test ends. */
export async function buildApp (t: Test, options: SSEPluginOptions = {}, server: FastifyServerOptions = {}): Promise<FastifyInstance> {
  // Fastify 5.0 writes into the options, and several apps may share them.
  const app = Fastify({ ...server }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(sse, options)
  return app
}

/** Makes an app listen on a free port of loopback. */
export async function listen (app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return portOf(app)
}

export function portOf (app: FastifyInstance): number {
  return (app.server.address() as AddressInfo).port
}

/** Resolves with the next client that connects. */
export async function nextClient (app: FastifyInstance): Promise<ReturnType<FastifyInstance['sse']['clients']>[number]> {
  const [client] = await once(app.sse as never, 'connect') as [ReturnType<FastifyInstance['sse']['clients']>[number]]
  return client
}
