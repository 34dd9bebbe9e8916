// What the hub says of its clients, channels and counters, and the events that it emits.
import { once } from 'node:events'
import t from 'tap'
import type { SSEClient, SSEDisconnectReason } from '../../lib/index.js'
import { buildApp } from '../support/app.js'
import { opener, received, receivedNames } from '../support/open.js'

t.test('a hub without clients says so', async t => {
  const app = await buildApp(t)
  t.equal(app.sse.client('nobody'), undefined)
  t.strictSame(app.sse.clients(), [])
  t.strictSame(app.sse.channelClients('none'), [])
  t.strictSame(app.sse.channels(), [])
  t.equal(app.sse.clientCount(), 0)
  t.equal(app.sse.clientCount('none'), 0)
  t.equal(app.sse.cleanupDisconnected(), 0)
})

t.test('the hub knows its clients, their order and their channels', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { client: a } = await open(['x', 'y'], { id: 'a' })
  const { client: b } = await open('y', { id: 'b' })
  const { client: c } = await open([], { id: 'c' })
  const same = (found: unknown[], expected: SSEClient[], message: string): void => {
    t.equal(found.length, expected.length, message)
    found.forEach((client, index) => t.equal(client, expected[index], message))
  }
  same(app.sse.clients(), [a, b, c], 'clients()')
  same(app.sse.channelClients('x'), [a], 'channelClients(x)')
  same(app.sse.channelClients('y'), [a, b], 'channelClients(y)')
  t.equal(app.sse.client('b'), b)
  t.strictSame(app.sse.channels(), [{ name: 'x', count: 1 }, { name: 'y', count: 2 }])
  t.equal(app.sse.clientCount(), 3)
  t.equal(app.sse.clientCount('x'), 1)
  t.equal(app.sse.clientCount('y'), 2)
  t.equal(app.sse.clientCount('z'), 0)
})

t.test('the hub gives copies of its lists', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await open('x')
  app.sse.clients().pop()
  app.sse.channelClients('x').pop()
  app.sse.channels().pop()
  app.sse.channels()[0]!.count = 99
  t.equal(app.sse.clients().length, 1)
  t.equal(app.sse.channelClients('x').length, 1)
  t.strictSame(app.sse.channels(), [{ name: 'x', count: 1 }])
})

t.test('the hub\'s lists show join() and leave() at once', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { client } = await open('x')
  client.join('y')
  t.strictSame(app.sse.channels(), [{ name: 'x', count: 1 }, { name: 'y', count: 1 }])
  t.equal(app.sse.channelClients('y')[0], client)
  client.leave('x')
  t.strictSame(app.sse.channels(), [{ name: 'y', count: 1 }], 'a channel without clients is gone')
  t.equal(app.sse.clientCount('x'), 0)
})

t.test('a client that has left is in no list any more', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { client, raw } = await open(['x', 'y'], { id: 'a' })
  t.equal(client.closed, false)
  const gone = once(app.sse as never, 'disconnect')
  raw.destroy()
  await gone
  t.equal(client.closed, true)
  t.equal(app.sse.client('a'), undefined)
  t.strictSame(app.sse.clients(), [])
  t.strictSame(app.sse.channels(), [])
  t.equal(app.sse.clientCount('x'), 0)
  client.join('z')
  client.leave('x')
  t.strictSame(app.sse.channels(), [], 'nor can it come back by join()')
})

t.test('a client has the values of its route and its request', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const before = Date.now()
  const metadata = { user: 'alice', roles: ['admin'] }
  const { client } = await open(['x', 'x', 'y'], { id: 'a', metadata }, { 'last-event-id': 'whatever' })
  t.equal(client.id, 'a')
  t.equal(client.metadata, metadata)
  t.equal(client.lastEventId, 'whatever')
  t.strictSame([...client.channels], ['x', 'y'])
  t.ok(client.channels.has('x'))
  t.ok(client.connectedAt instanceof Date)
  t.ok(client.connectedAt.getTime() >= before && client.connectedAt.getTime() <= Date.now())
})

