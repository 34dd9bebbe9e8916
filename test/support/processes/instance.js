// An instance of an application. It is plain JavaScript and uses the built package. It has a route for streams, and publishes
// what its parent asks for. It tells the parent how each publish ended, in the same turn.
import { setImmediate } from 'node:timers/promises'
import Fastify from 'fastify'
import { Cluster, Redis } from 'ioredis'
import sse, { SSE_ERR_BROKER_UNAVAILABLE } from 'fastify-sse-hub'
import { redisBroker } from 'fastify-sse-hub/redis'

const { broker, client, cluster, hub } = JSON.parse(process.argv[2])

/** Milliseconds until an event is published again. */
const AGAIN = 50

let told = []

function tell (ending) {
  told.push(ending)
  if (told.length > 1) return
  queueMicrotask(() => {
    process.send({ endings: told })
    told = []
  })
}

/**
 * Publishes events in order. At most `window` of them are unanswered. With `burst`, it publishes that number every `every`
 * milliseconds.
 */
class Publisher {
  constructor ({ name, count = Infinity, window = 500, burst = 0, every = 20, targets, keyed = false, retries = true }) {
    Object.assign(this, { name, count, window, burst, every, targets, keyed, retries })
    this.made = 0
    this.attempts = 0
    this.open = 0
    this.stopped = false
    if (burst > 0) this.timer = setInterval(() => this.go(burst), every)
    else this.go(Infinity)
  }

  go (burst) {
    for (let i = 0; i < burst && this.made < this.count && this.open < this.window && !this.stopped; i++) {
      this.open++
      this.attempt(++this.made)
    }
    if (this.open > 0 || (this.made < this.count && !this.stopped)) return
    clearInterval(this.timer)
    publishers.delete(this.name)
    process.send({ done: this.name })
  }

  attempt (k) {
    const attempt = ++this.attempts
    const channels = this.targets[k % this.targets.length]
    const data = { p: this.name, k, o: attempt, c: channels }
    const options = this.keyed ? { idempotencyKey: `${this.name}:${k}` } : {}
    const published = channels.length === 0
      ? app.sse.send('n', data, options)
      : channels.length === 1 ? app.sse.toChannel(channels[0], 'n', data, options) : app.sse.toChannels(channels, 'n', data, options)
    published.then(({ id }) => {
      tell({ ...data, id })
      this.end()
    }, error => {
      const inDoubt = error instanceof SSE_ERR_BROKER_UNAVAILABLE && error.inDoubt
      tell({ ...data, code: error.code, inDoubt })
      if (this.retries && error instanceof SSE_ERR_BROKER_UNAVAILABLE && (this.keyed || !inDoubt)) setTimeout(() => this.attempt(k), AGAIN)
      else this.end()
    })
  }

  end () {
    this.open--
    if (this.burst === 0 || this.stopped || this.made === this.count) this.go(Infinity)
  }
}

const publishers = new Map()

const template = cluster !== undefined ? new Cluster(cluster.nodes, cluster.options) : client !== undefined ? new Redis(client) : undefined
template?.on('error', () => {})

const app = Fastify({ forceCloseConnections: true })
await app.register(sse, { replay: 'missed', retry: 30, ...hub, broker: redisBroker({ ...broker, ...(template && { client: template }) }) })
app.get('/', ({ query }, reply) => {
  reply.sse(query.channels === '' ? [] : query.channels.split(','), query.id === undefined ? {} : { id: query.id })
})

process.on('disconnect', () => process.exit())
process.on('message', async message => {
  if (message.publish !== undefined) publishers.set(message.publish.name, new Publisher(message.publish))
  else if (message.finish !== undefined) {
    const publisher = publishers.get(message.finish)
    if (publisher === undefined) return
    publisher.stopped = true
    publisher.go(0)
  } else if (message.stats !== undefined) {
    process.send({ stats: app.sse.stats() })
  } else if (message.hold !== undefined) {
    // It blocks the event loop, like an application that computes.
    const until = performance.now() + message.hold
    while (performance.now() < until);
  } else if (message.close !== undefined) {
    await app.close()
    template?.disconnect()
    // The endings of the last publishes are sent first.
    await setImmediate()
    process.send({ closed: true }, () => process.disconnect())
  }
})

await app.listen({ host: '127.0.0.1', port: 0 })
process.send({ port: app.server.address().port })
