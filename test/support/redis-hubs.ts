// Hubs on one Redis, in one process, and the events of their clients.
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { redisBroker, type RedisBrokerOptions } from '../../lib/brokers/redis/index.js'
import sse, { type SSEPluginOptions } from '../../lib/index.js'
import { opener, type Open, type OpenStream } from './open.js'

export interface Instance {
  readonly app: FastifyInstance
  readonly open: Open
}

/** How many names were made. A hub gets such a name if the test gives none. */
let names = 0
export const newName = (): string => `hub-${++names}`

export async function start (t: Test, redis: { readonly url: string }, stream: string, options: SSEPluginOptions = {}, broker: RedisBrokerOptions = {}): Promise<Instance> {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(sse, { broker: redisBroker({ url: redis.url, stream, ...broker }), ...options })
  t.teardown(() => app.close())
  return { app, open: await opener(t, app) }
}

/** Resolves with the events of a stream without the hub's own, when there are at least `count`. */
export async function events ({ raw }: OpenStream, count: number): Promise<Array<{ id: string | undefined, event: string | undefined, data: string }>> {
  const own = (): typeof raw.events => raw.events.filter(({ event }) => event?.startsWith('sse:') !== true)
  await raw.until(() => own().length >= count)
  return own().map(({ id, event, data }) => ({ id, event, data }))
}

export const dataOf = async (stream: OpenStream, count: number): Promise<unknown[]> => (await events(stream, count)).map(({ data }) => JSON.parse(data))

export function opened ({ raw }: OpenStream): { recovered: boolean } {
  return JSON.parse(raw.events.find(({ event }) => event === 'sse:open')!.data)
}

/** Whether the greeting of a new stream says that nothing is missing. */
export async function recovered (stream: OpenStream): Promise<boolean> {
  await stream.raw.until(() => stream.raw.events.length > 0)
  return opened(stream).recovered
}
