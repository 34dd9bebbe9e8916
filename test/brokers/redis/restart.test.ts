// Redis is killed and comes back with all of its data, or with an older copy.
import t from 'tap'
import { Cluster, TARGETS } from '../../support/cluster.js'
import { none } from '../../support/ledger.js'
import { RedisServer, withoutRedis } from '../../support/redis-server.js'

/** Redis hands each write to the system before it answers, so a kill loses nothing. With `everysec`, a busy disk may delay it. */
const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'no']

t.test('when Redis is killed and comes back with its append-only file, nothing is lost and nothing comes twice', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t, ...DURABLE)
  const cluster = await Cluster.start(t, 2, { broker: { url: redis.url } })
  const { ledger, instances: [first, second] } = cluster
  await cluster.connect(20)
  first!.publish({ name: 'with keys', burst: 10, targets: TARGETS, keyed: true })
  second!.publish({ name: 'without', burst: 10, targets: TARGETS })
  for (let i = 0; i < 3; i++) {
    await ledger.untilAcknowledged(ledger.acknowledged.size + 500)
    await redis.kill()
    await redis.run()
  }
  await ledger.untilAcknowledged(ledger.acknowledged.size + 500)
  await first!.finish('with keys')
  await second!.finish('without')
  await cluster.settled()
  t.strictSame(ledger.losses, [])
  t.strictSame(ledger.faults(), none)
  t.ok((await first!.stats()).broker!.reconnects > 0)
})

t.test('while Redis is away for long publishing is refused, and what is refused never comes', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t, ...DURABLE)
  const cluster = await Cluster.start(t, 2, { broker: { url: redis.url, publishTimeout: 300 } })
  const { ledger, instances: [first, second] } = cluster
  await cluster.connect(20)
  first!.publish({ name: 'with keys', burst: 5, targets: TARGETS, keyed: true })
  second!.publish({ name: 'without', burst: 5, targets: TARGETS })
  for (let i = 0; i < 3; i++) {
    await ledger.untilAcknowledged(ledger.acknowledged.size + 300)
    await redis.kill()
    await ledger.untilRejected(ledger.rejections.length + 50)
    // A busy instance may reject events before it notices that the connection is gone.
    while ((await first!.stats()).broker!.state !== 'unavailable');
    await redis.run()
  }
  await ledger.untilAcknowledged(ledger.acknowledged.size + 300)
  await first!.finish('with keys')
  await second!.finish('without')
  await cluster.settled()
  t.ok(ledger.rejections.some(({ inDoubt }) => inDoubt === false))
  t.ok(ledger.rejections.every(({ code }) => code === 'SSE_ERR_BROKER_UNAVAILABLE'))
  t.strictSame(ledger.losses, [])
  t.strictSame(ledger.faults(), none)
})

for (const load of [true, false]) {
  const when = load ? 'while publishing goes on' : 'while nothing is published'
  t.test(`when Redis comes back from an older copy ${when}, every client is told once, and a new epoch begins`, { skip: withoutRedis }, async t => {
    const redis = await RedisServer.start(t, ...DURABLE)
    const cluster = await Cluster.start(t, 3, { broker: { url: redis.url } })
    const { ledger, instances: [first, second] } = cluster
    await cluster.connect(30)
    const begin = (part: string): void => {
      for (const [i, instance] of [first!, second!].entries()) instance.publish({ name: `publisher ${i} ${part}`, burst: 5, targets: TARGETS })
    }
    const finish = async (part: string): Promise<void> => {
      for (const [i, instance] of [first!, second!].entries()) await instance.finish(`publisher ${i} ${part}`)
    }
    begin('before')
    await ledger.untilAcknowledged(500)
    redis.copy()
    await ledger.untilAcknowledged(1000)
    if (!load) {
      await finish('before')
      await cluster.settled()
    }
    await redis.kill()
    redis.restore()
    await redis.run()
    if (!load) {
      await Promise.all(cluster.readers.map(async reader => await reader.until(() => reader.count('gap') > 0)))
      begin('behind')
    }
    await ledger.untilAcknowledged(ledger.acknowledged.size + 500)
    await finish(load ? 'before' : 'behind')
    await cluster.settled()
    t.strictSame(ledger.losses.toSorted(), cluster.readers.map(({ name }) => `${name}: gap`).toSorted())
    t.equal(ledger.epochs.size, 2)
    t.strictSame(ledger.faults(), none)
  })
}
