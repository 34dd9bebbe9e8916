// Redis runs on, but loses data: keys of one kind, or everything.
import t from 'tap'
import { Cluster, TARGETS } from '../../support/cluster.js'
import { none } from '../../support/ledger.js'
import { RedisServer, withoutRedis } from '../../support/redis-server.js'

/** What is lost, and whether a new epoch must begin because the order can't be trusted without it. */
const LOSSES: ReadonlyArray<readonly [what: string, ends: boolean]> = [
  ['everything', true],
  ['{sse}:meta', true],
  ['{sse}:log', true],
  ['{sse}:last:*', true],
  ['{sse}:h:*', false],
  ['{sse}:publisher:*', false],
  ['{sse}:key:*', false],
  ['{sse}:leases', false],
  ['{sse}:present:*', false]
]

t.test('loss of data', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const client = redis.connect(t)
  const cluster = await Cluster.start(t, 2, { broker: { url: redis.url } })
  const { ledger, readers, instances: [first, second] } = cluster
  await cluster.connect(10)

  async function lose (what: string): Promise<void> {
    if (what === 'everything') await client.flushall()
    else for (const key of await client.keys(what)) await client.del(key)
  }

  let gaps = 0
  for (const [what, ends] of LOSSES) {
    for (const load of [true, false]) {
      const name = `${what} is lost ${load ? 'while publishing goes on' : 'while nothing is published'}: ${ends ? 'every client is told once' : 'no client loses anything'}`
      await t.test(name, async t => {
        // An event in doubt that has a key is published again. If Redis has lost the keys, that may store the event twice.
        const keyed = what !== 'everything' && what !== '{sse}:key:*'
        const begin = (part: string): void => {
          first!.publish({ name: `with keys ${part} ${name}`, burst: 5, targets: TARGETS, keyed })
          second!.publish({ name: `without ${part} ${name}`, burst: 5, targets: TARGETS })
        }
        const finish = async (part: string): Promise<void> => {
          await first!.finish(`with keys ${part} ${name}`)
          await second!.finish(`without ${part} ${name}`)
        }
        const epochs = ledger.epochs.size
        begin('before')
        await ledger.untilAcknowledged(ledger.acknowledged.size + 200)
        if (!load) {
          await finish('before')
          await cluster.settled()
        }
        await lose(what)
        if (ends) gaps++
        if (!load) {
          await Promise.all(readers.map(async reader => await reader.until(() => reader.count('gap') >= gaps)))
          begin('behind')
        }
        await ledger.untilAcknowledged(ledger.acknowledged.size + 200)
        await finish(load ? 'before' : 'behind')
        await cluster.settled()
        t.strictSame(readers.map(reader => reader.count('gap')), readers.map(() => gaps))
        t.equal(ledger.epochs.size, Math.max(1, epochs) + (ends ? 1 : 0))
      })
    }
  }
  // An event is in doubt if it was stored and lost before its publisher read it from the log.
  t.strictSame(ledger.rejections.filter(({ p, inDoubt }) => inDoubt === false || !p.includes('told once')), [])
  t.strictSame(ledger.losses.filter(loss => !loss.endsWith(': gap')), [])
  t.strictSame(ledger.faults(), none)
})

for (const what of ['{sse}:h:*', '{sse}:last:*']) {
  t.test(`a client that resumes on a fresh instance is told that it may have missed something, where ${what} is lost`, { skip: withoutRedis }, async t => {
    const redis = await RedisServer.start(t)
    const client = redis.connect(t)
    const cluster = await Cluster.start(t, 1, { broker: { url: redis.url } })
    const { ledger, instances: [first] } = cluster
    const reader = await cluster.reader({ name: 'reader', channels: ['a'] })
    for (const name of ['seen', 'missed']) {
      first!.publish({ name, count: 10, targets: [['a']] })
      await first!.done(name)
      if (name === 'seen') await reader.untilEvent('seen', 10)
      reader.end()
    }
    await first!.kill()
    await client.del(await client.keys(what))
    const fresh = await cluster.add()
    cluster.remove(first!)
    await reader.comeBack()
    fresh.publish({ name: 'behind', count: 10, targets: [['a']] })
    await reader.untilEvent('behind', 10)
    t.strictSame(ledger.losses, ['reader: lost'])
    t.strictSame(ledger.faults(), none)
  })
}

t.test('when the numbers go back while an instance was away (a replica that lagged took over), every client that saw more is told', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const client = redis.connect(t)
  const cluster = await Cluster.start(t, 2, { broker: { url: redis.url } })
  const { ledger, instances: [behind, ahead] } = cluster
  await cluster.reader({ name: 'behind', channels: ['a'], port: () => behind!.port })
  const reader = await cluster.reader({ name: 'ahead', channels: ['a'], port: () => ahead!.port })
  ahead!.publish({ name: 'kept', count: 10, window: 1, targets: [['a']] })
  await ahead!.done('kept')
  await cluster.settled()
  const number = await client.hget('{sse}:meta', 'n')
  behind!.signal('SIGSTOP')
  ahead!.publish({ name: 'lost', count: 10, window: 1, targets: [['a']] })
  await ahead!.done('lost')
  await reader.untilEvent('lost', 10)
  const entries = await client.xrevrange('{sse}:log', '+', '-', 'COUNT', 10)
  await client.multi().xdel('{sse}:log', ...entries.map(([id]) => id)).hset('{sse}:meta', 'n', number!).exec()
  behind!.signal('SIGCONT')
  behind!.publish({ name: 'new', count: 5, targets: [['a']] })
  await behind!.done('new')
  await reader.until(() => reader.count('gap') > 0)
  await cluster.settled()
  t.equal(ledger.epochs.size, 2)
  t.strictSame(ledger.faults().misnamed, [])
  t.strictSame(ledger.faults().disordered, [])
  t.strictSame(ledger.faults().twice, [])
})

t.test('when the numbers go back while an instance stood still, its clients get nothing from behind the hole before they are told', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const client = redis.connect(t)
  const cluster = await Cluster.start(t, 1, { broker: { url: redis.url } })
  const [ahead] = cluster.instances
  const reader = await cluster.reader({ name: 'ahead', channels: ['a'], port: () => ahead!.port })
  ahead!.publish({ name: 'kept', count: 10, window: 1, targets: [['a']] })
  await ahead!.done('kept')
  const number = await client.hget('{sse}:meta', 'n')
  ahead!.publish({ name: 'lost', count: 10, window: 1, targets: [['a']] })
  await ahead!.done('lost')
  await reader.untilEvent('lost', 10)
  ahead!.signal('SIGSTOP')
  const entries = await client.xrevrange('{sse}:log', '+', '-', 'COUNT', 10)
  await client.multi().xdel('{sse}:log', ...entries.map(([id]) => id)).hset('{sse}:meta', 'n', number!).exec()
  const fresh = await cluster.add()
  // More events than were lost. Events 11 to 20 were lost, the new ones are 11 to 40, and the stopped instance waits for 21.
  fresh.publish({ name: 'new', count: 30, window: 1, targets: [['a']] })
  await fresh.done('new')
  ahead!.signal('SIGCONT')
  await reader.until(() => reader.count('gap') > 0)
  const before = reader.items.slice(0, reader.items.indexOf('gap'))
  t.strictSame(before.filter(item => typeof item !== 'string' && item.p === 'new'), [])
  t.equal(reader.events.length, 20)
})
