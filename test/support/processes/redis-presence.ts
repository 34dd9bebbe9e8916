// An instance with three streams in a room. It runs until it is killed.
import Fastify from 'fastify'
import { redisBroker } from '../../../lib/brokers/redis/index.js'
import sse from '../../../lib/index.js'

const [url, leasePeriod] = process.argv.slice(2)
const app = Fastify()
await app.register(sse, { broker: redisBroker({ url: url!, leasePeriod: Number(leasePeriod) }) })
app.get<{ Params: { id: string } }>('/:id', (request, reply) => { reply.sse('room', { id: request.params.id }) })
for (let i = 0; i < 3; i++) app.inject({ url: `/c${i}`, payloadAsStream: true })
