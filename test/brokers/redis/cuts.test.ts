// The network between the instances and Redis fails in every way that it can.
import t from 'tap'
import { Cluster, TARGETS } from '../../support/cluster.js'
import { none } from '../../support/ledger.js'
import { Random } from '../../support/random.js'
import { RedisProxy, type Role } from '../../support/redis-proxy.js'
import { RedisServer, withoutRedis } from '../../support/redis-server.js'

type Fault = 'drop' | 'delay' | 'halfOpen' | 'swallow'

/** One fault for each of the two instances. Together the rounds have each fault for the reader and for the writer. */
const ROUNDS: ReadonlyArray<readonly [first: readonly [Fault, Role], second: readonly [Fault, Role]]> = [
  [['drop', 'writer'], ['drop', 'reader']],
  [['swallow', 'writer'], ['swallow', 'writer']],
  [['delay', 'writer'], ['drop', 'writer']],
  [['swallow', 'reader'], ['delay', 'writer']],
  [['halfOpen', 'writer'], ['halfOpen', 'reader']],
  [['drop', 'reader'], ['swallow', 'writer']],
  [['delay', 'reader'], ['swallow', 'reader']],
  [['swallow', 'writer'], ['delay', 'reader']],
  [['drop', 'writer'], ['swallow', 'writer']],
  [['swallow', 'writer'], ['drop', 'writer']]
]

t.test('when the connections to Redis fail twenty times, in every way, no client misses anything and nothing comes twice', { skip: withoutRedis }, async t => {
  const random = new Random()
  t.comment(`SEED=${random.seed}`)
  const redis = await RedisServer.start(t)
  const proxies = await Promise.all([0, 1].map(() => RedisProxy.start(t, redis.port)))
  const cluster = await Cluster.start(t, 0, { broker: { url: redis.url, publishTimeout: 1000 }, hub: { historySize: 20_000 } })
  const { ledger } = cluster
  const instances = await Promise.all(proxies.map(({ url }) => cluster.add({ broker: { url, publishTimeout: 1000 } })))
  await cluster.connect(20)
  for (const [i, instance] of instances.entries()) {
    instance.publish({ name: `with keys ${i}`, burst: 3, targets: TARGETS, keyed: true })
    instance.publish({ name: `without ${i}`, burst: 3, targets: TARGETS })
  }
  await ledger.untilAcknowledged(100)
  const late = cluster.readers.slice(0, 5)
  for (const reader of late) {
    await reader.until(() => reader.lastEventId !== '')
    reader.end()
  }
  for (const round of ROUNDS) {
    await ledger.untilAcknowledged(ledger.acknowledged.size + 100 + random.below(200))
    const waits = round.map(async ([fault, role], i) => {
      if (fault !== 'delay') return await proxies[i]![fault](role)
      const release = await proxies[i]!.delay(role)
      // The writer is held for longer than a publish waits.
      if (role === 'writer') await ledger.untilRejected(ledger.rejections.length + 1)
      else await ledger.untilAcknowledged(ledger.acknowledged.size + 300)
      release()
    })
    await Promise.all(waits)
    if (round.some(([fault]) => fault === 'halfOpen')) await ledger.untilRejected(ledger.rejections.length + 1)
  }
  await ledger.untilAcknowledged(ledger.acknowledged.size + 300)
  for (const [i, instance] of instances.entries()) {
    await instance.finish(`with keys ${i}`)
    await instance.finish(`without ${i}`)
  }
  // The late readers get the histories from Redis. These must have the same events as the others got.
  const fresh = await cluster.add()
  cluster.instances.splice(0, 2)
  await Promise.all(late.map(async reader => await reader.comeBack()))
  await cluster.settled(fresh)
  t.ok(ledger.rejections.some(({ inDoubt }) => inDoubt))
  t.ok(ledger.rejections.every(({ code }) => code === 'SSE_ERR_BROKER_UNAVAILABLE'))
  t.strictSame(cluster.readers.map(({ connections }) => connections), cluster.readers.map((_, i) => i < late.length ? 2 : 1))
  t.strictSame(ledger.losses, [])
  t.strictSame(ledger.faults(), none)
})
