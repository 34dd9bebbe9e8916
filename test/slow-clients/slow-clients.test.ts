// Clients that read too slowly: they are disconnected or lose their oldest events, and the others are not affected.
import { createInterface } from 'node:readline'
import t from 'tap'
import { buildApp, listen, nextClient } from '../support/app.js'
import { nextDisconnect, recordDisconnects } from '../support/disconnects.js'
import { MemoryLog, WARN } from '../support/memory-log.js'
import { RawClient } from '../support/raw-client.js'
import { StreamClient } from '../support/stream-client.js'
import { unixHub } from '../support/unix-hub.js'
import { spawnProgram } from '../support/spawn-program.js'

const KB = 'x'.repeat(1000)

/** The numbers in the application's events. */
function numbers (client: StreamClient): number[] {
  return client.own.map(({ data }) => JSON.parse(data).n)
}

function upTo (count: number): number[] {
  return Array.from({ length: count }, (_, n) => n)
}

t.test('a client that does not read is disconnected as slow, and the others get everything', async t => {
  const log = new MemoryLog()
  const { app, open } = await unixHub(t, { maxBufferedBytes: 200_000 }, { loggerInstance: log.logger })
  const disconnects = recordDisconnects(app)
  const slow = await open({ paused: true })
  const fast = await open()
  let count = 0
  while (!slow.client.closed) {
    await app.sse.send('message', { n: count++, KB })
    t.ok(app.sse.stats().bufferedBytes < 2 * 201_500 || slow.client.closed, 'no more waits than may')
  }
  t.match(disconnects, [{ reason: 'slow' }])
  t.equal(disconnects[0]!.client, slow.client)
  t.equal(app.sse.stats().slowDisconnects, 1)
  t.equal(app.sse.stats().dropped, 0)
  t.equal(app.sse.clientCount(), 1)
  const warning = await log.line(({ level }) => level === WARN)
  t.match(warning, { slowClients: 1, stalledClients: 0, droppedEvents: 0, plugin: 'fastify-sse-hub' })
  await app.sse.send('message', { n: count++ })
  await fast.reader.until(() => fast.reader.own.length >= count)
  t.same(numbers(fast.reader), upTo(count))
})

t.test('a client that was disconnected as slow reconnects and gets what it missed from the history', async t => {
  const { app, open } = await unixHub(t, { maxBufferedBytes: 200_000, historySize: 10_000 })
  const { reader: slow, client } = await open({ paused: true })
  let count = 0
  while (!client.closed) await app.sse.send('message', { n: count++, KB })
  for (let more = 0; more < 10; more++) await app.sse.send('message', { n: count++, KB })
  slow.resume()
  await slow.untilClosed()
  t.ok(slow.own.length > 0 && slow.own.length < count, 'it has got a part')
  const { reader: again } = await open({ headers: { 'last-event-id': slow.lastEventId! } })
  await again.until(() => slow.own.length + again.own.length >= count)
  t.equal(again.greeting!.recovered, true)
  t.same([...numbers(slow), ...numbers(again)], upTo(count))
})

