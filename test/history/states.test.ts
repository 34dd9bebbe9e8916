// States: of all events with a key, the history keeps only the newest.
import type { Socket } from 'node:net'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import {
  keyed, SSE_ERR_INVALID_CHANNEL, SSE_ERR_INVALID_DATA, SSE_ERR_INVALID_EVENT_NAME, SSE_ERR_INVALID_OPTION, SSE_ERR_UNKNOWN_EVENT, type Broker,
  type BrokerSink, type SSEPublishOptions, type SSEState
} from '../../lib/index.js'
import { MemoryBroker } from '../../lib/brokers/memory.js'
import { buildApp } from '../support/app.js'
import { opener, received, receivedNames, type Open, type OpenStream } from '../support/open.js'

const Price = Type.Object({ symbol: Type.String(), price: Type.Number() })

/** The events of a stream, each as its name and data. */
async function said (stream: OpenStream): Promise<string[]> {
  return (await received(stream)).map(({ event, data }) => `${event} ${JSON.parse(data)}`)
}

/** What a client gets that connects now, and whether it is told that nothing is missing. */
async function resumed (open: Open, channels: string | string[], lastEventId: string | null): Promise<{ recovered: boolean, events: string[] }> {
  const stream = await open(channels, lastEventId === null ? {} : { lastEventId })
  const events = await said(stream)
  return { recovered: JSON.parse(stream.raw.events[0]!.data).recovered, events }
}

/** Publishes states of channel "a", each as "key=value", and resolves with the last id. Without a value, the state is removed. */
async function state (app: FastifyInstance, ...states: string[]): Promise<string> {
  let id = ''
  for (const one of states) {
    const [key, value] = one.split('=') as [string, string?]
    id = (await app.sse.toChannel('a', 'price', value === undefined ? null : one, value === undefined ? { key, remove: true } : { key })).id!
  }
  return id
}

/** Moves the clock forward. */
function later (t: Test, milliseconds: number): void {
  const { now } = performance
  t.teardown(() => { performance.now = now })
  performance.now = () => now.call(performance) + milliseconds
}

t.test('a new client gets the newest event of each key in the order of their ids, and then live events', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await state(app, 'x=1', 'y=1', 'z=1', 'x=2', 'y=2', 'x=3')
  const stream = await open('a')
  t.same(await said(stream), ['price z=1', 'price y=2', 'price x=3'])
  await state(app, 'z=2', 'x=4', 'x=5')
  t.same((await said(stream)).slice(3), ['price z=2', 'price x=4', 'price x=5'], 'live, every one of them')
  t.equal(app.sse.stats().historyEvents, 3)
})

t.test('events without a key are kept as usual, between those with a key', async t => {
  const app = await buildApp(t, { historySize: 2 })
  const open = await opener(t, app)
  await state(app, 'x=1')
  for (const n of [1, 2, 3]) await app.sse.toChannel('a', 'news', n)
  await state(app, 'y=1', 'x=2')
  await app.sse.toChannel('a', 'news', 4)
  await state(app, 'x=3', 'y=2')
  t.same((await resumed(open, 'a', null)).events, ['news 3', 'news 4', 'price x=3', 'price y=2'])
})

t.test('a client that comes back gets the newest event of each changed key, and nothing is missing', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const begin = await state(app, 'x=1', 'y=1')
  const middle = await state(app, 'z=1', 'x=2')
  const end = await state(app, 'x=3', 'z=2', 'x=4')
  t.same(await resumed(open, 'a', begin), { recovered: true, events: ['price z=2', 'price x=4'] })
  t.same(await resumed(open, 'a', middle), { recovered: true, events: ['price z=2', 'price x=4'] })
  t.same(await resumed(open, 'a', end), { recovered: true, events: [] })
})

