// A hub with metrics for Prometheus. Start it with `npm run example:metrics`, then start
// `prometheus --config.file=examples/metrics/prometheus.yml`, and import `dashboard.json` into Grafana. PORT (default 3000)
// is the port; with REDIS_URL, the hub is on Redis.
import Fastify from 'fastify'
import sse from 'fastify-sse-hub'
import { redisBroker } from 'fastify-sse-hub/redis'
import { collectDefaultMetrics, Registry } from 'prom-client'

const { PORT = '3000', REDIS_URL } = process.env
const TICKS_PER_SECOND = 10

const register = new Registry()
// Metrics of the process: CPU, memory, the event loop's lag.
collectDefaultMetrics({ register })

const app = Fastify({ logger: { level: 'warn' }, forceCloseConnections: true })
await app.register(sse, {
  metrics: { register },
  ...REDIS_URL === undefined ? {} : { broker: redisBroker({ url: REDIS_URL, stream: 'metrics' }) }
})

// Metrics are not for the public: behind a proxy, do not pass this route on.
app.get('/metrics', async (_request, reply) => reply.type(register.contentType).send(await register.metrics()))
app.get('/events', (_request, reply) => { reply.sse('ticks') })

// These ticks give the metrics something to show. `../server.ts` declares the event for the compiler.
let n = 0
const ticks = setInterval(() => { app.sse.toChannel('ticks', 'tick', { n: ++n }) }, 1000 / TICKS_PER_SECOND)
app.addHook('preClose', async () => clearInterval(ticks))

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => app.close())

console.log(await app.listen({ host: '127.0.0.1', port: Number(PORT) }))
