// Publishing: who gets an event, its options, and the beginning of a stream.
import t from 'tap'
import { SSE_ERR_INVALID_CHANNEL, type SSEPublishOptions } from '../../lib/index.js'
import { buildApp } from '../support/app.js'
import { opener, received, receivedNames } from '../support/open.js'

t.test('send() reaches every client, whatever its channels', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const streams = [await open(), await open('news'), await open(['news', 'alerts'])]
  const { id, recipients } = await app.sse.send('hello', { a: 1 })
  t.equal(recipients, 3)
  t.type(id, 'string')
  for (const stream of streams) t.strictSame(await received(stream), [{ id, event: 'hello', data: '{"a":1}' }])
})

t.test('toChannel() reaches the clients in the channel and no others', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const inside = [await open('news'), await open(['news', 'alerts'])]
  const outside = [await open(), await open('alerts'), await open('new'), await open('News')]
  const { id, recipients } = await app.sse.toChannel('news', 'hello', 1)
  t.equal(recipients, 2)
  for (const stream of inside) t.strictSame(await received(stream), [{ id, event: 'hello', data: '1' }])
  for (const stream of outside) t.strictSame(await received(stream), [])
})

t.test('toChannels() reaches a client once, even if it is in several of the channels', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const both = await open(['news', 'alerts'])
  const one = await open('alerts')
  const none = await open('sport')
  const { id, recipients } = await app.sse.toChannels(['news', 'alerts', 'news', 'weather'], 'hello', 1)
  t.equal(recipients, 2)
  t.strictSame(await received(both), [{ id, event: 'hello', data: '1' }])
  t.strictSame(await received(one), [{ id, event: 'hello', data: '1' }])
  t.strictSame(await received(none), [])
})

t.test('an event for several channels is replayed once to a client that is in several of them', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { id } = await app.sse.toChannels(['news', 'alerts'], 'hello', 1)
  t.strictSame(await received(await open(['alerts', 'news'])), [{ id, event: 'hello', data: '1' }])
  t.strictSame(await received(await open(['alerts'])), [{ id, event: 'hello', data: '1' }])
})

t.test('toChannels() with an empty list is refused', async t => {
  const app = await buildApp(t)
  await t.rejects(app.sse.toChannels([], 'hello', 1), SSE_ERR_INVALID_CHANNEL)
  t.equal(app.sse.stats().published, 0)
})

t.test('toClient() reaches all connections of one id and no others', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const alice = [await open([], { id: 'alice' }), await open('news', { id: 'alice' })]
  const others = [await open([], { id: 'bob' }), await open('alice'), await open()]
  const { id, recipients } = await app.sse.toClient('alice', 'hello', 1)
  t.equal(recipients, 2)
  for (const stream of alice) t.strictSame(await received(stream), [{ id, event: 'hello', data: '1' }])
  for (const stream of others) t.strictSame(await received(stream), [])
})

t.test('toClient() reaches a client by the random id that the hub gave it', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  const other = await open()
  t.equal((await app.sse.toClient(stream.client.id, 'hello', 1)).recipients, 1)
  t.strictSame(await receivedNames(stream), ['hello'])
  t.strictSame(await receivedNames(other), [])
})

t.test('toClient() reaches a client that gets no broadcasts', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open([], { id: 'alice', broadcast: false })
  t.equal((await app.sse.toClient('alice', 'hello', 1)).recipients, 1)
  t.strictSame(await receivedNames(stream), ['hello'])
})

t.test('a publish that no client gets is accepted, and has 0 recipients', async t => {
  const app = await buildApp(t)
  const answers = [
    await app.sse.send('hello', 1),
    await app.sse.toChannel('nobody', 'hello', 1),
    await app.sse.toChannels(['no', 'body'], 'hello', 1),
    await app.sse.toClient('nobody', 'hello', 1)
  ]
  t.strictSame(answers.map(({ recipients }) => recipients), [0, 0, 0, 0])
  t.equal(new Set(answers.map(({ id }) => id)).size, 4, 'every event has an id of its own')
})

