// A deploy: every instance is replaced, one after the other.
import t from 'tap'
import { Cluster, TARGETS } from '../../support/cluster.js'
import type { Instance } from '../../support/instances.js'
import { none } from '../../support/ledger.js'
import { redisDatabase, withoutRedis } from '../../support/redis-server.js'

const SPREAD = 300

t.test('three instances are replaced under load, then all by a fresh one: every client goes on where it was', { skip: withoutRedis }, async t => {
  const redis = await redisDatabase(t)
  const cluster = await Cluster.start(t, 3, { broker: { url: redis.url }, hub: { historySize: 3000, reconnectSpread: SPREAD } })
  const { ledger, readers } = cluster
  await cluster.connect(60)
  let published = 0
  const publish = (instance: Instance): void => instance.publish({ name: `publisher ${++published}`, burst: 3, targets: TARGETS })
  cluster.instances.forEach(publish)
  for (const old of [...cluster.instances]) {
    const replacement = cluster.add()
    await ledger.untilAcknowledged(ledger.acknowledged.size + 300)
    const connections = new Map(readers.map(reader => [reader, reader.connections]))
    cluster.remove(old)
    await old.close()
    await Promise.all(readers.filter(reader => reader.waits.length >= connections.get(reader)!).map(async reader => await reader.until(() => reader.connections > connections.get(reader)!)))
    publish(await replacement)
  }
  for (let i = 4; i <= published; i++) await cluster.instances[i - 4]!.finish(`publisher ${i}`)
  const waits = readers.flatMap(({ waits }) => waits)
  t.ok(waits.length >= 60)
  t.ok(Math.min(...waits) >= 30 && Math.max(...waits) <= 30 + SPREAD)
  t.ok(new Set(waits).size > 30, 'they were told to come back at different times')
  // A hub refuses what is published while it closes.
  t.ok(ledger.rejections.every(({ code }) => code === 'SSE_ERR_CLOSED'))

  for (const reader of readers) reader.end()
  const [last] = cluster.instances
  last!.publish({ name: 'unseen', count: 1000, targets: TARGETS })
  await last!.done('unseen')
  await Promise.all(cluster.instances.map(async instance => await instance.close()))
  cluster.instances.length = 0
  const fresh = await cluster.add()
  await Promise.all(readers.map(async reader => await reader.comeBack()))
  fresh.publish({ name: 'seen', count: 500, targets: TARGETS })
  await fresh.done('seen')
  await cluster.settled()
  t.strictSame(ledger.losses, [])
  t.strictSame(ledger.faults(), none)
})
