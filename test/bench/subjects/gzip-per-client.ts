// One gzip stream for each client, like a compressing middleware. Every event is compressed and flushed for each client.
import { once } from 'node:events'
import { constants, createGzip, type Gzip } from 'node:zlib'
import Fastify from 'fastify'
import { channelsOf, Rooms, type Subject } from './subject.js'

const HEADERS = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform', 'content-encoding': 'gzip' }

export async function gzipPerClient (): Promise<Subject> {
  const app = Fastify({ forceCloseConnections: true })
  const rooms = new Rooms<Gzip>()
  app.get('/events', (request, reply) => {
    reply.hijack()
    // This is cheaper than a call of `flush` after every write, which would be an additional job for zlib's threads.
    const gzip = createGzip({ flush: constants.Z_SYNC_FLUSH })
    reply.raw.writeHead(200, HEADERS)
    gzip.pipe(reply.raw)
    gzip.write(':\n\n')
    for (const channel of channelsOf(request.url)) rooms.join(channel, gzip)
    reply.raw.on('close', () => {
      rooms.leave(gzip)
      gzip.destroy()
    })
  })
  app.get('/ping', async () => 'pong')
  await app.listen({ host: '127.0.0.1', port: 0 })
  return {
    server: app.server,
    async publish (channel, { id, data }) {
      const event = `id: ${id}\nevent: message\ndata: ${JSON.stringify(data)}\n\n`
      const full: Gzip[] = []
      for (const gzip of rooms.of(channel)) if (!gzip.write(event)) full.push(gzip)
      await Promise.all(full.map(gzip => once(gzip, 'drain')))
    }
  }
}
