// Several hubs on one Redis, in one process. Redis works, except in the last two tests.
import Fastify from 'fastify'
import t from 'tap'
import { redisBroker, type RedisBrokerOptions } from '../../../lib/brokers/redis/index.js'
import sse, { SSE_ERR_INVALID_OPTION } from '../../../lib/index.js'
import { MemoryLog } from '../../support/memory-log.js'
import { dataOf, events, newName, opened, start } from '../../support/redis-hubs.js'
import { RedisServer, redisDatabase, withoutRedis } from '../../support/redis-server.js'

t.test('hubs over one Redis', { skip: withoutRedis }, async t => {
  const redis = await redisDatabase(t)

  await t.test('reach the clients of all instances, in one order', async t => {
    const name = newName()
    const [first, second] = await Promise.all([start(t, redis, name), start(t, redis, name)])
    const streams = await Promise.all([first, second].map(({ open }) => open(['a', 'b'])))
    const answers = await Promise.all([
      first.app.sse.toChannel('a', 'n', 1),
      second.app.sse.toChannel('b', 'n', 2),
      first.app.sse.toChannels(['a', 'b'], 'n', 3),
      second.app.sse.send('n', 4),
      first.app.sse.send('n', 5, { transient: true })
    ])
    t.match(answers.map(({ recipients }) => recipients), [1, 1, 1, 1, 1])
    t.equal(answers[4]!.id, null)
    const [one, two] = await Promise.all(streams.map(stream => events(stream, 5)))
    t.strictSame(one, two)
    t.same(new Set(one!.map(({ id }) => id)), new Set(answers.map(({ id }) => id ?? undefined)))
  })

  await t.test('reach a client wherever it is, and leave out who is left out', async t => {
    const name = newName()
    const [first, second] = await Promise.all([start(t, redis, name), start(t, redis, name)])
    const alice = await second.open([], { id: 'alice' })
    const bob = await second.open([], { id: 'bob' })
    await first.app.sse.toClient('alice', 'n', 'for alice')
    await first.app.sse.send('n', 'not for alice', { except: 'alice' })
    await first.app.sse.send('n', 'for all')
    t.same(await dataOf(alice, 2), ['for alice', 'for all'])
    t.same(await dataOf(bob, 2), ['not for alice', 'for all'])
  })

  await t.test('resume a client on another instance, also on one that has just started, and for a quiet channel beside a busy one', async t => {
    const name = newName()
    const first = await start(t, redis, name, { historySize: 20 })
    const stream = await first.open(['quiet', 'busy'])
    await first.app.sse.toChannel('quiet', 'n', 'seen')
    const id = (await events(stream, 1))[0]!.id!
    stream.raw.destroy()
    for (let i = 0; i < 3; i++) await first.app.sse.toChannel('quiet', 'n', i)
    for (let i = 0; i < 500; i++) first.app.sse.toChannel('busier', 'n', i)
    await first.app.sse.toChannels(['quiet', 'busy'], 'n', 'both')

    const second = await start(t, redis, name, { historySize: 20 })
    const again = await Promise.all([first, second].map(({ open }) => open(['quiet', 'busy'], {}, { 'last-event-id': id })))
    for (const stream of again) await events(stream, 4)
    await first.app.sse.toChannel('busy', 'n', 'live')
    for (const stream of again) {
      t.same(await dataOf(stream, 5), [0, 1, 2, 'both', 'live'])
      t.equal(opened(stream).recovered, true)
    }
    const lossy = await second.open(['busier'], {}, { 'last-event-id': id })
    t.equal((await dataOf(lossy, 20))[0], 480, 'what is kept')
    t.equal(opened(lossy).recovered, false)
    const nothing = await second.open(['never used'], {}, { 'last-event-id': id })
    await second.app.sse.toChannel('never used', 'n', 1)
    await events(nothing, 1)
    t.equal(opened(nothing).recovered, true)
  })

  await t.test('give a new client on a new instance what is kept, once for all who ask', async t => {
    const name = newName()
    const first = await start(t, redis, name)
    for (let i = 0; i < 60; i++) first.app.sse.toChannel('room', 'n', i)
    await first.app.sse.send('n', 'to all')
    const second = await start(t, redis, name)
    const reads: string[] = []
    const monitor = await redis.connect(t).monitor()
    t.teardown(() => monitor.disconnect())
    monitor.on('monitor', (_time: string, [command, key]: string[]) => { if (command === 'xrange' && key!.includes(name)) reads.push(key!) })
    const streams = await Promise.all(Array.from({ length: 20 }, () => second.open('room')))
    for (const stream of streams) t.same(await dataOf(stream, 51), [...Array.from({ length: 50 }, (_, i) => i + 10), 'to all'])
    t.match(second.app.sse.stats(), { historyEvents: 51 })
    t.ok(reads.length > 0)
    t.strictSame(reads, [...new Set(reads)], 'no history is read twice')
  })

  await t.test('hold a client that is ahead of its instance until that has caught up', async t => {
    const name = newName()
    const client = redis.connect(t)
    const readers = async (): Promise<string[]> => (await client.client('LIST') as string).split('\n').filter(line => line.includes(` db=${redis.db} `) && line.includes('cmd=xread')).map(line => /id=(\d+)/.exec(line)![1]!)
    const first = await start(t, redis, name)
    const stream = await first.open('room')
    const before = await readers()
    const second = await start(t, redis, name)
    let reader: string | undefined
    while (reader === undefined) reader = (await readers()).find(id => !before.includes(id))
    // The second instance must connect again before it reads on.
    await client.client('KILL', 'ID', reader)
    await first.app.sse.toChannel('room', 'n', 1)
    const id = (await events(stream, 1))[0]!.id!
    const again = await second.open('room', {}, { 'last-event-id': id })
    await first.app.sse.toChannel('room', 'n', 2)
    t.same(await dataOf(again, 1), [2])
    t.equal(opened(again).recovered, true)
  })

  await t.test('take no made-up or foreign id for a place', async t => {
    const name = newName()
    const { app, open } = await start(t, redis, name)
    const { id } = await app.sse.send('n', 1)
    const [epoch, n, time] = id.split('.') as [string, string, string]
    for (const forged of [`${epoch}.${Number(n) + 1000}.${time}`, `AAAAAAAA.${n}.${time}`, `${epoch}.${n}`, `${epoch}.-1.${time}`, `${epoch}.${n}.0`, 'x']) {
      const stream = await open([], {}, { 'last-event-id': forged })
      t.same(await dataOf(stream, 1), [1], forged)
      t.equal(opened(stream).recovered, false, forged)
    }
    const stream = await open([], {}, { 'last-event-id': id })
    await app.sse.send('n', 2)
    t.same(await dataOf(stream, 1), [2])
  })

  await t.test('store what is published with a key once, whichever instance is asked', async t => {
    const name = newName()
    const [first, second] = await Promise.all([start(t, redis, name), start(t, redis, name)])
    const stream = await first.open()
    const answers = []
    for (const { app } of [first, second, first]) answers.push(await app.sse.send('n', 1, { idempotencyKey: 'a key' }))
    const mixed = await Promise.all([second.app.sse.send('n', 2), second.app.sse.send('n', 1, { idempotencyKey: 'a key' }), second.app.sse.send('n', 3)])
    t.same(await dataOf(stream, 3), [1, 2, 3])
    t.equal(new Set([...answers, mixed[1]].map(({ id }) => id)).size, 1)
    const ids = (await events(stream, 3)).map(({ id }) => id)
    t.same([answers[0]!.id, mixed[0].id, mixed[2].id], ids)
  })

  await t.test('share nothing with a hub of another name', async t => {
    const [one, other] = await Promise.all([start(t, redis, newName()), start(t, redis, newName())])
    const [ones, others] = await Promise.all([one.open('room'), other.open('room')])
    await one.app.sse.toChannel('room', 'n', 1)
    await other.app.sse.toChannel('room', 'n', 2)
    t.same(await dataOf(ones, 1), [1])
    t.same(await dataOf(others, 1), [2])
    t.same(await one.app.sse.presence('room'), [{ clientId: ones.client.id, metadata: {}, instance: (await one.app.sse.presence('room'))[0]!.instance }])
  })

  await t.test('skip and count what somebody else writes to the log', async t => {
    const name = newName()
    const { app, open } = await start(t, redis, name)
    const stream = await open()
    const client = redis.connect(t)
    for (const fields of [['x', '1'], ['e', 'AAAAAAAA', 'n', '1', 't', '1', 'b', '[[]]'], ['e', 'AAAAAAAA', 'n', '1', 't', '1', 'b', 'no json'], ['b', '[]']]) {
      await app.sse.send('n', 1)
      await client.xadd(`{${name}}:log`, '*', ...fields)
    }
    // Each of these entries got an id after the broker's newest one. The broker must publish all the same.
    await app.sse.send('n', 2)
    t.same(await dataOf(stream, 5), [1, 1, 1, 1, 2])
    t.equal(app.sse.stats().broker!.malformed, 4)
  })

  await t.test('say how the broker is', async t => {
    const { app } = await start(t, redis, newName())
    t.match(app.sse.stats().broker, { state: 'ready', reconnects: 0, publishFailures: 0, malformed: 0, lag: 0, roundTrip: Number })
  })

  await t.test('options are checked', async t => {
    for (const options of [{}, { url: redis.url, client: {} }, { url: redis.url, streams: 'x' }, { url: redis.url, stream: 'a{b}' }, { client: {} }, { url: 'nonsense' }, { url: 'http://127.0.0.1' }]) {
      t.throws(() => redisBroker(options as RedisBrokerOptions), SSE_ERR_INVALID_OPTION)
    }
  })

  await t.test('a Redis that does not answer rejects register() with the reason, which is logged once', async t => {
    const log = new MemoryLog()
    const app = Fastify({ loggerInstance: log.logger })
    t.teardown(() => app.close())
    await t.rejects((async () => { await app.register(sse, { broker: redisBroker({ url: 'redis://127.0.0.1:1', publishTimeout: 300 }) }) })(),
      { code: 'SSE_ERR_BROKER_UNAVAILABLE', message: /ECONNREFUSED 127\.0\.0\.1:1/, cause: { code: 'ECONNREFUSED' } })
    t.equal(log.lines.filter(({ msg }) => msg === 'Redis failed').length, 1)
  })
})

t.test('an app closes, and its process can end, with a Redis that is gone', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const { app, open } = await start(t, redis, newName(), { closeTimeout: 100 })
  const stream = await open('room')
  await redis.kill()
  app.sse.send('n', 1).catch(() => {})
  await app.close()
  await stream.raw.untilClosed()
  await t.rejects(app.sse.send('n', 2), { code: 'SSE_ERR_CLOSED' })
})
