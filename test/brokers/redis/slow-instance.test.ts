// One of several instances stands still for a while. Then it has many events to read, and its new clients have newer ids than it.
import t from 'tap'
import { Cluster, TARGETS } from '../../support/cluster.js'
import { none } from '../../support/ledger.js'
import { redisDatabase, withoutRedis } from '../../support/redis-server.js'

t.test('an instance that fell behind catches up, and clients that come to it from others get nothing twice', { skip: withoutRedis }, async t => {
  const redis = await redisDatabase(t)
  const cluster = await Cluster.start(t, 2, { broker: { url: redis.url, publishTimeout: 20_000 }, hub: { historySize: 3000 } })
  const { ledger, instances: [quick, slow] } = cluster
  await cluster.connect(20)
  let port = quick!.port
  const movers = await Promise.all(Array.from({ length: 20 }, (_, i) => cluster.reader({ name: `mover ${i}`, channels: ['a', 'b', 'c'], port: () => port })))
  slow!.publish({ name: 'slow', burst: 2, targets: TARGETS })
  for (let round = 1; round <= 3; round++) {
    await ledger.untilAcknowledged(ledger.acknowledged.size + 200)
    port = quick!.port
    for (const mover of movers) mover.cut()
    await Promise.all(movers.map(async mover => await mover.until(() => mover.connections === 2 * round)))
    slow!.signal('SIGSTOP')
    // Each event is one entry of the log. An instance reads fewer entries at once.
    const name = `one by one ${round}`
    quick!.publish({ name, count: 600, window: 1, targets: [['a']] })
    await quick!.done(name)
    await Promise.all(movers.map(async mover => await mover.untilEvent(name, 600)))
    port = slow!.port
    for (const mover of movers) mover.cut()
    slow!.signal('SIGCONT')
    // It also blocks its event loop, like an application that computes.
    slow!.hold(300)
    await Promise.all(movers.map(async mover => await mover.until(() => mover.connections === 2 * round + 1)))
  }
  await slow!.finish('slow')
  await cluster.settled()
  t.strictSame(ledger.rejections, [])
  t.strictSame(ledger.losses, [])
  t.strictSame(ledger.faults(), none)
})

t.test('where an instance fell behind further than the log goes back, its clients are told, and no others', { skip: withoutRedis }, async t => {
  const redis = await redisDatabase(t)
  const cluster = await Cluster.start(t, 2, { broker: { url: redis.url } })
  const { ledger, instances: [quick, slow] } = cluster
  for (let i = 0; i < 5; i++) {
    await cluster.reader({ name: `quick ${i}`, channels: ['a', 'b'], port: () => quick!.port })
    await cluster.reader({ name: `slow ${i}`, channels: ['a', 'b'], port: () => slow!.port })
  }
  quick!.publish({ name: 'before', count: 200, targets: TARGETS })
  await quick!.done('before')
  await cluster.settled()
  slow!.signal('SIGSTOP')
  quick!.publish({ name: 'meanwhile', count: 300, window: 1, targets: TARGETS })
  await quick!.done('meanwhile')
  await redis.connect(t).xtrim('{sse}:log', 'MAXLEN', 100)
  slow!.signal('SIGCONT')
  slow!.publish({ name: 'behind', count: 200, targets: TARGETS })
  await slow!.done('behind')
  await cluster.settled()
  t.strictSame(ledger.losses.toSorted(), Array.from({ length: 5 }, (_, i) => `slow ${i}: gap`))
  t.strictSame(ledger.faults(), none)
})
