// What a connection gets from the history, and in which order.
import type { Socket } from 'node:net'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import type { SSEConnectOptions, SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen } from '../support/app.js'
import { opener, received, receivedNames } from '../support/open.js'
import { StreamClient } from '../support/stream-client.js'
import { unixHub } from '../support/unix-hub.js'
import { unixSocket } from '../support/unix-socket.js'

const MIB = 1024 * 1024

t.test('a new client gets the history of its channels and the broadcasts, merged in the order of publishing', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const ids = [
    await app.sse.toChannel('a', 'a1', null),
    await app.sse.toChannel('b', 'b1', null),
    await app.sse.send('all1', null),
    await app.sse.toChannel('c', 'not for it', null),
    await app.sse.toChannel('a', 'a2', null),
    await app.sse.send('all2', null),
    await app.sse.toChannel('b', 'b2', null)
  ].map(({ id }) => id)
  const got = await received(await open(['b', 'a']))
  t.strictSame(got.map(({ event }) => event), ['a1', 'b1', 'all1', 'a2', 'all2', 'b2'])
  t.strictSame(got.map(({ id }) => id), ids.filter((_id, index) => index !== 3))
})

t.test('a replayed event has the same bytes as the live one', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const live = await open('a', { greeting: false, retry: null })
  await app.sse.toChannel('a', 'plain', { text: 'line\nbreak', wide: '日本 é \u{1f600}' })
  await app.sse.toChannel('a', 'raw', ' <p>\r\n\r</p>\n', { raw: true, retry: 1234 })
  await received(live)
  const late = await open('a', { greeting: false, retry: null })
  await received(late)
  const kept = (text: string): string => text.slice(0, text.indexOf('event: mark-'))
  t.equal(kept(late.raw.text), kept(live.raw.text))
  t.match(kept(late.raw.text), /retry: 1234\ndata: {2}<p>\ndata: \ndata: <\/p>\ndata: \nid: \S+\n\n$/)
})

t.test('an event for two channels of a client is replayed to it once', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await app.sse.toChannels(['a', 'b', 'c'], 'both', null)
  await app.sse.toChannel('a', 'one', null)
  t.strictSame(await receivedNames(await open(['a', 'b'])), ['both', 'one'])
  t.strictSame(await receivedNames(await open(['c'])), ['both'])
})

t.test('an event that is published during a replay comes after it', async t => {
  const app = await buildApp(t)
  app.get('/', (_request, reply) => {
    reply.sse('a')
    // The client is registered, but nothing has been written to it.
    app.sse.toChannel('a', 'live', null)
  })
  await app.sse.toChannel('a', 'kept', null)
  const client = new StreamClient({ port: await listen(app) }, '/')
  t.teardown(() => client.destroy())
  await client.untilEvent('live')
  t.strictSame(client.own.map(({ event }) => event), ['kept', 'live'])
})

t.test('the replay option decides what a new connection gets, at registration and for one route', async t => {
  const cases: Array<[registration: SSEPluginOptions, route: SSEConnectOptions, first: string[], again: string[]]> = [
    [{}, {}, ['one', 'two'], ['two']],
    [{ replay: 'all' }, {}, ['one', 'two'], ['two']],
    [{ replay: 'missed' }, {}, [], ['two']],
    [{ replay: 'none' }, {}, [], []],
    [{ replay: 'none' }, { replay: 'all' }, ['one', 'two'], ['two']],
    [{ replay: 'none' }, { replay: 'missed' }, [], ['two']],
    [{}, { replay: 'missed' }, [], ['two']],
    [{ replay: 'missed' }, { replay: 'none' }, [], []]
  ]
  for (const [registration, route, first, again] of cases) {
    const app = await buildApp(t, registration)
    const open = await opener(t, app)
    const { id } = await app.sse.toChannel('a', 'one', null)
    await app.sse.toChannel('a', 'two', null)
    const what = JSON.stringify([registration, route])
    t.strictSame(await receivedNames(await open('a', route)), first, `${what}, first visit`)
    t.strictSame(await receivedNames(await open('a', { ...route, lastEventId: id })), again, `${what}, reconnect`)
  }
})

