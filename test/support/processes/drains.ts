// A server that closes on SIGTERM. Until then it publishes what is posted to it, and its own events after a POST to `/begin`.
// For each of these it prints a line of JSON that says how the publish ended. drain.test.ts and connection-failures.test.ts
// run it.
import type { Socket } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import { redisBroker } from '../../../lib/brokers/redis/index.js'
import sse, { SSE_ERR_BROKER_UNAVAILABLE, type SSEPluginOptions } from '../../../lib/index.js'

const { redis, hub } = JSON.parse(process.argv[2]!) as { redis?: string, hub: SSEPluginOptions }

const app = Fastify() as unknown as FastifyInstance
await app.register(sse, { ...hub, ...redis === undefined ? {} : { broker: redisBroker({ url: redis }) } })

let deaf: Socket
app.get<{ Querystring: { channels: string } }>('/', (request, reply) => {
  reply.sse(request.query.channels.split(','))
  if (request.query.channels === 'deaf') deaf = request.raw.socket
})
app.get('/stats', async () => app.sse.stats())
app.post('/', async ({ body }) => await app.sse.send('n', body))

/** Publishes until the socket of the client that does not read takes no more. */
app.post('/fill', async () => {
  while (deaf.writableLength === 0) await app.sse.toChannel('deaf', 'fill', 'x'.repeat(60_000), { raw: true, transient: true })
  return {}
})

app.post('/begin', async () => {
  let k = 0
  // It publishes during the close as well. It must not keep the process alive.
  setInterval(() => {
    for (let i = 0; i < 5; i++) {
      const data = { p: 'inside', k: ++k, o: k, c: [] }
      app.sse.send('n', data).then(({ id, recipients }) => tell({ ...data, id, recipients }), error => {
        tell({ ...data, code: error.code, inDoubt: error instanceof SSE_ERR_BROKER_UNAVAILABLE && error.inDoubt })
      })
    }
  }, 10).unref()
  return {}
})

function tell (ending: object): void {
  process.stdout.write(JSON.stringify(ending) + '\n')
}

process.once('SIGTERM', () => app.close())
console.log(await app.listen({ host: '127.0.0.1', port: 0 }))
