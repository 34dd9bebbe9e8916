// `client.send()`: an event for one connection, and the promise that tells whether the socket took it.
import { getDefaultHighWaterMark } from 'node:stream'
import t from 'tap'
import { buildApp } from '../support/app.js'
import { ERROR, MemoryLog } from '../support/memory-log.js'
import { opener } from '../support/open.js'
import { unixHub } from '../support/unix-hub.js'

const LARGE = 'x'.repeat(500_000)

t.test('client.send() reaches this connection only, is not kept and has no id', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const one = await open([], { id: 'same' })
  const other = await open([], { id: 'same' })
  t.equal(await one.client.send('private', { n: 1 }), true)
  await app.sse.send('message', { n: 2 })
  await one.raw.untilEvents(3)
  await other.raw.untilEvents(2)
  t.match(one.raw.events.slice(1), [
    { event: 'private', data: '{"n":1}', id: undefined },
    { event: 'message', data: '{"n":2}' }
  ])
  t.equal(one.raw.events[1]!.id, undefined)
  t.match(other.raw.events.slice(1), [{ event: 'message' }])
  const later = await open([], { id: 'same' })
  await later.raw.untilEvents(2)
  t.match(later.raw.events.slice(1), [{ event: 'message' }])
  t.equal(app.sse.stats().historyEvents, 1)
})

t.test('events of client.send() and published events come in the order of the calls', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { raw, client } = await open('room')
  for (let n = 0; n < 100; n++) {
    if (n % 3 === 0) client.send('own', n)
    else if (n % 3 === 1) app.sse.toChannel('room', 'channel', n)
    else app.sse.send('all', n)
  }
  await raw.untilEvents(101)
  t.same(raw.events.slice(1).map(({ data }) => Number(data)), Array.from({ length: 100 }, (_, n) => n))
})

t.test('client.send() is pending while the socket refuses bytes, and resolves to true when the socket has taken the event', async t => {
  const { app, open } = await unixHub(t, { maxBufferedBytes: 8_000_000 })
  const { reader, client } = await open({ paused: true })
  await app.sse.send('message', LARGE)
  const settled: string[] = []
  const first = client.send('first', LARGE).then(taken => settled.push(`first ${taken}`))
  const second = client.send('second', 2).then(taken => settled.push(`second ${taken}`))
  const clock = await open()
  await clock.client.send('message', null)
  t.same(settled, [], 'while another client is served')
  reader.resume()
  await Promise.all([first, second])
  t.same(settled, ['first true', 'second true'])
  await reader.untilEvent('second')
  t.same(reader.own.map(({ event }) => event), ['message', 'first', 'second'])
})

t.test('client.send() resolves to false when the client leaves first', async t => {
  const { app, open } = await unixHub(t, { maxBufferedBytes: 8_000_000 })
  const { reader, client } = await open({ paused: true })
  await app.sse.send('message', LARGE)
  const sent = [client.send('message', 1), client.send('message', 2)]
  reader.destroy()
  t.same(await Promise.all(sent), [false, false])
  t.ok(client.closed)
  t.equal(await client.send('message', 3), false, 'nor after it')
})

t.test('client.send() resolves to false when the client is disconnected as slow', async t => {
  const { open } = await unixHub(t, { maxBufferedBytes: 1_200_000 })
  const { client } = await open({ paused: true })
  const sent = [1, 2, 3, 4].map(() => client.send('message', LARGE))
  t.same(await Promise.all(sent), [false, false, false, false])
  t.ok(client.closed)
})

// The small events wait together in one write. If they are too much, the whole write is dropped. The bytes that the socket holds
// before it refuses count too, and their number differs between versions of Node.
for (const [size, count, maxBufferedBytes] of [['large', 50_000, 1_000_000], ['small', 1000, getDefaultHighWaterMark(false) + 14_000]] as const) {
  t.test(`client.send() resolves to false when the event is dropped, and to true when it is not: ${size} events`, async t => {
    const { app, open } = await unixHub(t, { maxBufferedBytes, slowClient: 'drop' })
    const { reader, client } = await open({ paused: true })
    const sent: Array<Promise<boolean>> = []
    while (app.sse.stats().dropped === 0) {
      sent.push(client.send('message', { n: sent.length, pad: 'x'.repeat(count) }))
      await new Promise(resolve => setImmediate(resolve))
    }
    sent.push(client.send('last', { n: sent.length }))
    reader.resume()
    const taken = await Promise.all(sent)
    await reader.untilEvent('last')
    const received = new Set(reader.own.map(({ data }) => JSON.parse(data).n))
    t.same(taken, sent.map((_, n) => received.has(n)))
    t.equal(taken.filter(taken => !taken).length, app.sse.stats().dropped)
    t.equal(taken[0], true, 'what the socket had before is not lost')
  })
}

