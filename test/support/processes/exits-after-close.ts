// A process that opens a stream, closes its app, and must then end by itself. close.test.ts runs it.
import { once } from 'node:events'
import Fastify from 'fastify'
import sse from '../../../lib/index.js'
import { portOf } from '../app.js'
import { RawClient } from '../raw-client.js'

const app = Fastify()
// All times are long, so that a timer that is not cleared keeps the process alive.
await app.register(sse, { heartbeatInterval: 1_000_000, stallTimeout: 1_000_000, closeTimeout: 1_000_000 })
app.get('/events', (_request, reply) => { reply.sse('room') })
await app.listen({ port: 0, host: '127.0.0.1' })
const raw = new RawClient(portOf(app as never), { path: '/events' })
await raw.untilEvents(1)
await app.sse.toChannel('room', 'message', 1)
await raw.untilEvents(2)
await app.close()
if (!raw.closed) await once(raw.socket, 'close')
console.log('closed')