t.test('a client without options gets a random id, no metadata and no last event id', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const ids = new Set<string>()
  for (let n = 0; n < 20; n++) {
    const { client, raw } = await open()
    t.match(client.id, /^~[\w-]{22}$/, '128 bits')
    t.strictSame(client.metadata, {})
    t.equal(client.lastEventId, null)
    t.strictSame([...client.channels], [])
    ids.add(client.id)
    raw.destroy()
  }
  t.equal(ids.size, 20)
})

t.test('the lastEventId option has priority over the header', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  t.equal((await open([], { lastEventId: 'option' }, { 'last-event-id': 'header' })).client.lastEventId, 'option')
  t.equal((await open([], { lastEventId: null }, { 'last-event-id': 'header' })).client.lastEventId, null)
})

t.test('listeners of connect and disconnect get the client and the reason', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const told: Array<[string, SSEClient, SSEDisconnectReason?]> = []
  app.sse.on('connect', client => told.push(['connect', client]))
  app.sse.on('disconnect', (client, reason) => told.push(['disconnect', client, reason]))
  const leaves = await open('x', { id: 'leaves' })
  const closes = await open('x', { id: 'closes' })
  const stays = await open('x', { id: 'stays' })
  const left = once(app.sse as never, 'disconnect')
  leaves.raw.destroy()
  await left
  closes.client.close()
  closes.client.close()
  await app.close()
  const expected: typeof told = [
    ['connect', leaves.client],
    ['connect', closes.client],
    ['connect', stays.client],
    ['disconnect', leaves.client, 'client'],
    ['disconnect', closes.client, 'server'],
    ['disconnect', stays.client, 'shutdown']
  ]
  t.equal(told.length, expected.length)
  told.forEach(([event, client, reason], index) => {
    t.equal(event, expected[index]![0])
    t.equal(client, expected[index]![1])
    t.equal(reason, expected[index]![2])
  })
})

t.test('once() and off() work as on any emitter', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  let once = 0
  let off = 0
  const listener = (): void => { off++ }
  app.sse.once('connect', () => { once++ })
  app.sse.on('connect', listener)
  await open()
  app.sse.off('connect', listener)
  await open()
  t.equal(once, 1)
  t.equal(off, 1)
})

t.test('when a client disconnects, it is removed from the hub before listeners hear of it', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { client, raw } = await open('x', { id: 'a' })
  const { signal } = client
  const seen = new Promise<unknown>(resolve => {
    app.sse.on('disconnect', gone => resolve([gone.closed, signal.aborted, app.sse.client('a'), app.sse.clientCount('x'), app.sse.stats().clients]))
  })
  raw.destroy()
  t.strictSame(await seen, [true, true, undefined, 0, 0])
})

t.test('client() gives the oldest of the connections that share an id', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const first = await open('x', { id: 'same' })
  const second = await open('y', { id: 'same' })
  const third = await open('z', { id: 'same' })
  t.equal(app.sse.client('same'), first.client)
  t.equal((await app.sse.toClient('same', 'three', 1)).recipients, 3)

  let gone = once(app.sse as never, 'disconnect')
  first.raw.destroy()
  await gone
  t.equal(app.sse.client('same'), second.client)
  t.equal((await app.sse.toClient('same', 'two', 1)).recipients, 2)

  gone = once(app.sse as never, 'disconnect')
  third.raw.destroy()
  await gone
  t.equal(app.sse.client('same'), second.client)
  t.equal((await app.sse.toClient('same', 'one', 1)).recipients, 1)
  t.strictSame(await receivedNames(second), ['three', 'two', 'one'])

  gone = once(app.sse as never, 'disconnect')
  second.raw.destroy()
  await gone
  t.equal(app.sse.client('same'), undefined)
  t.equal((await app.sse.toClient('same', 'none', 1)).recipients, 0)
})