t.test('historySize limits keys, events without a key and removals separately', async t => {
  const app = await buildApp(t, { historySize: 2 })
  const open = await opener(t, app)
  const first = await state(app, 'gone=1')
  const second = await state(app, 'x=1', 'y=1', 'x=2')
  for (const n of [1, 2]) await app.sse.toChannel('a', 'news', n)
  await state(app, 'y=2')
  t.same((await resumed(open, 'a', null)).events, ['price x=2', 'news 1', 'news 2', 'price y=2'])
  t.same(await resumed(open, 'a', first), { recovered: true, events: ['price x=2', 'news 1', 'news 2', 'price y=2'] }, 'it has had "gone"')
  await state(app, 'z=1')
  t.same(await resumed(open, 'a', first), { recovered: false, events: ['news 1', 'news 2', 'price y=2', 'price z=1'] }, 'x is a key too many')
  t.same(await resumed(open, 'a', second), { recovered: true, events: ['news 1', 'news 2', 'price y=2', 'price z=1'] }, 'who has had its newest lacks nothing')
  t.equal(app.sse.stats().historyEvents, 4)
  await app.sse.toChannel('a', 'news', 3)
  t.equal((await resumed(open, 'a', second)).recovered, false, 'events without a key are lost by their own count')
})

t.test('nothing is missing only for a client that has had all removed events', async t => {
  const app = await buildApp(t, { historySize: 1 })
  const open = await opener(t, app)
  const ids = [await state(app, 'x=1'), await state(app, 'x=2'), await state(app, 'y=1'), await state(app, 'y=2')]
  t.same(await Promise.all(ids.map(async id => (await resumed(open, 'a', id)).recovered)), [false, true, true, true])
  t.equal((await resumed(open, 'a', 'foreign')).recovered, false)
  t.equal((await resumed(open, 'a', null)).recovered, false)
})

t.test('the removal of a state is sent to connected clients and to those that come back, but not to new ones', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const present = await open('a')
  const before = await state(app, 'x=1', 'y=1')
  const removed = await state(app, 'x')
  t.same(await said(present), ['price x=1', 'price y=1', 'price null'])
  t.match((await received(present))[2], { id: removed, event: 'price', data: 'null' })
  t.same(await resumed(open, 'a', null), { recovered: false, events: ['price y=1'] })
  t.same(await resumed(open, 'a', 'foreign'), { recovered: false, events: ['price y=1'] })
  t.same(await resumed(open, 'a', before), { recovered: true, events: ['price null'] })
  t.same(await resumed(open, 'a', removed), { recovered: true, events: [] })
  t.equal(app.sse.stats().historyEvents, 1, 'what removes a state is no event of the history')
  t.same((await app.sse.state('a', 'price')).map(({ key }) => key), ['y'])
})

t.test('a state that is published again after its removal is sent to all clients, and the removal to none', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const before = await state(app, 'x=1')
  await state(app, 'x', 'x', 'y=1', 'x=2')
  t.same(await resumed(open, 'a', null), { recovered: false, events: ['price y=1', 'price x=2'] })
  t.same(await resumed(open, 'a', before), { recovered: true, events: ['price y=1', 'price x=2'] })
  t.equal(app.sse.stats().historyEvents, 2)
})

t.test('historySize limits removals as well, and a client that missed older ones is told that events are missing', async t => {
  const app = await buildApp(t, { historySize: 2 })
  const open = await opener(t, app)
  const before = await state(app, 'x=1')
  const first = await state(app, 'x')
  await state(app, 'y', 'z')
  await state(app, 'v=1', 'w=1')
  t.same(await resumed(open, 'a', before), { recovered: false, events: ['price null', 'price null', 'price v=1', 'price w=1'] })
  t.same(await resumed(open, 'a', first), { recovered: true, events: ['price null', 'price null', 'price v=1', 'price w=1'] })
  t.same((await resumed(open, 'a', null)).events, ['price v=1', 'price w=1'])
})

