// A client that comes back with its last event id: what it gets, and whether it is told that events are missing.
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Type } from '@sinclair/typebox'
import { EventSource } from 'eventsource'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { BrokerSink, SSEPluginOptions } from '../../lib/index.js'
import { AsyncBroker } from '../support/async-broker.js'
import { buildApp, listen, nextClient } from '../support/app.js'
import { opener, received, receivedNames, type OpenStream } from '../support/open.js'
import { RawClient } from '../support/raw-client.js'

/** Publishes events with these names to channel "a", and resolves with their ids. */
async function publish (app: FastifyInstance, ...names: string[]): Promise<string[]> {
  const ids = []
  for (const name of names) ids.push((await app.sse.toChannel('a', name, null)).id)
  return ids
}

interface Opened {
  recovered: boolean
  clientId: string
  id: string | undefined
}

/** Resolves with the greeting. */
async function openedOf ({ raw }: { raw: RawClient }): Promise<Opened> {
  const [{ event, data, id }] = await raw.untilEvents(1) as [{ event?: string, data: string, id?: string }]
  if (event !== 'sse:open') throw new Error(`the stream begins with ${event}`)
  return { ...JSON.parse(data), id }
}

/** The beginning of a stream: `recovered` of its greeting, and the names of its events. */
async function begun (stream: OpenStream): Promise<{ recovered: boolean, names: Array<string | undefined> }> {
  const names = await receivedNames(stream)
  return { recovered: (await openedOf(stream)).recovered, names }
}

t.test('a client that sends its last event id gets all later events, and is told that nothing is missing', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const [, second, , fourth] = await publish(app, 'one', 'two', 'three', 'four')
  t.strictSame(await begun(await open('a', {}, { 'last-event-id': second! })), { recovered: true, names: ['three', 'four'] })
  t.strictSame(await begun(await open('a', {}, { 'last-event-id': fourth! })), { recovered: true, names: [] })
})

t.test('on a first visit, recovered is false', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  t.strictSame(await begun(await open('a')), { recovered: false, names: [] })
  await publish(app, 'one')
  t.strictSame(await begun(await open('a')), { recovered: false, names: ['one'] })
  t.strictSame(await begun(await open('a', {}, { 'last-event-id': '' })), { recovered: false, names: ['one'] })
})

t.test('a client is told that events are missing if one after its last id is not kept any more', async t => {
  const app = await buildApp(t, { historySize: 2 })
  const open = await opener(t, app)
  const [first, second, third, fourth] = await publish(app, 'one', 'two', 'three', 'four')
  const after = async (id: string): Promise<unknown> => begun(await open('a', {}, { 'last-event-id': id }))
  t.strictSame(await after(first!), { recovered: false, names: ['three', 'four'] })
  t.strictSame(await after(second!), { recovered: true, names: ['three', 'four'] })
  t.strictSame(await after(third!), { recovered: true, names: ['four'] })
  t.strictSame(await after(fourth!), { recovered: true, names: [] })
})

t.test('missing events of channels that the client is not in do not matter', async t => {
  const app = await buildApp(t, { historySize: 2 })
  const open = await opener(t, app)
  const [first] = await publish(app, 'one')
  for (let i = 0; i < 10; i++) await app.sse.toChannel('b', 'other', null)
  await publish(app, 'two')
  await app.sse.send('all', null)
  t.strictSame(await begun(await open('a', {}, { 'last-event-id': first! })), { recovered: true, names: ['two', 'all'] })
  t.equal((await openedOf(await open(['a', 'b'], {}, { 'last-event-id': first! }))).recovered, false)
})

