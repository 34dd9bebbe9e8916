// Redis is frozen: its connections stay open, but it answers nothing.
import t from 'tap'
import { Cluster, TARGETS } from '../../support/cluster.js'
import { none } from '../../support/ledger.js'
import { RedisServer, withoutRedis } from '../../support/redis-server.js'

t.test('while Redis is frozen publishes fail as they say, and when it goes on nothing is missing', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const cluster = await Cluster.start(t, 2, { broker: { url: redis.url } })
  const { ledger, instances: [first, second] } = cluster
  await cluster.connect(30)
  first!.publish({ name: 'with keys', burst: 5, targets: TARGETS, keyed: true })
  second!.publish({ name: 'without', burst: 5, targets: TARGETS })
  await ledger.untilAcknowledged(500)
  redis.signal('SIGSTOP')
  // As many as both publishers leave unanswered. By then the sockets' own time limits have passed, too.
  await ledger.untilRejected(1000)
  t.ok(ledger.rejections.some(({ inDoubt }) => inDoubt))
  t.strictSame(cluster.readers.map(({ connections }) => connections), cluster.readers.map(() => 1))
  redis.signal('SIGCONT')
  await ledger.untilAcknowledged(ledger.acknowledged.size + 1000)
  await first!.finish('with keys')
  await second!.finish('without')
  await cluster.settled()
  t.ok(ledger.rejections.every(({ code }) => code === 'SSE_ERR_BROKER_UNAVAILABLE'))
  t.strictSame(ledger.losses, [])
  t.strictSame(ledger.faults(), none)
})