t.test('a removal may have data, and is delivered as it is', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open('a')
  await app.sse.toChannel('a', 'price', { reason: 'delisted' }, { key: 'x', remove: true })
  await app.sse.toChannel('a', 'price', '<del/>', { key: 'x', remove: true, raw: true })
  await app.sse.toChannel('a', 'price', null, { key: 'x', remove: true, raw: true })
  t.same((await received(stream)).map(({ data }) => data), ['{"reason":"delisted"}', '<del/>', 'null'])
  t.same(await receivedNames(await open('a')), [])
})

t.test('a key belongs to one channel and one event name', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  for (const channel of ['a', 'b']) for (const name of ['bid', 'ask']) for (const n of [1, 2]) await app.sse.toChannel(channel, name, channel + n, { key: 'x' })
  await app.sse.send('bid', 'all1', { key: 'x' })
  await app.sse.send('bid', 'all2', { key: 'x' })
  await app.sse.toChannel('a', 'ask', null, { key: 'x', remove: true })
  t.same((await resumed(open, ['a', 'b'], null)).events, ['bid a2', 'bid b2', 'ask b2', 'bid all2'])
})

t.test('an event for several channels is the state of each of them', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const publish = async (channels: string[], value: number): Promise<string> => (await app.sse.toChannels(channels, 'price', value, { key: 'x' })).id!
  const first = await publish(['a', 'b'], 1)
  const second = await publish(['b', 'c'], 2)
  t.equal(app.sse.stats().historyEvents, 2)
  t.same((await resumed(open, ['a', 'b'], null)).events, ['price 1', 'price 2'], 'the state of a, and of b')
  t.same((await resumed(open, 'b', null)).events, ['price 2'])
  t.same((await resumed(open, ['b', 'c'], first)), { recovered: true, events: ['price 2'] }, 'once, though it is in both')
  await publish(['a', 'b', 'c'], 3)
  t.equal(app.sse.stats().historyEvents, 1)
  t.same((await resumed(open, ['a', 'c'], second)), { recovered: true, events: ['price 3'] })
  await app.sse.toChannels(['a', 'b'], 'price', null, { key: 'x', remove: true })
  t.equal(app.sse.stats().historyEvents, 1, 'channel c has it still')
  t.same(await Promise.all(['a', 'b', 'c'].map(async channel => (await app.sse.state(channel, 'price')).length)), [0, 0, 1])
})

t.test('a client that comes back with its client id gets the state that was sent to that id', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  for (const n of [1, 2, 3]) await app.sse.toClient('alice', 'unread', n, { key: 'inbox' })
  t.same(await said(await open([], { id: 'alice' })), ['unread 3'])
  t.same(await said(await open([], { id: 'bob' })), [])
})

t.test('a state with except is not sent to the client that set it, but to its new streams, which know no state', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const present = await open('a', { id: 'alice' })
  const begin = await state(app, 'x=0')
  await state(app, 'x=1', 'y=1')
  await app.sse.toChannel('a', 'price', 'x=2', { key: 'x', except: 'alice' })
  await app.sse.toChannel('a', 'price', null, { key: 'gone', remove: true, except: 'alice' })
  await app.sse.toChannel('a', 'news', 'of alice', { except: 'alice' })
  await state(app, 'z=1')
  t.same(await said(present), ['price x=0', 'price x=1', 'price y=1', 'price z=1'], 'live: it was she who said it')
  t.same(await resumed((channels, options) => open(channels, { ...options, id: 'alice' }), 'a', begin), { recovered: true, events: ['price y=1', 'price z=1'] })
  const all = ['price y=1', 'price x=2', 'price z=1']
  t.same(await said(await open('a', { id: 'alice' })), all, 'her second tab')
  t.same(await said(await open('a', { id: 'alice', lastEventId: 'foreign' })), all)
  t.same(await said(await open('a', { id: 'bob' })), ['price y=1', 'price x=2', 'news of alice', 'price z=1'])
})

t.test('a client that wants some event names gets the states with these names', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await state(app, 'x=1', 'x=2')
  await app.sse.toChannel('a', 'other', 'o', { key: 'x' })
  t.same(await said(await open('a', { events: ['other'] })), ['other o'])
  t.same(await said(await open('a', { events: ['price'] })), ['price x=2'])
})