t.test('with slowClient "drop", the oldest waiting events are dropped, and sse:gap takes their place', async t => {
  const log = new MemoryLog()
  const { app, open } = await unixHub(t, { maxBufferedBytes: 200_000, slowClient: 'drop' }, { loggerInstance: log.logger })
  const { reader, client } = await open({ paused: true })
  let count = 0
  for (const round of [1, 2]) {
    const before = app.sse.stats().dropped
    for (let n = 0; n < 1500; n++) {
      const { dropped, bufferedBytes } = app.sse.stats()
      await app.sse.send('message', { n: count++, KB })
      const after = app.sse.stats()
      if (after.dropped === dropped) continue
      t.ok(bufferedBytes > 200_000 - 1500, 'nothing goes before the limit is reached')
      t.ok(after.bufferedBytes <= 100_000, 'at least half goes at a time')
    }
    t.ok(app.sse.stats().dropped > before, `round ${round} drops some`)
    reader.resume()
    await reader.until(() => reader.events.at(-1)?.data.startsWith(`{"n":${count - 1},`) === true)
    reader.pause()
  }
  t.notOk(client.closed)
  t.equal(app.sse.stats().slowDisconnects, 0)
  const gaps = reader.events.filter(({ event }) => event === 'sse:gap')
  t.ok(gaps.length >= 2, 'each round has its gap')
  let next = 0
  let lost = 0
  for (const { event, data } of reader.events) {
    if (event === 'sse:gap') {
      const gap = JSON.parse(data).lost
      t.ok(gap > 0)
      next += gap
      lost += gap
    } else if (event === 'message') {
      if (JSON.parse(data).n !== next) t.fail(`${data.slice(0, 20)} where ${next} should be`)
      next++
    }
  }
  t.equal(next, count, 'with what was lost, all are there')
  t.equal(lost, app.sse.stats().dropped)
  const warning = await log.line(({ level }) => level === WARN)
  t.match(warning, { slowClients: 0, stalledClients: 0, droppedEvents: Number })
})

t.test('sse:gap has no id, so that the client can still resume and get the dropped events', async t => {
  const { app, open } = await unixHub(t, { maxBufferedBytes: 200_000, slowClient: 'drop' })
  const { reader } = await open({ paused: true })
  while (app.sse.stats().dropped === 0) await app.sse.send('message', { KB })
  reader.resume()
  await reader.untilEvent('sse:gap')
  t.equal(reader.events.find(({ event }) => event === 'sse:gap')!.id, undefined)
})

t.test('a client that reads is never slow, however many events are published and awaited', async t => {
  const app = await buildApp(t, { maxBufferedBytes: 100_000 })
  app.get('/events', (_request, reply) => { reply.sse() })
  const disconnects = recordDisconnects(app)
  const reader = new StreamClient({ port: await listen(app) }, '/events')
  t.teardown(() => reader.destroy())
  await reader.untilEvent('sse:open')
  for (let n = 0; n < 20_000; n++) await app.sse.send('message', { n, KB })
  await reader.until(() => reader.events.length > 20_000)
  t.same(numbers(reader), upTo(20_000))
  t.same(disconnects, [])
  t.match(app.sse.stats(), { slowDisconnects: 0, dropped: 0, delivered: 20_000 })
})

t.test('a client that reads is not slow when a burst is published without await', async t => {
  const app = await buildApp(t, { maxBufferedBytes: 1_000_000 })
  app.get('/events', (_request, reply) => { reply.sse() })
  const disconnects = recordDisconnects(app)
  const reader = new StreamClient({ port: await listen(app) }, '/events')
  t.teardown(() => reader.destroy())
  await reader.untilEvent('sse:open')
  for (let n = 0; n < 2000; n++) app.sse.send('message', { n, KB })
  await reader.until(() => reader.events.length > 2000)
  t.same(numbers(reader), upTo(2000))
  t.same(disconnects, [])
})

t.test('a client that reads is not slow when a burst is published as soon as it connects', async t => {
  const app = await buildApp(t, { maxBufferedBytes: 1_000_000 })
  app.get('/events', (_request, reply) => { reply.sse() })
  const disconnects = recordDisconnects(app)
  const connected = nextClient(app)
  const reader = new StreamClient({ port: await listen(app) }, '/events')
  t.teardown(() => reader.destroy())
  await connected
  for (let n = 0; n < 2000; n++) app.sse.send('message', { n, KB })
  await reader.until(() => reader.events.length > 2000)
  t.same(numbers(reader), upTo(2000))
  t.same(disconnects, [])
})