t.test('a channel can have any name, such as that of an object\'s member', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  for (const name of ['__proto__', 'constructor', 'toString', 'with space', 'a:b/c?d', 'größe 🎉', ' ', 'x'.repeat(256)]) {
    const stream = await open(name)
    t.equal((await app.sse.toChannel(name, 'hello', 1)).recipients, 1, name)
    t.strictSame(await receivedNames(stream), ['hello'])
  }
})

t.test('transient: true is delivered live without an id, and not replayed', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open('news')
  const { id, recipients } = await app.sse.toChannel('news', 'typing', 1, { transient: true })
  const kept = await app.sse.toChannel('news', 'message', 2)
  t.equal(id, null)
  t.equal(recipients, 1)
  t.strictSame(await received(stream), [
    { id: undefined, event: 'typing', data: '1' },
    { id: kept.id, event: 'message', data: '2' }
  ])
  t.match(stream.raw.text, '\n\nevent: typing\ndata: 1\n\n', 'no id: line at all')
  t.strictSame(await received(await open('news')), [{ id: kept.id, event: 'message', data: '2' }])
  t.equal(app.sse.stats().historyEvents, 1)
})

t.test('transient: false keeps the event', async t => {
  const app = await buildApp(t)
  const { id } = await app.sse.send('hello', 1, { transient: false as boolean })
  t.type(id, 'string')
  t.equal(app.sse.stats().historyEvents, 1)
})

t.test('except skips all connections of a client id, and is not counted', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const senders = [await open('chat', { id: 'alice' }), await open('chat', { id: 'alice' })]
  const other = await open('chat', { id: 'bob' })
  const { id, recipients } = await app.sse.toChannel('chat', 'message', 'hi', { except: 'alice' })
  t.equal(recipients, 1)
  t.equal((await app.sse.send('all', 1, { except: 'alice' })).recipients, 1)
  t.equal((await app.sse.toClient('alice', 'self', 1, { except: 'alice' })).recipients, 0)
  for (const sender of senders) t.strictSame(await received(sender), [])
  const [message] = await received(other)
  t.strictSame(message, { id, event: 'message', data: '"hi"' })
})

t.test('except also works in a replay', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await app.sse.toChannel('chat', 'message', 1, { except: 'alice' })
  await app.sse.toChannel('chat', 'other', 2)
  t.strictSame(await receivedNames(await open('chat', { id: 'alice' })), ['other'])
  t.strictSame(await receivedNames(await open('chat', { id: 'bob' })), ['message', 'other'])
})

t.test('except with an unknown id skips no client', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  t.equal((await app.sse.send('hello', 1, { except: 'nobody' })).recipients, 1)
  t.strictSame(await receivedNames(stream), ['hello'])
})

t.test('retry puts a retry: field into the event, live and replayed', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  const first = await app.sse.send('hello', 1, { retry: 12345 })
  const second = await app.sse.send('hello', 2, { retry: 0 })
  const third = await app.sse.send('hello', 3)
  const wire = `event: hello\nretry: 12345\ndata: 1\nid: ${first.id}\n\n` +
    `event: hello\nretry: 0\ndata: 2\nid: ${second.id}\n\n` +
    `event: hello\ndata: 3\nid: ${third.id}\n\n`
  await received(stream)
  t.match(stream.raw.text, wire)
  const late = await open()
  await received(late)
  t.match(late.raw.text, wire)
})

t.test('raw: true sends a string as it is, with its line breaks as LF', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  const { id } = await app.sse.send('fragment', '<ul>\r\n  <li>a</li>\r</ul>\n', { raw: true })
  t.strictSame(await received(stream), [{ id, event: 'fragment', data: '<ul>\n  <li>a</li>\n</ul>\n' }])
  t.match(stream.raw.text, `event: fragment\ndata: <ul>\ndata:   <li>a</li>\ndata: </ul>\ndata: \nid: ${id}\n\n`)
})