t.test('the replay option works for states as for all events', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const before = await state(app, 'x=1')
  await state(app, 'y=1', 'y=2', 'x')
  t.same(await said(await open('a', { replay: 'none' })), [])
  t.same(await said(await open('a', { replay: 'missed' })), [])
  t.same(await said(await open('a', { replay: 'missed', lastEventId: before })), ['price y=2', 'price null'])
  // Without a replay, it is told whether it may have missed events.
  const recovered = async (lastEventId: string): Promise<boolean> => JSON.parse((await (await open('a', { replay: 'none', lastEventId })).raw.untilEvents(1))[0]!.data).recovered
  t.equal(await recovered(before), false)
  t.equal(await recovered(await state(app, 'y=3')), true)
})

t.test('a transient event with a key is delivered, and does not change the kept state', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open('a')
  await state(app, 'x=1')
  t.match(await app.sse.toChannel('a', 'price', 'x=2', { key: 'x', transient: true }), { id: null, recipients: 1 })
  await app.sse.toChannel('a', 'price', null, { key: 'x', transient: true, remove: true })
  t.same(await said(stream), ['price x=1', 'price x=2', 'price null'])
  t.same((await resumed(open, 'a', null)).events, ['price x=1'])
  t.equal(app.sse.stats().conflated, 0, 'a client that reads gets all')
})

t.test('with a historySize of 0 there are no states, and connected clients get everything', async t => {
  const app = await buildApp(t, { historySize: 0 })
  const open = await opener(t, app)
  const stream = await open('a')
  await state(app, 'x=1', 'x=2', 'x')
  t.same(await said(stream), ['price x=1', 'price x=2', 'price null'])
  t.same((await resumed(open, 'a', null)).events, [])
  t.same(await app.sse.state('a', 'price'), [])
  t.equal(app.sse.stats().historyBytes, 0)
})

t.test('states older than historyMaxAge are removed, and a client that missed them is told so', async t => {
  const app = await buildApp(t, { historyMaxAge: 30_000 })
  const open = await opener(t, app)
  const before = await state(app, 'y=1', 'x=1')
  const last = await state(app, 'x=2', 'y')
  later(t, 40_000)
  t.same(await app.sse.state('a', 'price'), [])
  t.same(await resumed(open, 'a', before), { recovered: false, events: [] })
  t.same(await resumed(open, 'a', last), { recovered: true, events: [] })
  await state(app, 'x=3')
  t.same((await app.sse.state('a', 'price')).map(({ data }) => data), ['x=3'])
})

t.test('nothing stays in memory of states that were replaced, removed or have expired', async t => {
  const app = await buildApp(t, { historyMaxAge: 30_000, historySize: 3 })
  for (const key of ['x', 'y', 'z', 'ä', '日']) {
    for (const n of [1, 2]) await app.sse.toChannels(['a', 'b'], 'price', n, { key })
    await app.sse.toChannel('a', 'price', 3, { key })
    await app.sse.toChannel('b', 'price', null, { key, remove: true })
    await app.sse.send('price', 'x'.repeat(100), { key, except: 'alice' })
  }
  t.equal(app.sse.stats().historyEvents, 6)
  later(t, 40_000)
  // A question removes what has expired of its own channel. The rest goes with the heartbeats.
  for (const channel of ['a', 'b', null]) await app.sse.state(channel, 'price')
  const { historyEvents, historyBytes } = app.sse.stats()
  t.same({ historyEvents, historyBytes }, { historyEvents: 0, historyBytes: 0 })
})

t.test('a state that is replaced again and again takes no more memory', async t => {
  const app = await buildApp(t)
  await state(app, 'x=100', 'y=100', 'y')
  const { historyBytes } = app.sse.stats()
  for (let n = 101; n < 200; n++) await state(app, `x=${n}`, `y=${n}`, 'y')
  // The ids grow longer.
  t.ok(app.sse.stats().historyBytes <= historyBytes + 3 * 2 * 8, `${historyBytes} bytes, then ${app.sse.stats().historyBytes}`)
})