t.test('the last id is taken from the option, then the header, then the query parameter', async t => {
  const app = await buildApp(t)
  const [first, second, third] = await publish(app, 'one', 'two', 'three')
  const options = { lastEventId: third! as string | null | undefined }
  const lastEventIds: Array<string | null> = []
  app.get('/', (_request, reply) => {
    lastEventIds.push(reply.sse('a', options.lastEventId === undefined ? {} : { lastEventId: options.lastEventId }).lastEventId)
  })
  const port = await listen(app)
  const names = async (path: string, headers: Record<string, string> = {}): Promise<Array<string | undefined>> => {
    const raw = new RawClient(port, { path, headers })
    await raw.untilEvents(1)
    await app.sse.send('mark', null, { transient: true })
    await raw.until(() => raw.events.at(-1)?.event === 'mark')
    raw.destroy()
    return raw.events.slice(1, -1).map(({ event }) => event)
  }
  t.strictSame(await names(`/?lastEventId=${first}`, { 'last-event-id': second! }), [])
  options.lastEventId = null
  t.strictSame(await names(`/?lastEventId=${first}`, { 'last-event-id': second! }), ['one', 'two', 'three'])
  options.lastEventId = undefined
  t.strictSame(await names(`/?lastEventId=${first}`, { 'last-event-id': second! }), ['three'])
  t.strictSame(await names(`/?a=1&lastEventId=${first}&b=2`), ['two', 'three'])
  t.strictSame(await names(`/?lastEventId=${first}`, { 'last-event-id': '' }), ['two', 'three'], 'an empty header says nothing')
  t.strictSame(await names(`/?lastEventId=${first}&lastEventId=${second}`), ['three'], 'of two the last, which a client has appended')
  t.strictSame(await names('/?lastEventId='), ['one', 'two', 'three'])
  t.strictSame(await names('/?lasteventid=' + first), ['one', 'two', 'three'])
  t.strictSame(lastEventIds, [third, null, second, first, first, second, null, null], 'the client object tells it')
})

t.test('lastEventIdQuery names the query parameter, and null turns it off', async t => {
  for (const [lastEventIdQuery, path, recovered] of [
    ['since', '/?since=', true], ['since', '/?lastEventId=', false], [null, '/?lastEventId=', false], ['a b', '/?a%20b=', true]
  ] as const) {
    const app = await buildApp(t, { lastEventIdQuery })
    app.get('/', (_request, reply) => { reply.sse('a') })
    const [id] = await publish(app, 'one')
    const raw = new RawClient(await listen(app), { path: path + id })
    t.equal((await openedOf({ raw })).recovered, recovered, `${lastEventIdQuery} and ${path}`)
    raw.destroy()
  }
})

t.test('the parameter works even if a querystring schema removes it from the query', async t => {
  const app = await buildApp(t)
  const queries: unknown[] = []
  app.get('/', { schema: { querystring: Type.Object({ known: Type.Optional(Type.String()) }, { additionalProperties: false }) } }, (request, reply) => {
    queries.push(request.query)
    reply.sse('a')
  })
  const [id] = await publish(app, 'one')
  const raw = new RawClient(await listen(app), { path: `/?known=x&lastEventId=${id}` })
  t.teardown(() => raw.destroy())
  t.equal((await openedOf({ raw })).recovered, true)
  t.strictSame(queries.map(query => ({ ...query as object })), [{ known: 'x' }])
})

t.test('a client with an id that is not from this hub gets what is kept, and is told that events are missing', async t => {
  const app = await buildApp(t)
  const before = await buildApp(t)
  const open = await opener(t, app)
  const [foreign] = await publish(before, 'from before a restart')
  const ids = await publish(app, 'one', 'two', 'three')
  const own = ids[1]!
  const epoch = own.slice(0, own.lastIndexOf('2'))
  t.equal(epoch + '2', own)
  const future = epoch + '4'
  const bad: Record<string, string> = {
    'of another process': foreign!,
    'of another process, with a number from this one': foreign!.slice(0, -1) + '2',
    'the number alone': '2',
    'the epoch alone': epoch,
    future,
    huge: epoch + '9'.repeat(15),
    'beyond what a number holds': epoch + '9'.repeat(400),
    negative: epoch + '-1',
    'with a sign': epoch + '+2',
    'with a leading zero': epoch + '02',
    fractional: epoch + '2.0',
    exponential: epoch + '2e0',
    hexadecimal: epoch + '0x2',
    'with something behind it': own + 'x',
    'with something before it': 'x' + own,
    'in another case': own === own.toLowerCase() ? own.toUpperCase() : own.toLowerCase(),
    'two of them': `${own}, ${own}`,
    'not a number': epoch + 'NaN',
    words: 'not an id',
    'of 10 KB': 'x'.repeat(10_240),
    'ours, and 10 KB of digits': epoch + '1'.repeat(10_240),
    'odd bytes': '\xff\x80\xe9',
    'odd digits': epoch + '\xb2'
  }
  for (const [what, id] of Object.entries(bad)) {
    // The id is written byte by byte, as a request has it: RawClient writes UTF-8, as browsers do.
    t.strictSame(await begun(await open('a', {}, { 'last-event-id': id })), { recovered: false, names: ['one', 'two', 'three'] }, what)
    t.strictSame(await begun(await open('a', { lastEventId: id })), { recovered: false, names: ['one', 'two', 'three'] }, `${what}, as an option`)
    t.strictSame(await begun(await open('a', { replay: 'missed' }, { 'last-event-id': id })), { recovered: false, names: ['one', 'two', 'three'] }, `${what}, with replay: 'missed'`)
  }
  t.equal((await openedOf(await open('a', { replay: 'none' }, { 'last-event-id': foreign! }))).recovered, false)
  await publish(app, 'four')
  t.strictSame(await begun(await open('a', {}, { 'last-event-id': future })), { recovered: true, names: [] }, 'it is a place by now')
})