t.test('a client that wants only some event names gets only these in its replay', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  for (let i = 0; i < 200; i++) await app.sse.toChannel('a', ['tick', 'tock', 'tack'][i % 3]!, i)
  const names = async (events: string[]): Promise<string[]> => [...new Set(await receivedNames(await open('a', { events })))] as string[]
  t.strictSame(await names(['tick']), ['tick'])
  t.strictSame(await names(['tack', 'tock']), ['tock', 'tack'])
  t.strictSame(await names(['other']), [])
  t.strictSame(await receivedNames(await open('a', { events: ['tick'] })), Array(17).fill('tick'), 'of the 50 that are kept')
})

t.test('a client that wants none of thousands of kept events is greeted after a look at all of them, with an id', async t => {
  const app = await buildApp(t, { historySize: 10_000 })
  const open = await opener(t, app)
  let last = ''
  for (let i = 0; i < 10_000; i++) last = (await app.sse.toChannel('a', 'tick', null)).id!
  let writes = 0
  app.server.once('connection', (socket: Socket) => {
    const { write } = socket
    socket.write = function (this: Socket, ...args: Parameters<typeof write>) {
      writes++
      return write.apply(this, args)
    } as typeof write
  })
  const stream = await open('a', { events: ['rare'] })
  await stream.raw.untilEvents(1)
  t.ok(writes <= 2, `the head and the greeting, in ${writes} writes`)
  t.match(stream.raw.events, [{ event: 'sse:open', id: last }])
  await app.sse.toChannel('a', 'rare', null)
  await app.sse.toChannel('a', 'tick', null)
  t.strictSame(await receivedNames(stream), ['rare'])
  t.strictSame(await receivedNames(await open('a', { events: ['rare'] })), ['rare'])
  t.equal(app.sse.stats().replayed, 1)
})

t.test('what history removes while a client is not greeted yet makes recovered false', async t => {
  const app = await buildApp(t, { historySize: 20_000 })
  const open = await opener(t, app)
  const publish = (count: number, name: string): void => { for (let i = 0; i < count; i++) app.sse.toChannel('a', name, null) }
  const { id } = await app.sse.toChannel('a', 'tick', null)
  publish(19_999, 'tick')
  // By then the first of these events have been looked at, but not all.
  app.sse.once('connect', () => setImmediate(() => publish(20_000, 'tock')))
  const stream = await open('a', { events: ['rare'], lastEventId: id })
  await stream.raw.untilEvents(1)
  t.strictSame(await receivedNames(stream), [])
  t.strictSame(stream.raw.events.map(({ event }) => event).filter(name => name?.startsWith('sse:')), ['sse:open'])
  t.match(JSON.parse(stream.raw.events[0]!.data), { recovered: false })
})

t.test('a client that wants no events gets none in its replay, and others still get theirs', async t => {
  // These are enough events for clients to share a part of the replay.
  const app = await buildApp(t, { historySize: 200 })
  const open = await opener(t, app)
  for (let i = 0; i < 200; i++) await app.sse.toChannel('a', 'tick', i)
  t.equal((await received(await open('a', { events: [] }))).length, 0)
  t.equal((await received(await open('a'))).length, 200)
  t.equal((await received(await open('a', { events: [] }))).length, 0)
})

t.test('an event is not replayed to the client that it excepts', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await app.sse.toChannel('a', 'from alice', null, { except: 'alice' })
  await app.sse.send('from bob', null, { except: 'bob' })
  t.strictSame(await receivedNames(await open('a', { id: 'alice' })), ['from bob'])
  t.strictSame(await receivedNames(await open('a', { id: 'bob' })), ['from alice'])
  t.strictSame(await receivedNames(await open('a')), ['from alice', 'from bob'])
})

t.test('a transient event is not kept', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const live = await open('a')
  const { id } = await app.sse.toChannel('a', 'typing', null, { transient: true })
  await app.sse.send('typing', null, { transient: true })
  await app.sse.toChannel('a', 'kept', null)
  t.equal(id, null)
  t.strictSame((await received(live)).map(({ event, id }) => [event, id === undefined]), [['typing', true], ['typing', true], ['kept', false]])
  t.strictSame(await receivedNames(await open('a')), ['kept'])
  t.equal(app.sse.stats().historyEvents, 1)
})

