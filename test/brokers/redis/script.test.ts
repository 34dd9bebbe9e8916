// What the script that publishes answers. If it answers that nothing is stored, then nothing is.
import type { Redis } from 'ioredis'
import Fastify from 'fastify'
import t from 'tap'
import { redisBroker } from '../../../lib/brokers/redis/index.js'
import { Keys } from '../../../lib/brokers/redis/keys.js'
import { PUBLISH } from '../../../lib/brokers/redis/script.js'
import sse from '../../../lib/index.js'
import { RedisProxy } from '../../support/redis-proxy.js'
import { RedisServer, withoutRedis } from '../../support/redis-server.js'

const keys = new Keys('sse')

/** Publishes one event to channel a. */
async function publish (client: Redis, batch: number, behind: number, deadline = 9e15): Promise<unknown> {
  const epoch = await client.hget(keys.meta, 'e') ?? ''
  const names = [keys.meta, keys.log, keys.last(epoch), keys.last('proposed'), keys.publisher('publisher'), keys.histories(epoch) + 'a']
  return await client.eval(PUBLISH, names.length, ...names,
    epoch, 'proposed', 0, 0, 'publisher', batch, behind, deadline, 50, 60_000, 60_000, '0', '', 1, '[["a"],"n","1"]', '0', 1, '', '0')
}

t.test('a batch is stored once, in its turn, before its deadline, or not at all', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const client = redis.connect(t)
  const stored = async (): Promise<number> => await client.xlen(`${keys.histories('proposed')}a`)
  t.strictSame(await publish(client, 1, 0), ['EPOCH', 'proposed'])
  t.match(await publish(client, 1, 0), ['OK', '1'])
  t.strictSame(await publish(client, 1, 0), ['STORED'], 'sent again')
  t.equal(await stored(), 1)
  t.strictSame(await publish(client, 3, 2), ['ORDER'], 'the one before it has not come')
  t.strictSame(await publish(client, 2, 1, Date.now() - 1), ['EXPIRED'], 'its publisher has given it up')
  t.equal(await stored(), 1)
  t.match(await publish(client, 2, 1), ['OK', '2'])
  t.match(await publish(client, 3, 2), ['OK', '3'])
  t.equal(await stored(), 3)
})

t.test('what may have been stored before everything was lost is in doubt, and is not stored again', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const proxy = await RedisProxy.start(t, redis.port)
  const client = redis.connect(t)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(sse, { broker: redisBroker({ url: proxy.url, leasePeriod: 60_000 }) })
  await app.ready()
  await app.sse.toChannel('a', 'n', 0)
  // The publish ends when the reader has the event. After the ping, the writer's answer is there as well.
  await client.ping()
  await proxy.halfOpen('reader')
  await proxy.swallow('writer')
  // The event passes and is stored. The first command of the next connection is held.
  const held = proxy.hold('info')
  const ended = app.sse.toChannel('a', 'n', 1).then(() => 'acknowledged', ({ inDoubt }) => inDoubt as boolean)
  const release = await held
  t.equal((await client.xrevrange(keys.log, '+', '-', 'COUNT', 1))[0]![1].includes('[[["a"],"n","1"]]'), true)
  await client.flushall()
  release()
  t.equal(await ended, true)
})