t.test('connections that share an id are separate clients', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const first = await open('x', { id: 'same', metadata: { n: 1 } })
  const second = await open('x', { id: 'same', metadata: { n: 2 } })
  t.equal(app.sse.clientCount(), 2)
  t.equal(app.sse.clientCount('x'), 2)
  t.not(first.client, second.client)
  second.client.leave('x')
  t.equal((await app.sse.toChannel('x', 'hello', 1)).recipients, 1)
  await first.client.send('own', 1)
  t.strictSame(await receivedNames(first), ['hello', 'own'])
  t.strictSame(await receivedNames(second), [])
})

t.test('stats() counts exactly the events and bytes that clients saw', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const zero = app.sse.stats()
  t.match(zero, {
    clients: 0, channels: 0, connections: 0, refused: 0, published: 0, delivered: 0, replayed: 0, dropped: 0, slowDisconnects: 0, bytesWritten: 0, bufferedBytes: 0, historyEvents: 0, historyBytes: 0, broker: null
  })
  t.type(zero.uptime, 'number')

  await app.sse.toChannel('x', 'kept', 'ä')
  await app.sse.send('kept', '🎉')
  const streams = [await open('x'), await open(['x', 'y']), await open('y', { broadcast: false })]
  await app.sse.send('live', 1)
  await app.sse.toChannels(['x', 'y'], 'live', 2)
  await app.sse.toChannel('nobody', 'live', 3)
  await app.sse.toChannel('y', 'live', 'x'.repeat(200_000), { transient: true })
  await app.sse.send('refused', 1n).catch(() => {})
  let live = 0
  let replayed = 0
  for (const stream of streams) {
    const names = (await received(stream)).map(({ event }) => event)
    live += names.filter(name => name === 'live').length + 1 // its mark
    replayed += names.filter(name => name === 'kept').length
  }
  t.equal(replayed, 4)
  t.equal(live, 2 + 3 + 2 + 3)

  const stats = app.sse.stats()
  t.match(stats, {
    clients: 3,
    channels: 2,
    connections: 3,
    published: 6,
    delivered: live,
    replayed,
    dropped: 0,
    slowDisconnects: 0,
    bytesWritten: streams.reduce((bytes, { raw }) => bytes + raw.body.length, 0),
    bufferedBytes: 0,
    historyEvents: 5
  })
  t.ok(stats.historyBytes > 0)
  t.ok(stats.uptime > zero.uptime)

  for (const { client } of streams) client.close()
  for (const { raw } of streams) await raw.until(() => raw.complete)
  const after = app.sse.stats()
  t.match(after, { clients: 0, channels: 0, bufferedBytes: 0, connections: 3, delivered: live })
  t.equal(after.bytesWritten, streams.reduce((bytes, { raw }) => bytes + raw.body.length, 0), 'the end of a stream is no byte of it')
})

t.test('stats() counts the bytes that wait for a client that does not read', async t => {
  const app = await buildApp(t, { historySize: 0, maxBufferedBytes: 64 * 1024 * 1024 })
  const open = await opener(t, app)
  const { raw } = await open()
  raw.pause()
  while (app.sse.stats().bufferedBytes < 1024 * 1024) await app.sse.send('big', 'x'.repeat(500_000), { transient: true })
  const { clients, bufferedBytes } = app.sse.stats()
  t.equal(clients, 1)
  t.ok(bufferedBytes >= 1024 * 1024)
  const gone = once(app.sse as never, 'disconnect')
  raw.destroy()
  await gone
  t.match(app.sse.stats(), { clients: 0, bufferedBytes: 0 })
})

t.test('the gauges of the history go back to zero when all kept events have expired', async t => {
  const app = await buildApp(t, { historyMaxAge: 1, heartbeatInterval: 40 })
  await opener(t, app)
  await app.sse.toChannel('a', 'hello', 1)
  t.ok(app.sse.stats().historyBytes > 0)
  while (app.sse.stats().historyEvents > 0) await new Promise(resolve => setTimeout(resolve, 5))
  t.match(app.sse.stats(), { historyEvents: 0, historyBytes: 0 })
})