t.test('above historyMaxBytes, the states that changed longest ago are removed first', async t => {
  const app = await buildApp(t, { historyMaxBytes: 50_000 })
  const open = await opener(t, app)
  const large = async (key: string): Promise<string> => (await app.sse.toChannel('a', 'price', key + 'x'.repeat(10_000), { key })).id!
  const first = await large('x')
  for (const key of ['y', 'z', 'x', 'x', 'v', 'w']) await large(key)
  t.ok(app.sse.stats().historyBytes <= 50_000)
  const keys = async (lastEventId?: string): Promise<string[]> => (await received(await open('a', lastEventId === undefined ? {} : { lastEventId }))).map(({ data }) => data[1]!)
  t.same(await keys(), ['z', 'x', 'v', 'w'])
  t.equal((await resumed(open, 'a', first)).recovered, false)
})

t.test('a new client gets a thousand states with one write', async t => {
  const app = await buildApp(t, { historySize: 1000 })
  const open = await opener(t, app)
  for (let n = 0; n < 3000; n++) await app.sse.toChannel('a', 'price', { symbol: `S${n % 1000}`, price: n, pad: 'x'.repeat(60) }, { key: `S${n % 1000}` })
  let writes = 0
  app.server.once('connection', (socket: Socket & { _write: Function, _writev: Function }) => {
    for (const method of ['_write', '_writev'] as const) {
      const write = socket[method]
      socket[method] = function (...args: unknown[]) {
        writes++
        return write.apply(this, args)
      }
    }
  })
  const { raw } = await open('a')
  await raw.until(() => raw.text.includes('"price":2999,'))
  t.equal(writes, 1)
  t.same(raw.events.slice(1).map(({ data }) => JSON.parse(data).price), Array.from({ length: 1000 }, (_, n) => 2000 + n))
})

t.test('more states than one write takes come in order as well, and events that are published meanwhile come after them', async t => {
  const app = await buildApp(t, { historySize: 5000 })
  const open = await opener(t, app)
  const publish = (n: number): unknown => app.sse.toChannel('a', 'price', { n, pad: 'x'.repeat(200) }, { key: `S${n % 3000}` })
  for (let n = 0; n < 4000; n++) await publish(n)
  const connected = new Promise<void>(resolve => app.sse.once('connect', () => {
    for (let n = 4000; n < 4100; n++) publish(n)
    resolve()
  }))
  const stream = await open('a')
  await connected
  const numbers = (await received(stream)).map(({ data }) => JSON.parse(data).n as number)
  const newest = new Map(numbers.map(n => [n % 3000, n]))
  t.same(numbers, [...numbers].sort((a, b) => a - b))
  t.same([...newest.values()].sort((a, b) => a - b), Array.from({ length: 3000 }, (_, n) => 1100 + n))
})

t.test('clients that connect at the same time or later share bytes, and each gets the states of its time', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await state(app, 'x=1', 'y=1')
  const [one, other] = await Promise.all([open('a'), open('a')])
  await state(app, 'x=2')
  const third = await open('a')
  await state(app, 'y')
  const fourth = await open('a')
  t.same((await said(one)).slice(0, 2), ['price x=1', 'price y=1'])
  t.same(await said(other), await said(one))
  t.same(await said(third), ['price y=1', 'price x=2', 'price null'])
  t.same(await said(fourth), ['price x=2'])
})