t.test('events to a client with its own id are kept for that id, also while it is away', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await app.sse.toClient('alice', 'before', null)
  const { raw, client } = await open([], { id: 'alice' })
  await app.sse.toClient('alice', 'live', null)
  t.strictSame(await receivedNames({ raw, client }), ['before', 'live'])
  raw.destroy()
  await app.sse.toClient('alice', 'after', null)
  await app.sse.toClient('bob', 'not hers', null)
  t.strictSame(await receivedNames(await open([], { id: 'alice' })), ['before', 'live', 'after'])
  t.strictSame(await receivedNames(await open('alice')), [], 'a channel of that name is another thing')
  t.strictSame(await receivedNames(await open([], { id: 'alice', replay: 'none' })), [])
})

t.test('events to a client with a random id are not kept, because no client can come back with that id', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  await app.sse.toClient(stream.client.id, 'only once', null)
  t.strictSame(await receivedNames(stream), ['only once'])
  stream.raw.destroy()
  while (app.sse.clientCount() > 0) await new Promise(resolve => setImmediate(resolve))
  await app.sse.toClient(stream.client.id, 'to a client that is gone', null)
  t.equal(app.sse.stats().historyEvents, 0)
})

t.test('a route can\'t give an id as the hub makes them', async t => {
  const app = await buildApp(t)
  app.get('/', (_request, reply) => reply.sse([], { id: '~alice' }))
  const { statusCode, body } = await app.inject('/')
  t.equal(statusCode, 400)
  t.match(body, 'SSE_ERR_INVALID_CLIENT_ID')
})

t.test('a client without broadcasts gets none in its replay', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await app.sse.send('all', null)
  await app.sse.toChannel('a', 'own', null)
  t.strictSame(await receivedNames(await open('a', { broadcast: false })), ['own'])
  t.strictSame(await receivedNames(await open([], { broadcast: false })), [])
})

t.test('join() replays nothing', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await app.sse.toChannel('b', 'before', null)
  const stream = await open('a')
  stream.client.join('b')
  await app.sse.toChannel('b', 'after', null)
  t.strictSame(await receivedNames(stream), ['after'])
})

/** Publishes events of a size. Each has its number. */
async function publishMany (app: FastifyInstance, count: number, bytes: number): Promise<void> {
  for (let i = 0; i < count; i++) await app.sse.toChannel('a', 'tick', `${i} ${'x'.repeat(bytes)}`, { raw: true })
}

const numbersOf = (client: StreamClient): number[] => client.own.filter(({ event }) => event === 'tick').map(({ data }) => parseInt(data))

t.test('a history of several MB is complete, even if its reader pauses and goes on', async t => {
  const app = await buildApp(t, { historySize: 3000 })
  app.get('/', (_request, reply) => { reply.sse('a') })
  const socketPath = unixSocket(t)
  await app.listen({ path: socketPath })
  await publishMany(app, 3000, 1500)
  const client = new StreamClient({ socketPath }, '/')
  t.teardown(() => client.destroy())
  let stops = 0
  for (let next = 500; next < 3000; next += 500) {
    await client.until(() => client.own.length >= next)
    client.pause()
    // The socket is full, so the server has to wait for it.
    if (app.sse.stats().replayed < 3000) {
      await new Promise<void>(resolve => {
        const look = (): void => { app.sse.stats().bufferedBytes > 0 ? resolve() : setImmediate(look) }
        look()
      })
      stops++
      t.ok(app.sse.stats().bufferedBytes <= 128 * 1024, 'a page at a time is taken from history')
    }
    client.resume()
  }
  await app.sse.toChannel('a', 'end', null)
  await client.untilEvent('end')
  t.ok(stops > 0)
  t.strictSame(numbersOf(client), Array.from({ length: 3000 }, (_, i) => i))
  t.match(app.sse.stats(), { replayed: 3000, delivered: 1 })
})

t.test('events that one channel\'s history removes while another channel is replayed are not a loss', async t => {
  const { app, open } = await unixHub(t, { historySize: 3 })
  for (let n = 0; n < 3; n++) await app.sse.toChannel('red', 'large', 'x'.repeat(200_000))
  const { reader } = await open({ channels: ['red', 'blue'], paused: true })
  for (let n = 0; n < 5; n++) await app.sse.toChannel('blue', 'small', n)
  reader.resume()
  await reader.until(() => reader.own.length === 8)
  t.same(reader.events.map(({ event }) => event), ['sse:open', ...Array(3).fill('large'), ...Array(5).fill('small')])
})

