// Clients whose sockets take no bytes for `stallTimeout`.
import { once } from 'node:events'
import { connect } from 'node:http2'
import type { Socket } from 'node:net'
import { Transform, type Readable } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Client } from '../../lib/client/client.js'
import type { SSEClient } from '../../lib/index.js'
import { buildApp, listen } from '../support/app.js'
import { nextDisconnect, recordDisconnects } from '../support/disconnects.js'
import { Http2Stream } from '../support/http2-stream.js'
import { MemoryLog, WARN } from '../support/memory-log.js'
import { RawClient } from '../support/raw-client.js'
import { unixHub } from '../support/unix-hub.js'

const LARGE = 'x'.repeat(1_000_000)

t.test('a client whose socket accepts nothing for stallTimeout is disconnected as stalled', async t => {
  const log = new MemoryLog()
  const { app, open } = await unixHub(t, { stallTimeout: 100, maxBufferedBytes: 8_000_000 }, { loggerInstance: log.logger })
  const reading = await open()
  const { reader, client } = await open({ paused: true })
  const gone = nextDisconnect(app)
  await app.sse.send('message', LARGE)
  const { client: who, reason } = await gone
  t.equal(who, client)
  t.equal(reason, 'stalled')
  t.match(app.sse.stats(), { clients: 1, slowDisconnects: 1 })
  t.match(await log.line(({ level }) => level === WARN), { slowClients: 0, stalledClients: 1, droppedEvents: 0 })
  reader.resume()
  await reader.untilClosed()
  t.same(reader.own, [], 'it has got no whole event')
  await reading.reader.until(() => reading.reader.own.length > 0)
  t.notOk(reading.client.closed)
})

t.test('a client that takes nothing for stallTimeout is stalled even if only a little waits in its socket', { timeout: 5000 }, async t => {
  const { app, open } = await unixHub(t, { stallTimeout: 200 })
  await open({ channels: ['slow'], paused: true })
  const gone = nextDisconnect(app)
  await fillKernel(app, 'slow')
  t.equal((await gone).reason, 'stalled')
})

t.test('a client whose first bytes wait is not stalled before stallTimeout, however old the process is', async t => {
  const stallTimeout = 400
  const { app, open } = await unixHub(t, { stallTimeout }, {}, app => {
    // Takes the first bytes and no more, and none of them leaves the process.
    app.addHook('onSend', async (_request, _reply, payload) => (payload as Readable).pipe(new Transform({ highWaterMark: 1, transform () {} })))
  })
  while (performance.now() < 2 * stallTimeout) await new Promise(resolve => setTimeout(resolve, 10))
  const gone = nextDisconnect(app)
  const { client } = await open({ paused: true })
  await app.sse.send('message', 1)
  const { reason } = await gone
  t.equal(reason, 'stalled')
  t.ok(Date.now() - client.connectedAt.getTime() >= stallTimeout - 10, 'the time before it connected does not count')
})

t.test('a client that reads slowly but steadily is not stalled', async t => {
  const { app, open } = await unixHub(t, { stallTimeout: 1500, maxBufferedBytes: 8_000_000 })
  const disconnects = recordDisconnects(app)
  const { reader } = await open({ paused: true })
  let published = 0
  // Only time can show that a reader is slow. Each pause is a small part of stallTimeout, and all together are much longer.
  const end = performance.now() + 4000
  while (performance.now() < end && disconnects.length === 0) {
    while (app.sse.stats().bufferedBytes < 2_000_000) await app.sse.send('message', { n: published++, LARGE })
    const read = once(reader.changes, 'change')
    reader.resume()
    await read
    reader.pause()
    await new Promise(resolve => setTimeout(resolve, 30))
  }
  reader.resume()
  await Promise.race([reader.until(() => reader.own.length >= published), reader.untilClosed()])
  t.same(reader.own.map(({ data }) => JSON.parse(data).n), Array.from({ length: published }, (_, n) => n))
  t.same(disconnects, [])
})