t.test('single bytes in the header that are not UTF-8 do no harm', async t => {
  const app = await buildApp(t)
  let lastEventId: string | null = null
  app.get('/', (_request, reply) => { lastEventId = reply.sse('a').lastEventId })
  await publish(app, 'one')
  const raw = new RawClient(await listen(app), { method: 'GET', path: '/missing' })
  t.teardown(() => raw.destroy())
  await raw.until(() => raw.head !== '')
  raw.received = Buffer.alloc(0)
  raw.socket.write(Buffer.from('GET / HTTP/1.1\r\nhost: localhost\r\nlast-event-id: \x80\xff\xc3\xa9\r\n\r\n', 'latin1'))
  await raw.until(() => raw.text.includes('sse:open'))
  t.match(await raw.untilEvents(2), [{ event: 'sse:open', data: /"recovered":false/ }, { event: 'one' }])
  t.equal(lastEventId, '\x80\xff\xc3\xa9')
})

t.test('the greeting has an id to resume from if no replay follows', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const [last] = await publish(app, 'one', 'two').then(ids => ids.slice(-1))
  t.equal((await openedOf(await open('a'))).id, undefined, 'a replay follows')
  for (const [what, stream] of Object.entries({
    'it wants none': await open('a', { replay: 'none' }),
    'first visit': await open('a', { replay: 'missed' }),
    'nothing is kept': await open('b', { broadcast: false }),
    'it has everything': await open('a', {}, { 'last-event-id': last! })
  })) t.equal((await openedOf(stream)).id, last, what)
  const { id } = await openedOf(await open('a', { replay: 'missed' }))
  await publish(app, 'three')
  t.strictSame(await begun(await open('a', {}, { 'last-event-id': id! })), { recovered: true, names: ['three'] })
})

t.test('a client that connected before the first event can resume', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { id, recovered } = await openedOf(await open('a'))
  t.type(id, 'string')
  t.equal(recovered, false)
  t.strictSame(await begun(await open('a', {}, { 'last-event-id': id! })), { recovered: true, names: [] })
  await publish(app, 'one', 'two')
  t.strictSame(await begun(await open('a', {}, { 'last-event-id': id! })), { recovered: true, names: ['one', 'two'] })
})

t.test('a client can resume from a position between events that are not kept', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  await publish(app, 'one')
  await app.sse.toChannel('a', 'passing', null, { transient: true })
  const { id } = await openedOf(await open('a', { replay: 'none' }))
  await app.sse.toChannel('a', 'passing', null, { transient: true })
  await publish(app, 'two')
  t.strictSame(await begun(await open('a', {}, { 'last-event-id': id! })), { recovered: true, names: ['two'] })
})

t.test('a heartbeat has the newest id for a client that has everything, and the client can resume from it', async t => {
  const app = await buildApp(t, { heartbeatInterval: 40, historySize: 2 })
  const open = await opener(t, app)
  const { raw } = await open('a')
  await openedOf({ raw })
  // The client would lose these if it could only resume from its greeting.
  const others = []
  for (let i = 0; i < 5; i++) others.push((await app.sse.toChannel('b', 'other', null)).id)
  const beat = `:\nid: ${others.at(-1)}\n\n`
  await raw.until(() => raw.text.includes(beat))
  t.strictSame(raw.events.map(({ event }) => event), ['sse:open'], 'it dispatches nothing')
  raw.destroy()
  await publish(app, 'one')
  t.strictSame(await begun(await open(['a', 'b'], {}, { 'last-event-id': others.at(-1)! })), { recovered: true, names: ['one'] })
})

