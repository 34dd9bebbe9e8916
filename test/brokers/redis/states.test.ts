// States over Redis: every instance has the newest state of each key, even if it starts late.
import t from 'tap'
import { Keys, STATES } from '../../../lib/brokers/redis/keys.js'
import { dataOf, events, newName, recovered, start } from '../../support/redis-hubs.js'
import { RedisServer, redisDatabase, withoutRedis } from '../../support/redis-server.js'

t.test('states over Redis', { skip: withoutRedis }, async t => {
  const redis = await redisDatabase(t)
  const client = redis.connect(t)
  /** The names of a hub's Redis keys in its epoch. */
  async function namesOf (hub: string): Promise<{ states: string, order: string, last: string }> {
    const keys = new Keys(hub)
    const epoch = await client.hget(keys.meta, 'e') as string
    return { states: keys.states(epoch), order: keys.orders(epoch), last: keys.last(epoch) }
  }

  await t.test('are the same on an instance that was there and on one that comes later, in the order of their last change', async t => {
    const name = newName()
    const first = await start(t, redis, name)
    for (let round = 0; round < 3; round++) {
      for (const key of ['a', 'b', 'c']) await first.app.sse.toChannel('prices', 'price', `${key}${round}`, { key })
    }
    await first.app.sse.toChannel('prices', 'price', 'a3', { key: 'a' })
    const second = await start(t, redis, name)
    for (const { open, app } of [first, second]) {
      t.same(await dataOf(await open('prices'), 3), ['b2', 'c2', 'a3'])
      t.same((await app.sse.state('prices', 'price')).map(({ key, data }) => [key, data]), [['b', 'b2'], ['c', 'c2'], ['a', 'a3']])
    }
    await second.app.sse.toChannel('prices', 'price', 'b3', { key: 'b' })
    t.same((await second.app.sse.state('prices', 'price')).map(({ data }) => data), ['c2', 'a3', 'b3'])
    t.same(await second.app.sse.state('prices', 'other'), [])
  })

  await t.test('outlive what the history is cut to, and count apart from what has no key', async t => {
    const name = newName()
    const first = await start(t, redis, name, { historySize: 4 })
    for (const key of ['a', 'b']) await first.app.sse.toChannels(['prices', 'more'], 'price', key, { key })
    for (let n = 0; n < 40; n++) await first.app.sse.toChannel('prices', 'n', n)
    for (let n = 0; n < 40; n++) await first.app.sse.toChannel('prices', 'price', `c${n}`, { key: 'c' })
    const second = await start(t, redis, name, { historySize: 4 })
    for (const { open } of [first, second]) {
      t.same(await dataOf(await open('prices'), 7), ['a', 'b', 36, 37, 38, 39, 'c39'])
      t.same(await dataOf(await open(['more', 'prices']), 7), ['a', 'b', 36, 37, 38, 39, 'c39'], 'once, though two channels have them')
    }
  })

  await t.test('give one who comes back to another instance what has changed, and have lost nothing', async t => {
    const name = newName()
    const first = await start(t, redis, name, { historySize: 5 })
    for (const key of ['a', 'b', 'c']) await first.app.sse.toChannel('prices', 'price', `${key}0`, { key })
    const id = (await events(await first.open('prices'), 3))[1]!.id!
    for (let n = 1; n < 30; n++) await first.app.sse.toChannel('prices', 'price', `b${n}`, { key: 'b' })
    await first.app.sse.toChannel('prices', 'price', null, { key: 'a', remove: true })
    await first.app.sse.toChannel('prices', 'price', null, { key: 'x', remove: true })
    await first.app.sse.toChannel('prices', 'price', 'x', { key: 'x' })
    const second = await start(t, redis, name, { historySize: 5 })
    for (const { open } of [first, second]) {
      const again = await open('prices', {}, { 'last-event-id': id })
      t.same(await dataOf(again, 4), ['c0', 'b29', null, 'x'])
      t.equal(await recovered(again), true)
      t.same(await dataOf(await open('prices'), 3), ['c0', 'b29', 'x'], 'who is new is not told of what is gone')
    }
    await first.app.sse.toChannel('prices', 'price', null, { key: 'b', remove: true })
    await second.app.sse.toChannel('prices', 'done', null, { transient: true })
    t.same((await second.app.sse.state('prices', 'price')).map(({ key }) => key), ['c', 'x'])
    t.same((await first.app.sse.state('prices', 'price')).map(({ key }) => key), ['c', 'x'])
  })

  await t.test('go oldest first where there are more keys than are kept, and that is told', async t => {
    const name = newName()
    const first = await start(t, redis, name, { historySize: 3 })
    await first.app.sse.toChannel('prices', 'price', 'seen', { key: 'seen' })
    const id = (await events(await first.open('prices'), 1))[0]!.id!
    for (const key of ['a', 'b', 'c']) await first.app.sse.toChannel('prices', 'price', key, { key })
    const second = await start(t, redis, name, { historySize: 3 })
    t.equal(await recovered(await second.open('prices', {}, { 'last-event-id': id })), true, 'what went was seen')
    await first.app.sse.toChannel('prices', 'price', 'd', { key: 'd' })
    const third = await start(t, redis, name, { historySize: 3 })
    for (const { open } of [first, second, third]) {
      const again = await open('prices', {}, { 'last-event-id': id })
      t.same(await dataOf(again, 3), ['b', 'c', 'd'])
      t.equal(await recovered(again), false)
    }
    const { states, order } = await namesOf(name)
    t.equal(await client.hlen(`${states}prices`), 4)
    t.equal(await client.zcard(`${order}prices`), 3)
  })

  for (const [what, spoil] of [
    ['all of them', async (states: string) => await client.del(states)],
    ['one of them', async (states: string) => await client.hdel(states, 'price\na')],
    ['what says how many', async (states: string) => await client.hdel(states, '\0')],
    ['one that is none', async (states: string) => await client.hset(states, 'price\na', 'nothing')],
    ['another kind of key', async (states: string) => {
      await client.del(states)
      await client.set(states, 'x')
    }]
  ] as Array<[string, (states: string) => Promise<unknown>]>) {
    await t.test(`are not taken for whole where somebody spoilt ${what}`, async t => {
      const name = newName()
      const first = await start(t, redis, name)
      await first.app.sse.toChannel('prices', 'price', 'seen', { key: 'seen' })
      const id = (await events(await first.open('prices'), 1))[0]!.id!
      for (const key of ['a', 'b']) await first.app.sse.toChannel('prices', 'price', key, { key })
      await spoil((await namesOf(name)).states + 'prices')
      const second = await start(t, redis, name)
      t.equal(await recovered(await second.open('prices', {}, { 'last-event-id': id })), false)
      t.equal(await recovered(await first.open('prices', {}, { 'last-event-id': id })), true, 'this one has them in memory')
      await first.app.sse.toChannel('prices', 'price', 'c', { key: 'c' })
      const third = await start(t, redis, name)
      const again = await third.open('prices', {}, { 'last-event-id': id })
      t.equal(await recovered(again), false)
      t.equal((await events(again, 1)).some(({ data }) => data === '"seen"'), false)
      t.ok((await third.app.sse.state('prices', 'price')).some(({ key }) => key === 'c'))
    })
  }

  await t.test('are written anew where their order is gone or is something else', async t => {
    const name = newName()
    const first = await start(t, redis, name)
    const { order, last } = await namesOf(name)
    for (const key of ['a', 'b']) {
      await first.app.sse.toChannel('prices', 'price', key, { key })
      await client.set(`${order}prices`, 'x')
    }
    t.equal(await client.zscore(last, `prices${STATES}`), '2')
    const second = await start(t, redis, name)
    t.same((await second.app.sse.state('prices', 'price')).map(({ key }) => key), ['b'])
  })

  await t.test('are stored once where they are published again, and carry what they were published with', async t => {
    const name = newName()
    const first = await start(t, redis, name)
    const once = await first.app.sse.toChannel('prices', 'price', '<b>1</b>', { key: 'a', raw: true, idempotencyKey: 'one' })
    await first.app.sse.toChannel('prices', 'price', '<b>2</b>', { key: 'a', raw: true, compress: false })
    const again = await first.app.sse.toChannel('prices', 'price', '<b>1</b>', { key: 'a', raw: true, idempotencyKey: 'one' })
    t.equal(again.id, once.id)
    const second = await start(t, redis, name)
    for (const { app } of [first, second]) t.match(await app.sse.state('prices', 'price'), [{ key: 'a', data: '<b>2</b>' }])
  })

  await t.test('can\'t be told while Redis is away and this instance has none', async t => {
    const own = await RedisServer.start(t)
    const first = await start(t, own, 'away')
    await first.app.sse.toChannel('prices', 'price', 'a', { key: 'a' })
    const second = await start(t, own, 'away')
    await own.kill()
    await t.rejects(second.app.sse.state('prices', 'price'), { code: 'SSE_ERR_BROKER_UNAVAILABLE' })
    t.match(await first.app.sse.state('prices', 'price'), [{ key: 'a' }], 'one that was there has it')
  })
})