t.test('a stream that the server has ended and nobody reads is cut after stallTimeout', async t => {
  const log = new MemoryLog()
  const { app, open } = await unixHub(t, { stallTimeout: 100, maxBufferedBytes: 8_000_000 }, { loggerInstance: log.logger })
  const disconnects = recordDisconnects(app)
  const connection = once(app.server, 'connection') as Promise<[Socket]>
  const { reader, client } = await open({ paused: true })
  const [socket] = await connection
  const cut = once(socket, 'close')
  await app.sse.send('message', LARGE)
  client.close()
  t.match(disconnects, [{ reason: 'server' }])
  await cut
  t.match(await log.line(({ level }) => level === WARN), { stalledClients: 1 })
  t.equal(disconnects.length, 1, 'it has gone once')
  reader.resume()
  await reader.untilClosed()
  t.same(reader.own, [])
})

t.test('after the server has ended a stream, the client has stallTimeout to read the little that is left in the socket', async t => {
  // With short heartbeats, the hub looks often.
  const { app, open } = await unixHub(t, { stallTimeout: 3000, heartbeatInterval: 40, heartbeatEvent: 'beat' })
  const clock = await open({ channels: ['clock'] })
  // The process must be older than stallTimeout. Otherwise a time that was never set, 0, would not look like a long time ago.
  await clock.reader.until(() => performance.now() > 3500)
  const { reader, client } = await open({ channels: ['slow'], paused: true })
  const published = await fillKernel(app, 'slow')
  client.close()
  const { length } = clock.reader.own
  await clock.reader.until(() => clock.reader.own.length >= length + 3)
  reader.resume()
  await reader.untilClosed()
  t.equal(reader.own.filter(({ event }) => event === 'message').length, published)
  t.equal(app.sse.stats().slowDisconnects, 0)
})

t.test('with stallTimeout 0 no client is stalled', async t => {
  const { app, open } = await unixHub(t, { stallTimeout: 0, heartbeatInterval: 40, heartbeatEvent: 'beat', maxBufferedBytes: 8_000_000 })
  const disconnects = recordDisconnects(app)
  const clock = await open()
  const { reader } = await open({ paused: true })
  await app.sse.send('message', LARGE)
  await clock.reader.until(() => clock.reader.own.length >= 6)
  t.same(disconnects, [])
  reader.resume()
  await reader.untilEvent('message')
})

/** Publishes until the kernel takes no more from a socket and a little waits in Node. Resolves with the number of events. */
async function fillKernel (app: FastifyInstance, channel: string): Promise<number> {
  let published = 0
  while (app.sse.stats().bufferedBytes === 0) {
    await app.sse.toChannel(channel, 'message', 'x'.repeat(1000))
    published++
    // The visits of the greeting and of the event run first.
    for (let turn = 0; turn < 3; turn++) await new Promise(resolve => setImmediate(resolve))
  }
  return published
}

/**
 * Publishes to the reader of an HTTP/2 stream that is paused, until bytes stay in the process. Node's own client takes 16 kB of a
 * paused stream, however small its window is.
 */
async function fillStream (app: FastifyInstance, channel: string): Promise<void> {
  while (app.sse.stats().bufferedBytes < 1000) {
    await app.sse.toChannel(channel, 'message', 'x'.repeat(100))
    for (let turn = 0; turn < 3; turn++) await new Promise(resolve => setImmediate(resolve))
  }
}

t.test('a client whose socket lets bytes go, though some always wait in it, is not stuck', async t => {
  const { open } = await unixHub(t)
  const client = (await open()).client as unknown as Client
  const socket = { open: true, buffered: 2000, left: 0 }
  client.attach(socket as never)
  client.ready = true
  for (let now = 10_000; now <= 100_000; now += 10_000) {
    socket.left += 100
    t.equal(client.stuckSince(now), now)
  }
  t.equal(client.stuckSince(110_000), 100_000, 'nothing has left since the look before')
  t.equal(client.stuckSince(120_000), 100_000)
})