t.test('a heartbeat does not repeat an id that the client has', async t => {
  const app = await buildApp(t, { heartbeatInterval: 40 })
  const open = await opener(t, app)
  const { raw } = await open('a')
  const { id } = await openedOf({ raw })
  await raw.until(() => raw.text.includes('\n\n:\n\n:\n\n'))
  t.equal(raw.text.split(`id: ${id}\n`).length, 2, 'the greeting told it')
  const [next] = await publish(app, 'one')
  await raw.until(() => raw.text.includes(`:\nid: ${next}\n\n:\n\n`))
})

t.test('with replay: \'none\', a client that sends its last event id is told whether it missed something', async t => {
  for (const options of [{ replay: 'none' }, {}] as const) {
    const app = await buildApp(t, options as SSEPluginOptions)
    const open = await opener(t, app)
    const [first, last] = await publish(app, 'one', 'two')
    const again = async (id: string): Promise<OpenStream> => open('a', { replay: 'none' }, { 'last-event-id': id })
    t.strictSame(await begun(await again(first!)), { recovered: false, names: [] })
    t.strictSame(await begun(await again(last!)), { recovered: true, names: [] })
    await app.sse.toChannel('b', 'other', null)
    t.strictSame(await begun(await again(last!)), { recovered: true, names: [] }, 'what it is not sent it did not miss')
    t.strictSame(await begun(await open('a', { replay: 'none' })), { recovered: false, names: [] })
  }
})

t.test('without a history, recovered is true for a client that missed nothing, and false for one that did', async t => {
  const app = await buildApp(t, { historySize: 0 })
  const open = await opener(t, app)
  const [first, last] = await publish(app, 'one', 'two')
  t.strictSame(await begun(await open('a', {}, { 'last-event-id': first! })), { recovered: false, names: [] })
  t.strictSame(await begun(await open('a', {}, { 'last-event-id': last! })), { recovered: true, names: [] })
})

/** Resolves when a client was disconnected. */
async function nextDisconnect (app: FastifyInstance): Promise<void> {
  await once(app.sse as never, 'disconnect')
}

