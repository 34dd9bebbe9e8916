// fastify-sse-v2: `reply.sse()` with single events, to each client of the application's own list.
import { createRequire } from 'node:module'
import Fastify from 'fastify'
import { channelsOf, Rooms, type Subject } from './subject.js'

const require = createRequire(import.meta.url)

interface Reply {
  sse (event: { id?: string, event?: string, data?: string, comment?: string }): void
}

export async function fastifySseV2 (): Promise<Subject> {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(require('fastify-sse-v2').FastifySSEPlugin)
  const rooms = new Rooms<Reply>()
  app.get('/events', (request, reply) => {
    const stream = reply as unknown as Reply
    // The first call sends the head.
    stream.sse({ comment: 'open' })
    for (const channel of channelsOf(request.url)) rooms.join(channel, stream)
    request.socket.on('close', () => rooms.leave(stream))
  })
  app.get('/ping', async () => 'pong')
  await app.listen({ host: '127.0.0.1', port: 0 })
  return {
    server: app.server,
    publish (channel, { id, data }) {
      const event = { id, event: 'message', data: JSON.stringify(data) }
      for (const stream of rooms.of(channel)) stream.sse(event)
    }
  }
}
