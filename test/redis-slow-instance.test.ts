// One instance of several stands still for a while: what it has not read grows, and clients come to it that are ahead.
import t from 'tap'
import { Cluster, TARGETS } from './support/cluster.js'
import { none } from './support/ledger.js'
import { RedisServer, withoutRedis } from './support/redis-server.js'

t.test('an instance that fell behind catches up, and clients that come to it from others get nothing twice', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
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
    // One entry each: more than are read at once.
    const name = `one by one ${round}`
    quick!.publish({ name, count: 600, window: 1, targets: [['a']] })
    await quick!.done(name)
    await Promise.all(movers.map(async mover => await mover.untilEvent(name, 600)))
    port = slow!.port
    for (const mover of movers) mover.cut()
    slow!.signal('SIGCONT')
    // It computes at times, too.
    slow!.hold(300)
    await Promise.all(movers.map(async mover => await mover.until(() => mover.connections === 2 * round + 1)))
  }
  await slow!.finish('slow')
  await cluster.settled()
  t.strictSame(ledger.rejections, [])
  t.strictSame(ledger.losses, [])
  t.strictSame(ledger.faults(), none)
})
