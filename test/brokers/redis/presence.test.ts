import { once } from 'node:events'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { redisBroker } from '../../../lib/brokers/redis/index.js'
import sse, { type SSEPresence } from '../../../lib/index.js'
import { opener } from '../../support/open.js'
import { RedisServer, redisDatabase, withoutRedis } from '../../support/redis-server.js'
import { spawnProgram } from '../../support/spawn-program.js'

const LEASE = 300

async function start (t: Test, redis: { readonly url: string }, leasePeriod = LEASE): Promise<FastifyInstance> {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(sse, { broker: redisBroker({ url: redis.url, leasePeriod }) })
  t.teardown(() => app.close())
  return app
}

/** Resolves when an instance sees exactly `count` streams in a channel. */
async function untilPresent (app: FastifyInstance, channel: string, count: number): Promise<SSEPresence[]> {
  for (;;) {
    const present = await app.sse.presence(channel)
    if (present.length === count) return present
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

t.test('presence over several instances', { skip: withoutRedis }, async t => {
  await t.test('every instance sees the streams of all, and is told who comes and leaves', async t => {
    const redis = await redisDatabase(t)
    const [first, second] = await Promise.all([start(t, redis), start(t, redis)])
    const [open, openSecond] = await Promise.all([first, second].map(app => opener(t, app)))
    const seen: string[] = []
    second.sse.on('join', ({ clientId }, channel) => seen.push(`join ${clientId} ${channel}`))
    second.sse.on('leave', ({ clientId }, channel) => seen.push(`leave ${clientId} ${channel}`))
    const alice = await open!(['room', 'lobby'], { id: 'alice', metadata: { name: 'Alice' } })
    await openSecond!('room', { id: 'bob' })
    for (const app of [first, second]) {
      const present = await untilPresent(app, 'room', 2)
      t.same(new Set(present.map(({ clientId }) => clientId)), new Set(['alice', 'bob']))
      t.same(present.find(({ clientId }) => clientId === 'alice')!.metadata, { name: 'Alice' })
      t.equal(new Set(present.map(({ instance }) => instance)).size, 2)
    }
    alice.client.join('third')
    alice.client.leave('lobby')
    await untilPresent(second, 'third', 1)
    await untilPresent(second, 'lobby', 0)
    alice.raw.destroy()
    await untilPresent(second, 'room', 1)
    t.same(new Set(seen), new Set(['join alice room', 'join alice lobby', 'join bob room', 'join alice third', 'leave alice lobby', 'leave alice room', 'leave alice third']))
    t.equal(seen.length, 7, 'each once')
  })

  await t.test('an instance that starts later learns who is there', async t => {
    const redis = await redisDatabase(t)
    const first = await start(t, redis)
    const open = await opener(t, first)
    for (let i = 0; i < 30; i++) await open('room', { id: `c${i}` })
    await untilPresent(first, 'room', 30)
    // The instance writes its streams to Redis a little later.
    const client = redis.connect(t)
    const hash = async (): Promise<number> => client.hlen((await client.keys('*present:*'))[0] ?? 'none')
    while (await hash() < 30) await new Promise(resolve => setTimeout(resolve, 5))
    const second = await start(t, redis)
    t.equal((await second.sse.presence('room')).length, 30)
  })

  await t.test('an instance that closes takes its streams along at once', async t => {
    const redis = await redisDatabase(t)
    const first = await start(t, redis)
    const second = Fastify({ forceCloseConnections: true })
    await second.register(sse, { broker: redisBroker({ url: redis.url, leasePeriod: 60_000 }), closeTimeout: 100 })
    const open = await opener(t, second)
    await open('room')
    await untilPresent(first, 'room', 1)
    await second.close()
    await untilPresent(first, 'room', 0)
    t.equal((await redis.connect(t).keys('*present:*')).length, 0)
  })

  await t.test('what a killed instance had told is gone after its lease', async t => {
    const redis = await redisDatabase(t)
    const first = await start(t, redis)
    const left: string[] = []
    first.sse.on('leave', ({ clientId }) => left.push(clientId))
    const child = spawnProgram(t, 'test/support/processes/redis-presence.ts', { args: [redis.url, String(LEASE)] })
    await untilPresent(first, 'room', 3)
    child.kill('SIGKILL')
    await once(child, 'exit')
    const killedAt = performance.now()
    await untilPresent(first, 'room', 0)
    t.same(left.sort(), ['c0', 'c1', 'c2'])
    t.comment(`after ${Math.round((performance.now() - killedAt) / LEASE * 10) / 10} periods`)
    t.equal((await redis.connect(t).keys('*present:*')).length, 0)
  })

  await t.test('an instance that was taken for dead, and all after a loss of everything, tell anew', async t => {
    const redis = await RedisServer.start(t)
    const [first, second] = await Promise.all([start(t, redis), start(t, redis)])
    const open = await opener(t, first)
    await open('room', { id: 'alice' })
    await untilPresent(second, 'room', 1)
    const client = redis.connect(t)
    const [{ instance }] = await second.sse.presence('room') as [SSEPresence]
    await client.zrem('{sse}:leases', instance)
    await client.unlink(`{sse}:present:${instance}`)
    while (await client.hlen(`{sse}:present:${instance}`) === 0) await new Promise(resolve => setTimeout(resolve, 5))
    await client.flushall()
    await first.sse.send('n', 1).catch(() => {})
    while (await client.hlen(`{sse}:present:${instance}`) === 0) await new Promise(resolve => setTimeout(resolve, 5))
    const third = await start(t, redis)
    await untilPresent(third, 'room', 1)
  })

  for (const what of ['its entries of the log', 'the leases']) {
    await t.test(`nobody is left over where ${what} are lost`, async t => {
      const redis = await redisDatabase(t)
      const client = redis.connect(t)
      const first = await start(t, redis)
      const child = spawnProgram(t, 'test/support/processes/redis-presence.ts', { args: [redis.url, String(LEASE)] })
      const [{ instance }] = await untilPresent(first, 'room', 3) as [SSEPresence]
      if (what === 'the leases') {
        child.kill('SIGKILL')
        await once(child, 'exit')
        await client.del('{sse}:leases')
      } else {
        // As if one stream had left, and its entry of the log had been trimmed before this instance read it.
        await client.multi().hdel(`{sse}:present:${instance}`, (await client.hkeys(`{sse}:present:${instance}`))[0]!).hincrby('{sse}:meta', 'n', 1).exec()
      }
      await untilPresent(first, 'room', what === 'the leases' ? 0 : 2)
    })
  }

  await t.test('10,000 streams that come at once cost at most 50 round trips', async t => {
    // This test has its own Redis, because a Redis counts the commands of all its databases together.
    const redis = await RedisServer.start(t)
    const [first, second] = await Promise.all([start(t, redis, 30_000), start(t, redis, 30_000)])
    const client = redis.connect(t)
    const calls = async (): Promise<number> => {
      const stats = await client.info('commandstats')
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0) + Number(/cmdstat_hset:calls=(\d+)/.exec(stats)?.[1] ?? 0)
    }
    const { inject, count } = injector(first)
    const before = await calls()
    for (let i = 0; i < count; i++) inject()
    await untilPresent(second, 'room', count)
    // Each flush is one pipeline with an HSET, and one script. The script's own HSET to `meta` counts as well.
    const flushes = (await calls() - before) / 3
    t.comment(`${flushes} flushes`)
    t.ok(flushes * 2 <= 50)
  })
})

/** Streams without sockets. */
function injector (app: FastifyInstance): { inject: () => void, count: number } {
  app.get('/room', (_request, reply) => { reply.sse('room') })
  return { inject: () => { app.inject({ url: '/room', payloadAsStream: true }) }, count: 10_000 }
}