t.test('events larger than maxBufferedBytes arrive at a client that reads', async t => {
  const app = await buildApp(t, { maxBufferedBytes: 10_000 })
  app.get('/events', (_request, reply) => { reply.sse() })
  const disconnects = recordDisconnects(app)
  const reader = new StreamClient({ port: await listen(app) }, '/events')
  t.teardown(() => reader.destroy())
  await reader.untilEvent('sse:open')
  const large = 'y'.repeat(500_000)
  for (let n = 0; n < 10; n++) {
    await app.sse.send('message', { n, large })
    await reader.until(() => reader.events.length > n + 1)
  }
  t.same(numbers(reader), upTo(10))
  t.same(disconnects, [])
})

t.test('large events in a row arrive at a client that reads, if only the publishes are awaited', async t => {
  const app = await buildApp(t)
  app.get('/events', (_request, reply) => { reply.sse() })
  const disconnects = recordDisconnects(app)
  const reader = new StreamClient({ port: await listen(app) }, '/events')
  t.teardown(() => reader.destroy())
  await reader.untilEvent('sse:open')
  // Each event needs several writes. Together they are more than the kernel buffers, and few enough at a time for a busy machine.
  const large = 'y'.repeat(200_000)
  for (let n = 0; n < 100; n++) await app.sse.send('message', { n, large })
  await reader.until(() => reader.events.length > 100)
  t.same(numbers(reader), upTo(100))
  t.same(disconnects, [])
})

t.test('below maxBufferedBytes, a client that does not read loses nothing, even if the history does not keep it', async t => {
  for (const historySize of [0, 1]) {
    const { app, open } = await unixHub(t, { maxBufferedBytes: 8_000_000, historySize })
    const { reader } = await open({ paused: true })
    for (let n = 0; n < 2000; n++) await app.sse.send('message', { n, KB })
    t.ok(app.sse.stats().bufferedBytes > 1_000_000, 'it waits in memory')
    reader.resume()
    await reader.until(() => reader.own.length >= 2000)
    t.same(numbers(reader), upTo(2000))
    t.equal(reader.events.length, 2001, 'there is no gap')
    t.equal(app.sse.stats().bufferedBytes, 0)
  }
})

t.test('the bytes that wait for a client whose hooks have not finished are limited', async t => {
  for (const slowClient of ['disconnect', 'drop'] as const) {
    const app = await buildApp(t, { maxBufferedBytes: 100_000, slowClient })
    let finishHook = (): void => {}
    app.addHook('onSend', (_request, _reply, _payload, done) => { finishHook = done })
    app.get('/events', (_request, reply) => { reply.sse() })
    const disconnects = recordDisconnects(app)
    const connected = nextClient(app)
    const raw = new RawClient(await listen(app), { path: '/events' })
    t.teardown(() => raw.destroy())
    const client = await connected
    for (let n = 0; n < 300 && !client.closed; n++) {
      await app.sse.send('message', { n, KB })
      t.ok(app.sse.stats().bufferedBytes <= 100_000)
    }
    if (slowClient === 'disconnect') {
      t.match(disconnects, [{ reason: 'slow' }])
      finishHook()
      await raw.untilClosed()
      t.equal(raw.text, '')
    } else {
      const { dropped } = app.sse.stats()
      finishHook()
      await raw.until(() => raw.text.includes('{"n":299,'))
      const [greeting, gap, ...rest] = raw.events
      t.equal(greeting!.event, 'sse:open')
      t.match(gap, { event: 'sse:gap', data: JSON.stringify({ lost: dropped }) })
      t.same(rest.map(({ data }) => JSON.parse(data).n), upTo(300).slice(dropped))
    }
  }
})

t.test('each slow client counts once, even if a listener publishes while the others are being disconnected', async t => {
  const log = new MemoryLog()
  const { app, open } = await unixHub(t, { maxBufferedBytes: 200_000 }, { loggerInstance: log.logger })
  const disconnects = recordDisconnects(app)
  app.sse.on('disconnect', () => { app.sse.send('left', { KB }) })
  const slow = []
  for (let n = 0; n < 3; n++) slow.push(await open({ paused: true }))
  while (!slow.every(({ client }) => client.closed)) await app.sse.send('message', { KB })
  t.same(disconnects.map(({ reason }) => reason), ['slow', 'slow', 'slow'])
  t.equal(app.sse.stats().slowDisconnects, 3)
  await app.close()
  const warned = log.complaints.map(line => Number((line as { slowClients?: number }).slowClients))
  t.equal(warned.reduce((sum, count) => sum + count, 0), 3, 'and once in the log')
})

