// A process that publishes 300 MB to a client, once for each way to treat slow clients, and prints by how much it grew.
// slow-clients.test.ts runs it with `--expose-gc`.
import { once } from 'node:events'
import Fastify, { type FastifyInstance } from 'fastify'
import sse from '../../../lib/index.js'
import { portOf } from '../app.js'

const EVENTS = 3000
const EVENT = 'x'.repeat(100_000)

/** Bytes of live data. When the process gives other memory back to the system differs between versions of Node. */
function used (): number {
  globalThis.gc!()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

for (const slowClient of ['drop', 'disconnect'] as const) {
  const app = Fastify() as unknown as FastifyInstance
  await app.register(sse, { slowClient })
  app.get('/events', (_request, reply) => { reply.sse() })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const connected = once(app.sse as never, 'connect')
  console.log(portOf(app))
  await connected
  const before = used()
  let most = before
  for (let n = 1; n <= EVENTS; n++) {
    await app.sse.send('message', EVENT, { raw: true })
    if (n % 200 !== 0) continue
    most = Math.max(most, used())
  }
  const { published, dropped, slowDisconnects } = app.sse.stats()
  console.log(JSON.stringify({ slowClient, published, dropped, slowDisconnects, growth: most - before }))
  await app.close()
}