t.test('with the same idempotencyKey, an event is stored once and gets the same answer', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open('news')
  const first = await app.sse.toChannel('news', 'hello', 1, { idempotencyKey: 'order-1' })
  await open('news')
  const again = await app.sse.toChannel('news', 'hello', 1, { idempotencyKey: 'order-1' })
  const other = await app.sse.toChannel('news', 'hello', 2, { idempotencyKey: 'order-2' })
  t.strictSame(again, first)
  t.not(other.id, first.id)
  t.equal(other.recipients, 2)
  t.strictSame((await received(stream)).map(({ data }) => data), ['1', '2'])
  t.strictSame((await received(await open('news'))).map(({ data }) => data), ['1', '2'], 'nor is it replayed twice')
  t.equal(app.sse.stats().published, 2)
})

t.test('an idempotencyKey works for transient events, too', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  const options = { transient: true, idempotencyKey: 'k' } as const
  t.strictSame(await app.sse.send('hello', 1, options), { id: null, recipients: 1 })
  t.strictSame(await app.sse.send('hello', 1, options), { id: null, recipients: 1 })
  t.strictSame(await receivedNames(stream), ['hello'])
})

t.test('a publish that was refused does not use up its idempotencyKey', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  await t.rejects(app.sse.send('hello', 1n, { idempotencyKey: 'k' }))
  t.equal((await app.sse.send('hello', 1, { idempotencyKey: 'k' })).recipients, 1)
  t.strictSame(await receivedNames(stream), ['hello'])
})

t.test('options may be given as undefined', async t => {
  const app = await buildApp(t)
  const options = { transient: undefined, except: undefined, retry: undefined, raw: undefined, idempotencyKey: undefined }
  const { id } = await app.sse.send('hello', 1, options as unknown as SSEPublishOptions)
  t.type(id, 'string')
  await app.sse.send('hello', 1, undefined)
})

t.test('with broadcast: false, a client gets no events of send(), live or from history', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await app.sse.send('before', 1)
  const privateOne = await open('news', { broadcast: false })
  const usual = await open('news')
  t.equal((await app.sse.send('hello', 1)).recipients, 1)
  t.equal((await app.sse.toChannel('news', 'message', 2)).recipients, 2)
  t.strictSame(await receivedNames(privateOne), ['message'])
  t.strictSame(await receivedNames(usual), ['before', 'hello', 'message'])
})

t.test('with events, a client gets only the events with these names, live and from history', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await app.sse.send('a', 1)
  await app.sse.send('b', 2)
  const stream = await open('news', { events: ['a', 'c'] })
  t.equal((await app.sse.send('a', 3)).recipients, 1)
  t.equal((await app.sse.send('b', 4)).recipients, 0)
  t.equal((await app.sse.toChannel('news', 'b', 5)).recipients, 0)
  t.equal((await app.sse.toClient(stream.client.id, 'b', 6)).recipients, 0)
  t.equal((await app.sse.toChannel('news', 'c', 7)).recipients, 1)
  t.strictSame((await received(stream)).map(({ data }) => data), ['1', '3', '7'])
})

t.test('with an empty list of events, a client gets none', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open([], { events: [] })
  t.equal((await app.sse.send('a', 1)).recipients, 0)
  t.strictSame(await received(stream), [])
})

t.test('a stream begins with the hub\'s retry and the greeting', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open([], { id: 'alice' })
  const { id } = await app.sse.send('hello', 1)
  await received(stream)
  const greeting = stream.raw.events[0]!
  t.equal(greeting.event, 'sse:open')
  t.strictSame(JSON.parse(greeting.data), { clientId: 'alice', recovered: false })
  t.type(greeting.id, 'string', 'a client that got no event yet can resume')
  t.ok(stream.raw.text.startsWith(
    `retry: 3000\nevent: sse:open\ndata: {"clientId":"alice","recovered":false}\nid: ${greeting.id}\n\nevent: hello\ndata: 1\nid: ${id}\n\n`))
})