t.test('sse.state() gives the present states of a channel, oldest first, with ids to resume from', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await state(app, 'x=1', 'y=1', 'z=1', 'x=2', 'z')
  await app.sse.toChannel('a', 'other', 1, { key: 'x' })
  await app.sse.toChannel('a', 'price', 'without a key')
  await app.sse.toChannel('b', 'price', 'elsewhere', { key: 'x' })
  await app.sse.send('price', { of: 'all' }, { key: 'x' })
  const states = await app.sse.state('a', 'price')
  t.same(states.map(({ key, data }) => [key, data]), [['y', 'y=1'], ['x', 'x=2']])
  t.same((await app.sse.state(null, 'price')).map(({ key, data }) => [key, data]), [['x', { of: 'all' }]])
  t.same(await app.sse.state('nobody', 'price'), [])
  await state(app, 'v=1', 'y=2')
  t.same(await resumed(open, 'a', states.at(-1)!.id), { recovered: true, events: ['price null', 'other 1', 'price without a key', 'price [object Object]', 'price v=1', 'price y=2'] })
})

t.test('sse.state() gives the same states until one of them changes', async t => {
  const app = await buildApp(t, { historySize: 3 })
  const all = (): Promise<readonly SSEState[]> => app.sse.state('a', 'price')
  const what = async (): Promise<unknown> => (await all()).map(({ key, data }) => `${key} ${data}`)
  await state(app, 'x=1', 'y=1', 'z=1')
  const first = await all()
  await app.sse.toChannel('a', 'news', 1)
  await app.sse.toChannel('b', 'price', 1, { key: 'x' })
  await app.sse.toChannel('a', 'price', 1, { key: 'x', transient: true })
  const second = await all()
  t.not(second, first, 'in an array of the caller\'s')
  t.ok(second.every((state, index) => state === first[index]))
  first.slice().reverse()
  const changes: Array<[change: string, then: string[]]> = [
    ['y=2', ['x x=1', 'z z=1', 'y y=2']],
    ['y=3', ['x x=1', 'z z=1', 'y y=3']],
    ['z', ['x x=1', 'y y=3']],
    ['v', ['x x=1', 'y y=3']],
    ['z=2', ['x x=1', 'y y=3', 'z z=2']],
    ['w=1', ['y y=3', 'z z=2', 'w w=1']]
  ]
  for (const [change, then] of changes) {
    await state(app, change)
    t.same(await what(), then, change)
    t.same(await what(), then, `${change}, again`)
  }
})

t.test('sse.state() gives frozen states, because others get the same ones', async t => {
  const app = await buildApp(t)
  await app.sse.toChannel('a', 'x', { list: [{ deep: 1 }] }, { key: 'k' })
  const [state] = await app.sse.state('a', 'x') as unknown as [{ key: string, data: { list: Array<{ deep: number }> } }]
  t.throws(() => { state.key = 'other' }, TypeError)
  t.throws(() => state.data.list.push({ deep: 2 }), TypeError)
  t.throws(() => { state.data.list[0]!.deep = 2 }, TypeError)
  const states = await app.sse.state('a', 'x')
  states.length = 0
  t.same((await app.sse.state('a', 'x')).map(({ data }) => data), [{ list: [{ deep: 1 }] }])
})

t.test('sse.state() gives data of any depth', async t => {
  const app = await buildApp(t, { serializer: data => data as string })
  await app.sse.toChannel('a', 'x', '['.repeat(100_000) + ']'.repeat(100_000), { key: 'k' })
  const [{ data }] = await app.sse.state('a', 'x') as unknown as [{ data: unknown }]
  let depth = 0
  for (let inner = data; inner !== undefined; depth++) {
    if (!Object.isFrozen(inner)) break
    inner = (inner as unknown[])[0]
  }
  t.equal(depth, 100_000)
})

t.test('sse.state() gives the data as it was published', async t => {
  const app = await buildApp(t)
  const values = [null, 0, false, '', 'a\nb', [1, { a: 'ä日𝄞' }], { id: 'id: 1', data: 'data: 2' }]
  for (const [key, value] of values.entries()) await app.sse.toChannel('a', 'x', value, { key: String(key + 1), retry: 5 })
  t.strictSame((await app.sse.state('a', 'x')).map(({ data }) => data), values)
  await app.sse.toChannel('raw', 'x', '{"a":1}', { key: 'x', raw: true })
  await app.sse.toChannel('raw', 'x', '<b>\r\nid: 1\rdata: 2\n</b>', { key: 'y', raw: true })
  t.strictSame((await app.sse.state('raw', 'x')).map(({ data }) => data), ['{"a":1}', '<b>\nid: 1\ndata: 2\n</b>'], 'line breaks as LF')
})

