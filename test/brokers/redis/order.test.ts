// Several instances, and nothing fails. The other tests expect the same results while something fails.
import t from 'tap'
import { Cluster, TARGETS } from '../../support/cluster.js'
import { none } from '../../support/ledger.js'
import { redisDatabase, withoutRedis } from '../../support/redis-server.js'

t.test('300 clients of three instances get 20,000 events from all three at once, each of them once and in one order', { skip: withoutRedis }, async t => {
  const redis = await redisDatabase(t)
  const cluster = await Cluster.start(t, 3, { broker: { url: redis.url } })
  await cluster.connect(300)
  const counts = [6667, 6667, 6666]
  await Promise.all(cluster.instances.map(async (instance, i) => {
    instance.publish({ name: `publisher ${i}`, count: counts[i]!, targets: TARGETS })
    await instance.done(`publisher ${i}`)
  }))
  await cluster.settled()
  const { ledger } = cluster
  t.equal(ledger.acknowledged.size, 20_001)
  t.strictSame(ledger.rejections, [])
  t.strictSame(ledger.losses, [])
  t.strictSame(ledger.faults(), none)
})