t.test('a greeting before a replay has no id', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { id } = await app.sse.send('hello', 1)
  const stream = await open([], { id: 'alice' })
  await received(stream)
  t.ok(stream.raw.text.startsWith(
    `retry: 3000\nevent: sse:open\ndata: {"clientId":"alice","recovered":false}\n\nevent: hello\ndata: 1\nid: ${id}\n\n`))
})

t.test('the bytes at the beginning of a stream are exact', async t => {
  for (const where of ['the registration', 'reply.sse()']) {
    for (const [options, beginning] of [
      [{ greeting: false }, 'retry: 3000\n\n'],
      [{ greeting: false, retry: 0 }, 'retry: 0\n\n'],
      [{ greeting: false, retry: null }, ''],
      [{ retry: 1500 }, 'retry: 1500\nevent: sse:open\ndata: {"clientId":"alice","recovered":false}\nid: ID\n\n'],
      [{ retry: null }, 'event: sse:open\ndata: {"clientId":"alice","recovered":false}\nid: ID\n\n']
    ] as const) {
      const app = await buildApp(t, where === 'the registration' ? options : {})
      const open = await opener(t, app)
      const stream = await open([], where === 'the registration' ? { id: 'alice' } : { id: 'alice', ...options })
      await app.sse.send('hello', 1, { transient: true })
      await received(stream)
      const [, text] = /^(.*?)event: hello\n/s.exec(stream.raw.text)!
      t.equal(text!.replace(/id: \S+/, 'id: ID'), beginning, `${where}: ${JSON.stringify(options)}`)
      stream.raw.destroy()
    }
  }
})

t.test('the options of reply.sse() have priority over those of the registration', async t => {
  const app = await buildApp(t, { greeting: false, retry: null, replay: 'none' })
  const open = await opener(t, app)
  await app.sse.send('hello', 1)
  const stream = await open([], { greeting: true, retry: 7, replay: 'all' })
  t.strictSame(await receivedNames(stream), ['hello'])
  t.ok(stream.raw.text.startsWith('retry: 7\nevent: sse:open\n'))
  t.strictSame(await receivedNames(await open()), [])
})

t.test('join() subscribes from now on, leave() unsubscribes', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open('lobby')
  await app.sse.toChannel('room', 'before', 1)
  stream.client.join('room')
  stream.client.join('room')
  t.strictSame([...stream.client.channels], ['lobby', 'room'])
  t.equal((await app.sse.toChannel('room', 'during', 2)).recipients, 1)
  t.equal((await app.sse.toChannels(['room', 'lobby'], 'both', 3)).recipients, 1)
  stream.client.leave('room')
  stream.client.leave('room')
  stream.client.leave('never-joined')
  t.strictSame([...stream.client.channels], ['lobby'])
  t.equal((await app.sse.toChannel('room', 'after', 4)).recipients, 0)
  t.equal((await app.sse.toChannel('lobby', 'lobby', 5)).recipients, 1)
  t.strictSame(await receivedNames(stream), ['during', 'both', 'lobby'])
})

t.test('events arrive in the order in which they were published, whichever method published them', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const streams = [await open(['a', 'b'], { id: 'alice' }), await open(['b', 'a'], { id: 'alice' })]
  const publishes = []
  for (let n = 0; n < 100; n += 4) {
    publishes.push(
      app.sse.send('n', n),
      app.sse.toChannel('a', 'n', n + 1),
      app.sse.toChannels(['b', 'a'], 'n', n + 2, { transient: n % 8 === 0 }),
      app.sse.toClient('alice', 'n', n + 3)
    )
  }
  await Promise.all(publishes)
  for (const stream of streams) {
    t.strictSame((await received(stream)).map(({ data }) => Number(data)), Array.from({ length: 100 }, (_, n) => n))
  }
})

t.test('an event that a connect listener publishes reaches the new client after its greeting', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  app.sse.on('connect', client => { app.sse.toClient(client.id, 'welcome', client.id) })
  const stream = await open()
  t.strictSame((await received(stream)).map(({ data }) => data), [JSON.stringify(stream.client.id)])
  t.equal(stream.raw.events[0]!.event, 'sse:open')
})