t.test('sse.state() gives the text of a serializer, parsed if it is JSON', async t => {
  const app = await buildApp(t, { serializer: data => typeof data === 'string' ? `<${data}>` : JSON.stringify(data, null, 2) })
  await app.sse.toChannel('a', 'x', 'text', { key: 'x' })
  await app.sse.toChannel('a', 'x', { a: [1] }, { key: 'y' })
  t.strictSame((await app.sse.state('a', 'x')).map(({ data }) => data), ['<text>', { a: [1] }])
})

t.test('sse.state() refuses bad channel and event names', async t => {
  const app = await buildApp(t, { events: { price: Price } })
  await t.rejects(app.sse.state('', 'price'), SSE_ERR_INVALID_CHANNEL)
  await t.rejects(app.sse.state(undefined as never, 'price'), SSE_ERR_INVALID_CHANNEL)
  await t.rejects(app.sse.state('a', 'sse:open' as never), SSE_ERR_INVALID_EVENT_NAME)
  await t.rejects(app.sse.state('a', 1 as never), SSE_ERR_INVALID_EVENT_NAME)
  await t.rejects(app.sse.state('a', 'unknown'), SSE_ERR_UNKNOWN_EVENT)
})

t.test('sse.state() is refused if the broker can\'t load the past', async t => {
  class Failing extends MemoryBroker implements Broker {
    override start (sink: BrokerSink): void {
      super.start(sink)
      sink.skipTo(1)
    }

    async past (): Promise<never> {
      throw new Error('gone')
    }
  }
  const app = await buildApp(t, { broker: new Failing() })
  await t.rejects(app.sse.state('a', 'x'), { code: 'SSE_ERR_BROKER_UNAVAILABLE' })
})

t.test('a schema that names its key gives each event its key', async t => {
  const events = { price: keyed(Price, 'symbol'), level: keyed(Type.Object({ id: Type.Number(), is: Type.String() }), 'id'), free: Price }
  const app = await buildApp(t, { events })
  for (const price of [1, 2]) for (const symbol of ['ACME', 'EMCA']) await app.sse.toChannel('a', 'price', { symbol, price })
  t.same((await app.sse.state('a', 'price')).map(({ key, data }) => [key, data]), [['ACME', { symbol: 'ACME', price: 2 }], ['EMCA', { symbol: 'EMCA', price: 2 }]])
  for (const id of [1, -0.5, 1e21, 1]) await app.sse.toChannel('a', 'level', { id, is: 'x' })
  t.same((await app.sse.state('a', 'level')).map(({ key }) => key), ['-0.5', '1e+21', '1'])
  await app.sse.toChannel('a', 'free', { symbol: 'ACME', price: 1 })
  t.same(await app.sse.state('a', 'free'), [])
  await app.sse.toChannel('a', 'price', { symbol: 'ACME', price: 3 }, { key: 'another' })
  t.same((await app.sse.state('a', 'price')).map(({ key }) => key), ['ACME', 'EMCA', 'another'], 'a key that is given counts')
  await app.sse.toChannel('a', 'price', { symbol: 'ACME', price: 0 }, { remove: true })
  await app.sse.toChannel('a', 'price', null, { remove: true, key: 'EMCA' })
  t.same((await app.sse.state('a', 'price')).map(({ key }) => key), ['another'])
})

