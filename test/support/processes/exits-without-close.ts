// A process that registers the plugin, is ready, and must end by itself without a close: run by close.test.ts.
import Fastify from 'fastify'
import sse from '../../../lib/index.js'

const app = Fastify()
await app.register(sse, { heartbeatInterval: 1_000_000, stallTimeout: 1_000_000 })
app.get('/events', (_request, reply) => { reply.sse('room') })
await app.ready()
await app.sse.send('message', 1)
console.log('ready')
