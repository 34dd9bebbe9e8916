// One instance of the chat. It shares its hub with all other instances on the same Redis.
import Fastify from 'fastify'
import { redisBroker } from 'fastify-sse-hub/redis'
// `../server.ts` declares its events for the compiler.
import chat from '../chat/server.js'
import pages from '../pages.js'

const { PORT = '0', REDIS_URL = 'redis://127.0.0.1:6379' } = process.env

const app = Fastify({ logger: { level: 'warn' }, forceCloseConnections: true })
app.addHook('onSend', async (_request, reply) => { reply.header('x-instance', process.pid) })
await app.register(pages)
await app.register(chat, { prefix: '/chat', broker: redisBroker({ url: REDIS_URL, stream: 'chat' }) })

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => app.close())

console.log(await app.listen({ host: '127.0.0.1', port: Number(PORT) }))
