// An instance is killed. Its clients go on at the other instances, which know the clients' last ids.
import t from 'tap'
import { Cluster, TARGETS } from '../../support/cluster.js'
import { none } from '../../support/ledger.js'
import { redisDatabase, withoutRedis } from '../../support/redis-server.js'

t.test('when an instance is killed in the middle, its clients go on at the others with what came next', { skip: withoutRedis }, async t => {
  const redis = await redisDatabase(t)
  const cluster = await Cluster.start(t, 3, { broker: { url: redis.url }, hub: { historySize: 2000 } })
  const { ledger, instances: [first, second, killed] } = cluster
  await cluster.connect(60)
  for (const [i, instance] of cluster.instances.entries()) instance.publish({ name: `publisher ${i}`, burst: 10, targets: TARGETS })
  await ledger.untilAcknowledged(2000)
  cluster.remove(killed!)
  await killed!.kill()
  await ledger.untilAcknowledged(ledger.acknowledged.size + 2000)
  await first!.finish('publisher 0')
  await second!.finish('publisher 1')
  await cluster.settled()
  t.equal(cluster.readers.filter(({ connections }) => connections === 2).length, 20)
  t.strictSame(ledger.rejections, [])
  t.strictSame(ledger.losses, [])
  t.strictSame(ledger.faults(), none)
})