t.test('memory stays limited when 300 MB are published to a client that never reads', async t => {
  const child = spawnProgram(t, 'test/support/processes/publishes-much.ts', { nodeArgs: ['--expose-gc'] })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  for (const expected of [{ slowClient: 'drop', slowDisconnects: 0 }, { slowClient: 'disconnect', slowDisconnects: 1 }]) {
    const raw = new RawClient(Number((await lines.next()).value), { path: '/events' })
    raw.pause()
    t.teardown(() => raw.destroy())
    const { growth, dropped, ...rest } = JSON.parse((await lines.next()).value)
    t.same(rest, { ...expected, published: 3000 })
    t.equal(dropped > 2000, expected.slowClient === 'drop')
    t.ok(growth < 20e6, `grew by ${Math.round(growth / 1e6)} MB`)
  }
})

for (const slowClient of ['disconnect', 'drop'] as const) {
  t.test(`with slowClient "${slowClient}", exactly maxBufferedBytes may wait for a client, and not one byte more`, async t => {
    const maxBufferedBytes = 300_000
    const { app, open } = await unixHub(t, { maxBufferedBytes, slowClient, historySize: 0, heartbeatInterval: 0 })
    const disconnects = recordDisconnects(app)
    const { client } = await open({ paused: true, greeting: false, retry: null })
    const waiting = (): number => app.sse.stats().bufferedBytes
    /** Sends an event of so many bytes. */
    const send = (bytes: number): void => { client.send('m', 'x'.repeat(bytes - 'event: m\ndata: \n\n'.length), { raw: true }) }
    // The kernel takes bytes until it is full. Then all that is sent waits here.
    for (let before = -1; waiting() !== before + 1000;) {
      before = waiting()
      send(1000)
      await new Promise(resolve => setImmediate(resolve))
      if (before > 100_000) break
    }
    const before = waiting()
    send(maxBufferedBytes - before)
    t.equal(waiting(), maxBufferedBytes)
    t.equal(client.closed, false)
    t.equal(app.sse.stats().dropped, 0)
    send(18)
    if (slowClient === 'disconnect') t.same(disconnects.map(({ reason }) => reason), ['slow'])
    else t.ok(app.sse.stats().dropped > 0)
  })

  t.test(`with slowClient "${slowClient}", the limit is looked at when the socket refuses, though nothing more is published`, async t => {
    const { app, open } = await unixHub(t, { maxBufferedBytes: 400_000, slowClient, historySize: 0, heartbeatInterval: 0 })
    const disconnects = recordDisconnects(app)
    const { client } = await open({ paused: true })
    // They are put in line in one turn, when the socket has refused nothing yet.
    for (let n = 0; n < 3; n++) client.send('message', 'x'.repeat(390_000), { raw: true })
    if (slowClient === 'disconnect') {
      while (disconnects.length === 0) await nextDisconnect(app)
      t.same(disconnects.map(({ reason }) => reason), ['slow'])
      t.equal(app.sse.stats().slowDisconnects, 1)
    } else {
      while (app.sse.stats().dropped === 0) await new Promise(resolve => setImmediate(resolve))
      t.same(disconnects, [])
    }
  })
}

t.test('an event that is as large as may wait is not too much for a client that has only it', async t => {
  for (const paused of [true, false]) {
    const { app, open } = await unixHub(t, { maxBufferedBytes: 400_000, heartbeatInterval: 0 })
    const { reader, client } = await open({ paused })
    const sent = client.send('message', 'x'.repeat(400_000), { raw: true })
    reader.resume()
    t.equal(await sent, true)
    await reader.untilEvent('message')
    t.equal(app.sse.stats().slowDisconnects, 0)
  }
})