/** Gives a function that cuts every connection of an app, as a failing network would. */
function cutter (app: FastifyInstance): () => void {
  const sockets = new Set<Socket>()
  app.server.on('connection', socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  return () => { for (const socket of sockets) socket.destroy() }
}

/** An EventSource, and the names of the events that it got, in order. */
function eventSource (t: Test, url: string, names: readonly string[]): { source: EventSource, got: string[], greetings: Array<{ clientId: string, recovered: boolean }>, until: (count: number) => Promise<void> } {
  const source = new EventSource(url)
  t.teardown(() => source.close())
  const got: string[] = []
  const greetings: Array<{ clientId: string, recovered: boolean }> = []
  source.addEventListener('sse:open', event => { greetings.push(JSON.parse(event.data)) })
  for (const name of names) source.addEventListener(name, event => { got.push(JSON.parse(event.data)) })
  return {
    source,
    got,
    greetings,
    async until (count) {
      while (got.length < count) await Promise.race([...names, 'sse:open'].map(name => once(source, name)))
    }
  }
}

t.test('an EventSource that is cut reconnects by itself and gets exactly what it missed', async t => {
  const app = await buildApp(t, { retry: 1 })
  app.get('/', (_request, reply) => { reply.sse('a') })
  const port = await listen(app)
  const cut = cutter(app)
  const { got, greetings, until } = eventSource(t, `http://127.0.0.1:${port}/`, ['tick'])
  const tick = async (data: string): Promise<unknown> => app.sse.toChannel('a', 'tick', data)
  await nextClient(app)
  await tick('0')
  await until(1)
  for (let round = 1; round <= 5; round++) {
    const gone = nextDisconnect(app)
    const back = nextClient(app)
    cut()
    await gone
    // One is published while it is away, one while it connects, and one afterwards.
    await tick(`${round} missed`)
    await tick(`${round} missed too`)
    await back
    await tick(`${round} at once`)
    await until(1 + round * 4 - 1)
    await tick(`${round} live`)
    await until(1 + round * 4)
  }
  t.strictSame(got, ['0', ...[1, 2, 3, 4, 5].flatMap(round => ['missed', 'missed too', 'at once', 'live'].map(what => `${round} ${what}`))])
  t.strictSame(greetings.map(({ recovered }) => recovered), [false, true, true, true, true, true])
})

t.test('an EventSource that has had no event resumes from its greeting', async t => {
  const app = await buildApp(t, { retry: 1 })
  app.get('/', (_request, reply) => { reply.sse('a', { replay: 'missed' }) })
  await publish(app, 'tick', 'tick')
  const port = await listen(app)
  const cut = cutter(app)
  const { source, got, greetings, until } = eventSource(t, `http://127.0.0.1:${port}/`, ['tick'])
  await once(source, 'sse:open')
  const gone = nextDisconnect(app)
  cut()
  await gone
  await app.sse.toChannel('a', 'tick', 'missed')
  await until(1)
  t.strictSame(got, ['missed'])
  t.strictSame(greetings.map(({ recovered }) => recovered), [false, true])
})

t.test('an EventSource with its own client id gets what was sent to that id while it was away', async t => {
  const app = await buildApp(t, { retry: 1 })
  app.get('/', (_request, reply) => { reply.sse([], { id: 'alice' }) })
  const port = await listen(app)
  const cut = cutter(app)
  const { source, got, greetings, until } = eventSource(t, `http://127.0.0.1:${port}/`, ['tick'])
  await once(source, 'sse:open')
  await app.sse.toClient('alice', 'tick', 'first')
  await until(1)
  const gone = nextDisconnect(app)
  cut()
  await gone
  const { recipients } = await app.sse.toClient('alice', 'tick', 'missed')
  await app.sse.toClient('bob', 'tick', 'not hers')
  await until(2)
  await app.sse.toClient('alice', 'tick', 'live')
  await until(3)
  t.equal(recipients, 0)
  t.strictSame(got, ['first', 'missed', 'live'])
  t.strictSame(greetings, [{ clientId: 'alice', recovered: false }, { clientId: 'alice', recovered: true }])
})

t.test('after a restart, an EventSource is told that events are missing, and gets what is kept', async t => {
  const first = await buildApp(t, { retry: 1, reconnectSpread: 0 })
  const route = (app: FastifyInstance): unknown => app.get('/', (_request, reply) => { reply.sse('a') })
  route(first)
  const port = await listen(first)
  const { got, greetings, until } = eventSource(t, `http://127.0.0.1:${port}/`, ['tick'])
  await nextClient(first)
  await first.sse.toChannel('a', 'tick', 'old')
  await until(1)
  await first.close()
  const second = await buildApp(t, { retry: 1 })
  route(second)
  for (const data of ['new1', 'new2', 'new3']) await second.sse.toChannel('a', 'tick', data)
  await second.listen({ port, host: '127.0.0.1' })
  await until(4)
  t.strictSame(got, ['old', 'new1', 'new2', 'new3'])
  t.strictSame(greetings.map(({ recovered }) => recovered), [false, false])
})

t.test('a hub does not accept the event ids of another hub of the same app', async t => {
  const app = await buildApp(t)
  const { id } = await app.sse.toChannel('a', 'one', null)
  const other = await buildApp(t)
  await other.sse.toChannel('a', 'other', null)
  const open = await opener(t, other)
  t.strictSame((await received(await open('a', {}, { 'last-event-id': id }))).map(({ event }) => event), ['other'])
})

t.test('a client ahead of its instance, whose place turns out to be none, gets what came since the broker skipped, once', async t => {
  const broker = new AsyncBroker()
  let sink: BrokerSink
  const { start } = broker
  broker.start = async given => {
    sink = given
    await start.call(broker, given)
  }
  let answer = (_isPlace: boolean): void => {}
  const arrived = new Promise<boolean>(resolve => { answer = resolve })
  broker.position = (() => ({ position: 100, arrived })) as never
  const app = await buildApp(t, { broker })
  const open = await opener(t, app)
  const stream = await open('a', {}, { 'last-event-id': 'async:100' })
  sink!.skipTo(50)
  broker.skip(50)
  await publish(app, 'one')
  answer(false)
  t.strictSame(await begun(stream), { recovered: false, names: ['one'] })
})