t.test('an event of client.send() before close() is still sent, and one after it is not', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { raw, client } = await open()
  const before = client.send('before', 1)
  client.close()
  const after = client.send('after', 2)
  t.equal(await before, true)
  t.equal(await after, false)
  await raw.until(() => raw.complete)
  t.same(raw.events.map(({ event }) => event), ['sse:open', 'before'])
})

t.test('an event of client.send() in the handler comes directly after the greeting', async t => {
  const app = await buildApp(t)
  app.get('/', async (_request, reply) => {
    const client = reply.sse()
    t.equal(await client.send('hello', 1), true)
    client.close()
  })
  const { body } = await app.inject('/')
  t.match(body, /event: sse:open\n(?:.+\n)+\nevent: hello\ndata: 1\n\n$/)
})

t.test('a send() that waits for the socket resolves when the socket drains, with nothing sent after it', { timeout: 20_000 }, async t => {
  const { app, open } = await unixHub(t, { maxBufferedBytes: 8_000_000, heartbeatInterval: 0 })
  const { reader, client } = await open({ paused: true })
  let pending: Promise<boolean> | undefined
  while (pending === undefined) {
    const sent = client.send('filling', 'x'.repeat(60_000), { raw: true })
    await new Promise(resolve => setImmediate(resolve))
    // Bytes wait where the socket has refused some. Then nothing else is sent.
    if (app.sse.stats().bufferedBytes > 0) pending = sent
  }
  reader.resume()
  t.equal(await pending, true)
})

t.test('client.send() refuses the same as a publish, and sends nothing', async t => {
  const app = await buildApp(t, { maxEventBytes: 1000 })
  const open = await opener(t, app)
  const { raw, client } = await open()
  await t.rejects(client.send('', 1), { code: 'SSE_ERR_INVALID_EVENT_NAME' })
  await t.rejects(client.send('a\nb', 1), { code: 'SSE_ERR_INVALID_EVENT_NAME' })
  await t.rejects(client.send('sse:gap', 1), { code: 'SSE_ERR_INVALID_EVENT_NAME' })
  await t.rejects(client.send('a', 1n), { code: 'SSE_ERR_INVALID_DATA' })
  await t.rejects(client.send('a', { raw: 1 }, { raw: true } as object), { code: 'SSE_ERR_INVALID_DATA' })
  await t.rejects(client.send('a', 'x'.repeat(1001)), { code: 'SSE_ERR_EVENT_TOO_LARGE' })
  await t.rejects(client.send('a', 1, { retries: 1 } as object), { code: 'SSE_ERR_INVALID_OPTION', message: /retries/ })
  client.send('a\rb', 'nobody awaits this one, and the process lives on')
  await client.send('a', 2)
  await raw.untilEvents(2)
  t.match(raw.events.slice(1), [{ event: 'a', data: '2' }])
})

t.test('client.send() with raw sends a string as it is', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { raw, client } = await open()
  await client.send('html', '<p>\n "hi"\r\n</p>', { raw: true })
  await client.send('json', '<p>')
  await raw.untilEvents(3)
  t.match(raw.events.slice(1), [{ data: '<p>\n "hi"\n</p>' }, { data: '"<p>"' }])
})

t.test('a rejected send() or stream() is logged even if nobody awaits it', async t => {
  const log = new MemoryLog()
  const app = await buildApp(t, {}, { loggerInstance: log.logger })
  const open = await opener(t, app)
  const { client } = await open()
  client.send('', 'no name')
  client.stream(failing(), { event: 'item' })
  for (const message of ['An event name must not be empty', 'the source failed']) {
    const line = await log.line(({ err }) => err?.message.includes(message) === true)
    t.match(line, { level: ERROR, plugin: 'fastify-sse-hub', clientId: client.id })
  }
})

async function * failing (): AsyncGenerator<never> {
  throw new Error('the source failed')
}