t.test('data without a usable key is refused if the schema names a key, and nothing is sent', async t => {
  const Maybe = Type.Object({ id: Type.Optional(Type.Union([Type.String(), Type.Number(), Type.Null()])) })
  const app = await buildApp(t, { events: { x: keyed(Maybe, 'id' as never), text: keyed(Type.Any(), 'id' as never) } })
  const refused: Array<[event: string, data: unknown, options: SSEPublishOptions, why: RegExp]> = [
    ['x', {}, {}, /"x" has no key at "\/id": it must be a string/],
    ['x', { id: null }, {}, /null/],
    ['x', { id: '' }, {}, /empty/],
    ['x', { id: 'x'.repeat(257) }, {}, /256/],
    ['x', { id: 'a\nb' }, {}, /LF/],
    ['x', null, { remove: true }, /no key/],
    ['text', 'raw', { raw: true }, /no key/],
    ['text', undefined, {}, /no key/]
  ]
  for (const [event, data, options, why] of refused) {
    const error = await app.sse.toChannel('a', event, data as never, options).then(() => null, error => error)
    t.ok(error instanceof SSE_ERR_INVALID_DATA, String(error))
    t.match(error?.message, why)
  }
  t.equal(app.sse.stats().published, 0)
  await app.sse.toChannel('a', 'x', { id: 'x'.repeat(256) })
  t.equal(app.sse.stats().published, 1)
})

t.test('keyed() refuses a key that is not a property of the object\'s schema', async t => {
  for (const property of ['sybmol', '', 'toString', undefined, 1]) {
    t.throws(() => keyed(Price, property as never), SSE_ERR_INVALID_OPTION)
    t.throws(() => keyed(Price, property as never), { message: new RegExp(String(property)) })
  }
  t.doesNotThrow(() => keyed(Type.Union([Price, Price]), 'symbol'))
})

t.test('a bad key is refused, and nothing is sent', async t => {
  const app = await buildApp(t)
  const refused: Array<[options: object, why: RegExp]> = [
    [{ remove: true }, /"remove".*key/],
    [{ key: '' }, /"key"/],
    [{ key: 1 }, /"key"/],
    [{ key: null }, /"key"/],
    [{ key: 'x'.repeat(257) }, /"key"/],
    [{ key: 'x', remove: 'yes' }, /"remove"/]
  ]
  for (const [options, why] of refused) {
    for (const call of [() => app.sse.send('x', 1, options), () => app.sse.toChannel('a', 'x', 1, options), () => app.sse.toChannels(['a'], 'x', 1, options), () => app.sse.toClient('a', 'x', 1, options)]) {
      const error = await call().then(() => null, (error: Error) => error)
      t.ok(error instanceof SSE_ERR_INVALID_OPTION, JSON.stringify(options))
      t.match(error?.message, why)
    }
  }
  t.equal(app.sse.stats().published, 0)
  await app.sse.send('x', 1, { key: 'x'.repeat(256) })
  await app.sse.send('x', 1, { key: 'x', remove: false })
  t.equal(app.sse.stats().historyEvents, 2)
})

t.test('events of client.send() have no key', async t => {
  const app = await buildApp(t, { events: { price: keyed(Price, 'symbol') } })
  const open = await opener(t, app)
  const { client, raw } = await open()
  await t.rejects(client.send('price', { symbol: 'x', price: 1 }, { key: 'x' } as object), SSE_ERR_INVALID_OPTION)
  for (const price of [1, 2]) await client.send('price', { symbol: 'x', price })
  t.same((await raw.untilEvents(3)).slice(1).map(({ data }) => JSON.parse(data).price), [1, 2])
})

t.test('a publish that is repeated with its idempotency key sets the state once', async t => {
  const app = await buildApp(t)
  const { id } = await app.sse.toChannel('a', 'price', 1, { key: 'x', idempotencyKey: 'one' })
  await app.sse.toChannel('a', 'price', 2, { key: 'x' })
  t.equal((await app.sse.toChannel('a', 'price', 1, { key: 'x', idempotencyKey: 'one' })).id, id)
  t.same((await app.sse.state('a', 'price')).map(({ data }) => data), [2])
})
