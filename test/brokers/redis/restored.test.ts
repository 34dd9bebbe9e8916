// Redis is killed and comes back: with fewer events while no instance runs, or with all events while one runs.
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { redisBroker } from '../../../lib/brokers/redis/index.js'
import sse from '../../../lib/index.js'
import { opener, type Open } from '../../support/open.js'
import { RedisServer, withoutRedis } from '../../support/redis-server.js'

async function start (t: Test, redis: RedisServer): Promise<{ publish: (data: unknown) => Promise<string>, open: Open, close: () => Promise<void> }> {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(sse, { broker: redisBroker({ url: redis.url, leasePeriod: 100 }) })
  t.teardown(() => app.close())
  return {
    publish: async data => (await app.sse.send('n', data)).id,
    open: await opener(t, app),
    close: () => app.close()
  }
}

const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always']

t.test('an id of events that Redis has lost is no place, though others have their numbers now', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t, ...DURABLE)
  const first = await start(t, redis)
  for (let i = 0; i < 3; i++) await first.publish(i)
  const copy = join(redis.folder, '..', `sse-copy-${redis.port}`)
  t.teardown(() => rmSync(copy, { recursive: true, force: true }))
  cpSync(redis.folder, copy, { recursive: true })
  let id = ''
  for (let i = 3; i < 6; i++) id = await first.publish(i)
  await first.close()

  await redis.kill()
  rmSync(redis.folder, { recursive: true })
  cpSync(copy, redis.folder, { recursive: true })
  await redis.run()
  const second = await start(t, redis)
  for (let i = 0; i < 5; i++) await second.publish(`new ${i}`)
  const { raw } = await second.open([], {}, { 'last-event-id': id })
  await raw.untilEvents(6)
  t.match(raw.events[0], { event: 'sse:open', data: /"recovered":false/ })
  t.same(raw.events.slice(1).map(({ data }) => JSON.parse(data)), Array.from({ length: 5 }, (_, i) => `new ${i}`))
})

t.test('an instance that was there vouches for a Redis that has all after its restart', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t, ...DURABLE)
  const first = await start(t, redis)
  const id = await first.publish(1)
  const stream = await first.open()
  await redis.kill()
  await redis.run()
  await first.publish(2)
  const second = await start(t, redis)
  const { raw } = await second.open([], {}, { 'last-event-id': id })
  await raw.untilEvents(2)
  t.match(raw.events, [{ event: 'sse:open', data: /"recovered":true/ }, { data: '2' }])
  await stream.raw.untilEvents(3)
  t.same(stream.raw.events.map(({ event }) => event), ['sse:open', 'n', 'n'], 'and nobody is told of a loss')
})