t.test('over HTTP/2, a stream that takes nothing is stalled, though another of its session reads', async t => {
  const app = await buildApp(t, { stallTimeout: 200, heartbeatInterval: 20, historySize: 0 }, { http2: true } as never)
  app.get<{ Params: { id: string } }>('/:id', (request, reply) => { reply.sse(request.params.id, { id: request.params.id }) })
  const disconnects = recordDisconnects(app)
  const session = connect(`http://127.0.0.1:${await listen(app)}`, { settings: { initialWindowSize: 300 } })
  t.teardown(() => session.destroy())
  await once(session, 'remoteSettings')
  const [stuck, reading] = [new Http2Stream(session, '/stuck'), new Http2Stream(session, '/reading')]
  await stuck.untilEvents(1)
  await reading.untilEvents(1)
  stuck.stream.pause()
  await fillStream(app, 'stuck')
  while (disconnects.length === 0) {
    const before = reading.events.length
    await app.sse.toChannel('reading', 'message', 'x'.repeat(50))
    await reading.untilEvents(before + 1)
  }
  t.same(disconnects.map(({ client, reason }) => [client.id, reason]), [['stuck', 'stalled']])
  await app.sse.toChannel('reading', 'last', 1)
  await reading.until(() => reading.events.at(-1)!.event === 'last')
  t.equal(session.destroyed, false)
})

t.test('over HTTP/2, stalled streams of a session that goes on are not in memory', async t => {
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as () => void
  const app = await buildApp(t, { stallTimeout: 50, heartbeatInterval: 10, historySize: 0 }, { http2: true } as never)
  const clients: Array<WeakRef<SSEClient>> = []
  app.get('/events', (_request, reply) => { clients.push(new WeakRef(reply.sse('room'))) })
  const session = connect(`http://127.0.0.1:${await listen(app)}`, { settings: { initialWindowSize: 300 } })
  t.teardown(() => session.destroy())
  await once(session, 'remoteSettings')
  for (let n = 0; n < 10; n++) {
    const stuck = new Http2Stream(session, '/events')
    await stuck.untilEvents(1)
    stuck.stream.pause()
    await fillStream(app, 'room')
    while (app.sse.clientCount() > 0) await new Promise(resolve => setImmediate(resolve))
    stuck.stream.destroy()
  }
  t.equal(session.destroyed, false)
  for (let times = 0; times < 3; times++) {
    await new Promise(resolve => setTimeout(resolve, 20))
    collectGarbage()
  }
  const alive = clients.filter(client => client.deref() !== undefined).length
  t.ok(alive <= 3, `${alive} of ${clients.length} are in memory`)
})

t.test('over HTTP/2, a stream that takes a little at a time is not stalled, though bytes always wait for it', async t => {
  const app = await buildApp(t, { stallTimeout: 300, heartbeatInterval: 20, historySize: 0 }, { http2: true } as never)
  app.get('/events', (_request, reply) => { reply.sse('room') })
  const disconnects = recordDisconnects(app)
  const session = connect(`http://127.0.0.1:${await listen(app)}`, { settings: { initialWindowSize: 300 } })
  t.teardown(() => session.destroy())
  await once(session, 'remoteSettings')
  const stream = new Http2Stream(session, '/events')
  await stream.untilEvents(1)
  const begin = performance.now()
  // Some bytes always wait, and each turn some leave. The stream outlives three times the limit.
  stream.stream.pause()
  await app.sse.toChannel('room', 'message', 'x'.repeat(2000))
  while (performance.now() - begin < 900) {
    const waiting = app.sse.stats().bufferedBytes
    await app.sse.toChannel('room', 'message', 'x'.repeat(100))
    stream.stream.resume()
    while (app.sse.stats().bufferedBytes > waiting) await new Promise(resolve => setImmediate(resolve))
    stream.stream.pause()
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.same(disconnects, [])
})

t.test('over TCP, a client whose socket has accepted nothing is stalled, though its machine has read a little meanwhile', async t => {
  const app = await buildApp(t, { stallTimeout: 1000, heartbeatInterval: 100, maxBufferedBytes: 64 * 1024 * 1024 })
  app.get('/events', (_request, reply) => { reply.sse('room') })
  const gone = nextDisconnect(app)
  const reader = new RawClient(await listen(app), { path: '/events' })
  t.teardown(() => reader.destroy())
  await reader.untilEvents(1)
  reader.pause()
  // More than the buffers of both kernels take.
  for (let n = 0; n < 40; n++) await app.sse.toChannel('room', 'message', LARGE)
  const end = { come: false }
  gone.then(() => { end.come = true })
  while (!end.come) {
    reader.socket.read(4096)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.equal((await gone).reason, 'stalled')
})
