// fastify-sse-hub with its default options, which include history and greeting, except where a scenario sets others.
import { setTimeout } from 'node:timers/promises'
import Fastify from 'fastify'
import { redisBroker } from '../../../lib/brokers/redis/index.js'
import sse from '../../../lib/index.js'
import type { SSEPluginOptions } from '../../../types/index.js'
import { channelsOf, RETRY, type Payload, type Subject, type SubjectOptions } from './subject.js'

/** The same with compressed streams. */
export function compressed (compress: SSEPluginOptions['compress']): typeof ours {
  return options => ours({ ...options, hub: { ...options.hub, compress: compress! } })
}

export async function ours ({ hub, redis }: SubjectOptions): Promise<Subject> {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(sse, redis === undefined ? hub : { ...hub, broker: redisBroker({ url: redis, stream: 'bench' }) })
  app.get('/events', (request, reply) => { reply.sse(channelsOf(request.url)) })
  app.get('/ping', async () => 'pong')
  await app.listen({ host: '127.0.0.1', port: 0 })
  const publish = (channel: string, { data }: Payload) => app.sse.toChannel(channel, 'message', data)
  return {
    server: app.server,
    publish,
    async fill (payloads) {
      // The id before the first event is the id of an event that nobody gets.
      const ids = [(await app.sse.toChannel('nobody', 'message', null)).id!]
      for (const payload of payloads) ids.push((await publish('all', payload)).id!)
      return ids.slice(0, -1)
    },
    async insist (channel, { id, data }) {
      for (;;) {
        try {
          await app.sse.toChannel(channel, 'message', data, { idempotencyKey: id })
          return
        } catch {
          // It was refused or is in doubt. With the same key, it is stored only once.
          await setTimeout(RETRY)
        }
      }
    }
  }
}
