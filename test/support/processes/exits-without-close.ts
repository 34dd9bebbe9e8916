// A process that registers the plugin, becomes ready, and must end by itself without a close. close.test.ts runs it.
import Fastify from 'fastify'
import sse from '../../../lib/index.js'

const app = Fastify()
await app.register(sse, { heartbeatInterval: 1_000_000, stallTimeout: 1_000_000 })
app.get('/events', (_request, reply) => { reply.sse('room') })
await app.ready()
await app.sse.send('message', 1)
console.log('ready')
// It would keep the process alive for ever. This way the test fails at once, and says so.
if (process.getActiveResourcesInfo().includes('Timeout')) {
  console.error('a timer keeps the process alive')
  process.exit(1)
}