t.test('events of 1 MiB are replayed completely, before, between and after small ones', async t => {
  const app = await buildApp(t)
  app.get('/', (_request, reply) => { reply.sse('a') })
  const texts = ['small', 'x'.repeat(MIB), 'small too', '日'.repeat(MIB / 3), '日'.repeat(MIB / 3), 'the last'].map((text, index) => `${index} ${text}`.slice(0, text.length))
  for (const text of texts) await app.sse.toChannel('a', 'tick', text, { raw: true })
  const port = await listen(app)
  // Once as a new client, and once with an id that the hub does not know.
  for (const headers of [{}, { 'last-event-id': 'not ours' }]) {
    const client = new StreamClient({ port }, '/', headers)
    t.teardown(() => client.destroy())
    await client.until(() => client.own.length === texts.length)
    t.ok(client.own.every(({ data }, index) => data === texts[index]))
  }
})

t.test('a replay that begins with a large event begins after the greeting', async t => {
  const app = await buildApp(t, { historySize: 2 })
  const open = await opener(t, app)
  const text = 'x'.repeat(300_000)
  await app.sse.toChannel('a', 'large', text, { raw: true })
  await app.sse.toChannel('a', 'small', null)
  for (const greeting of [true, false]) {
    const stream = await open('a', { greeting })
    t.strictSame((await received(stream)).map(({ event, data }) => [event, data.length]), [['large', text.length], ['small', 4]])
    t.equal(stream.raw.events[0]!.event, greeting ? 'sse:open' : 'large')
  }
})

t.test('nothing is left of a client that leaves in the middle of its replay', async t => {
  const app = await buildApp(t, { historySize: 1000 })
  app.get('/', (_request, reply) => { reply.sse('a') })
  const socketPath = unixSocket(t)
  await app.listen({ path: socketPath })
  await publishMany(app, 1000, 2000)
  const leaving = new StreamClient({ socketPath }, '/')
  await leaving.until(() => leaving.own.length > 0)
  leaving.pause()
  const gone = new Promise(resolve => app.sse.on('disconnect', (_client, reason) => resolve(reason)))
  leaving.destroy()
  t.equal(await gone, 'client')
  t.match(app.sse.stats(), { clients: 0, bufferedBytes: 0 })
  const { replayed } = app.sse.stats()
  t.ok(replayed < 1000)
  const next = new StreamClient({ socketPath }, '/')
  t.teardown(() => next.destroy())
  await next.until(() => next.own.length === 1000)
  t.equal(app.sse.stats().replayed, replayed + 1000, 'nothing more was replayed to the one that left')
})

t.test('a client that is closed in the middle of its replay gets all of it, and the events until then', async t => {
  const app = await buildApp(t, { historySize: 1000 })
  app.get('/', (_request, reply) => { reply.sse('a') })
  const socketPath = unixSocket(t)
  await app.listen({ path: socketPath })
  await publishMany(app, 1000, 2000)
  const client = new StreamClient({ socketPath }, '/')
  await client.until(() => client.own.length > 0)
  client.pause()
  await app.sse.toChannel('a', 'live', null)
  for (const served of app.sse.clients()) served.close()
  await app.sse.toChannel('a', 'too late', null)
  client.resume()
  await client.untilClosed()
  t.equal(numbersOf(client).length, 1000)
  t.equal(client.own.at(-1)!.event, 'live')
})

t.test('stats() counts replayed events once for each client, separately from live events', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await app.sse.toChannel('a', 'tick', null)
  await app.sse.toChannel('b', 'tick', null)
  await app.sse.toChannel('a', 'tock', null)
  t.equal(app.sse.stats().replayed, 0)
  await received(await open('a'))
  t.equal(app.sse.stats().replayed, 2)
  await received(await open(['a', 'b'], { events: ['tick'] }))
  t.equal(app.sse.stats().replayed, 4)
  await received(await open('a', { replay: 'none' }))
  await app.sse.toChannel('b', 'live', null)
  t.equal(app.sse.stats().replayed, 4)
})
