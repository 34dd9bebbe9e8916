// @fastify/sse: `reply.sse.send()` to each client in the application's own list, awaited as in its documentation. Data is
// serialised only once, because its `serializer` option gets a function that passes text on.
import { createRequire } from 'node:module'
import Fastify, { type RouteShorthandOptions } from 'fastify'
import { channelsOf, Rooms, type Subject } from './subject.js'

const require = createRequire(import.meta.url)

interface Context {
  keepAlive (): void
  send (message: { id?: string, event?: string, data: string }): Promise<void>
  onClose (callback: () => void): void
}

export async function fastifySse (): Promise<Subject> {
  const app = Fastify({ forceCloseConnections: true })
  // The type of `reply.sse` is declared by it and by us, so its types can't be used here.
  await app.register(require('@fastify/sse'), { serializer: (data: string) => data })
  const rooms = new Rooms<Context>()
  app.get('/events', { sse: 'only' } as RouteShorthandOptions, async (request, reply) => {
    const context = reply.sse as unknown as Context
    context.keepAlive()
    // The first event sends the head.
    await context.send({ event: 'open', data: '{}' })
    for (const channel of channelsOf(request.url)) rooms.join(channel, context)
    context.onClose(() => rooms.leave(context))
  })
  app.get('/ping', async () => 'pong')
  await app.listen({ host: '127.0.0.1', port: 0 })
  return {
    server: app.server,
    publish (channel, { id, data }) {
      const message = { id, event: 'message', data: JSON.stringify(data) }
      return Promise.all(Array.from(rooms.of(channel), context => context.send(message)))
    }
  }
}
