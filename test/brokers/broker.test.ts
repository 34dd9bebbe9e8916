import { once } from 'node:events'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import sse, {
  SSE_ERR_BROKER_UNAVAILABLE, SSE_ERR_INVALID_OPTION, type Broker, type BrokerEvent, type BrokerReceipt, type BrokerSink, type SSEPluginOptions
} from '../../lib/index.js'
import { AsyncBroker } from '../support/async-broker.js'
import { buildApp } from '../support/app.js'
import { brokerEvent } from '../support/broker-sink.js'
import { MemoryLog } from '../support/memory-log.js'
import { opener, received, receivedNames } from '../support/open.js'
import { unixHub } from '../support/unix-hub.js'

/** Accepts all events except those with the name `fails`. */
class FailingBroker extends AsyncBroker {
  fail: () => Promise<BrokerReceipt> = () => Promise.reject(new Error('not set'))

  override publish (event: BrokerEvent, idempotencyKey: string): Promise<BrokerReceipt> {
    return event.name === 'fails' ? this.fail() : super.publish(event, idempotencyKey)
  }
}

interface LogLine { level: number, msg: string, err?: { message: string, code?: string } }

async function loggingApp (t: Test, options: SSEPluginOptions): Promise<{ app: FastifyInstance, lines: LogLine[] }> {
  const lines: LogLine[] = []
  const app = await buildApp(t, options, { logger: { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } })
  return { app, lines }
}

t.test('a broker that starts asynchronously is awaited by register()', async t => {
  const broker = new AsyncBroker()
  const app = await buildApp(t, { broker })
  t.equal(broker.started, true)
  t.equal((await app.sse.send('x', 1)).recipients, 0)
})

t.test('a broker that fails to start rejects register()', async t => {
  for (const start of [() => { throw new Error('no start') }, () => Promise.reject(new Error('no start'))]) {
    const app = Fastify()
    t.teardown(() => app.close())
    const broker = Object.assign(new AsyncBroker(), { start })
    await t.rejects((async () => { await app.register(sse, { broker }) })(), { message: 'no start' })
  }
})

t.test('events of an asynchronous broker arrive in its order, with its ids, and the recipients are right', async t => {
  const app = await buildApp(t, { broker: new AsyncBroker() })
  const open = await opener(t, app)
  const streams = [await open('a'), await open(['a', 'b'], { id: 'alice' })]
  const answers = await Promise.all([
    app.sse.send('n', 1),
    app.sse.toChannel('b', 'n', 2),
    app.sse.toChannels(['a', 'b'], 'n', 3),
    app.sse.toClient('alice', 'n', 4),
    app.sse.send('n', 5, { transient: true }),
    app.sse.send('n', 6, { except: 'alice' })
  ])
  t.strictSame(answers, [
    { id: 'async:1', recipients: 2 },
    { id: 'async:2', recipients: 1 },
    { id: 'async:3', recipients: 2 },
    { id: 'async:4', recipients: 1 },
    { id: null, recipients: 2 },
    { id: 'async:6', recipients: 1 }
  ])
  const seen = await Promise.all(streams.map(received))
  t.strictSame(seen.map(events => events.map(({ id, data }) => [id, data])), [
    [['async:1', '1'], ['async:3', '3'], [undefined, '5'], ['async:6', '6']],
    [['async:1', '1'], ['async:2', '2'], ['async:3', '3'], ['async:4', '4'], [undefined, '5']]
  ])
})

t.test('nothing reaches a client before the broker hands it back', async t => {
  const app = await buildApp(t, { broker: new AsyncBroker() })
  const open = await opener(t, app)
  const stream = await open()
  const publishing = app.sse.send('later', 1)
  stream.client.send('own', 1)
  await publishing
  t.strictSame(await receivedNames(stream), ['own', 'later'])
})

t.test('a broker that holds its events back and reorders them: clients see its order', async t => {
  const held: Array<() => void> = []
  let sink: BrokerSink
  let position = 0
  const broker: Broker = {
    start (given) { sink = given },
    publish: event => new Promise(resolve => {
      held.push(() => {
        position++
        resolve({ id: `p${position}`, recipients: sink.deliver(event, position, `p${position}`) })
      })
    }),
    head: () => `p${position}`,
    position: id => /^p\d+$/.test(id) && Number(id.slice(1)) <= position ? Number(id.slice(1)) : -1,
    close () {}
  }
  const app = await buildApp(t, { broker })
  const open = await opener(t, app)
  const streams = [await open('a'), await open()]
  const publishes = ['first', 'second', 'third'].map(name => app.sse.send(name, 1))
  for (const release of held.reverse()) release()
  t.strictSame((await Promise.all(publishes)).map(({ id }) => id), ['p3', 'p2', 'p1'])
  for (const stream of streams) t.strictSame(await receivedNames(stream), ['third', 'second', 'first'])
  t.strictSame(await receivedNames(await open()), ['third', 'second', 'first'], 'and so it is replayed')
})

t.test('recipients counts those who are there when the broker accepts, not when the call is made', async t => {
  const broker = new FailingBroker()
  const app = await buildApp(t, { broker })
  const open = await opener(t, app)
  const stream = await open('a')
  const publishing = app.sse.toChannel('a', 'x', 1)
  stream.client.leave('a')
  t.equal((await publishing).recipients, 0)
  t.strictSame(await receivedNames(stream), [])
})

t.test('a client resumes by the ids of a custom broker', async t => {
  const app = await buildApp(t, { broker: new AsyncBroker() })
  const open = await opener(t, app)
  const { id } = await app.sse.send('first', 1)
  await app.sse.send('second', 2)
  const stream = await open([], {}, { 'last-event-id': id })
  t.strictSame(await receivedNames(stream), ['second'])
  t.equal(JSON.parse(stream.raw.events[0]!.data).recovered, true)
  const foreign = await open([], {}, { 'last-event-id': 'async:99' })
  t.strictSame(await receivedNames(foreign), ['first', 'second'])
  t.equal(JSON.parse(foreign.raw.events[0]!.data).recovered, false)
  const newest = await open([], { replay: 'none' })
  await received(newest)
  t.equal(newest.raw.events[0]!.id, 'async:2', 'the greeting carries its head')
})

t.test('the idempotency key reaches the broker as it is, and none as an empty string', async t => {
  const keys: string[] = []
  class KeyBroker extends AsyncBroker {
    override publish (event: BrokerEvent, idempotencyKey: string): Promise<BrokerReceipt> {
      keys.push(idempotencyKey)
      return super.publish(event, idempotencyKey)
    }
  }
  const app = await buildApp(t, { broker: new KeyBroker() })
  const open = await opener(t, app)
  const stream = await open()
  const [first, again] = await Promise.all([app.sse.send('x', 1, { idempotencyKey: 'k' }), app.sse.send('x', 1, { idempotencyKey: 'k' })])
  await app.sse.send('y', 2)
  t.strictSame(first, again)
  t.strictSame(keys, ['k', 'k', ''])
  t.strictSame(await receivedNames(stream), ['x', 'y'])
})

t.test('a broker sees an event as the hub made it', async t => {
  const events: BrokerEvent[] = []
  class SeeingBroker extends AsyncBroker {
    override publish (event: BrokerEvent, idempotencyKey: string): Promise<BrokerReceipt> {
      events.push(event)
      return super.publish(event, idempotencyKey)
    }
  }
  const app = await buildApp(t, { broker: new SeeingBroker() })
  await app.sse.send('a', { n: 1 })
  await app.sse.toChannel('room', 'b', 'x', { raw: true, retry: 5, except: 'alice' })
  await app.sse.toChannels(['x', 'y', 'x'], 'c', undefined, { transient: true })
  await app.sse.toClient('alice', 'd', [])
  t.strictSame(events, [
    brokerEvent({ targets: [''], name: 'a', data: '{"n":1}' }),
    brokerEvent({ targets: ['room'], name: 'b', data: 'x', retry: 5, except: 'alice', raw: true }),
    brokerEvent({ targets: ['x', 'y'], name: 'c', data: 'null', transient: true }),
    brokerEvent({ targets: ['\0alice'], name: 'd', data: '[]', compress: false })
  ])
})

t.test('a broker that fails: the publish rejects and says whether the event may be stored, and nothing is delivered', async t => {
  const broker = new FailingBroker()
  const { app, lines } = await loggingApp(t, { broker })
  const open = await opener(t, app)
  const stream = await open('a')
  const reason = new Error('the reason')
  const cases: Array<[what: string, fail: () => Promise<BrokerReceipt>, inDoubt: boolean, message: RegExp, cause: unknown]> = [
    ['throws', () => { throw reason }, true, /unavailable: the reason/, reason],
    ['rejects', () => Promise.reject(reason), true, /unavailable: the reason/, reason],
    ['rejects with no Error', () => Promise.reject('words'), true, /unavailable: words/, 'words'], // eslint-disable-line prefer-promise-reject-errors -- what a careless broker does
    ['knows that it is not stored', () => Promise.reject(new SSE_ERR_BROKER_UNAVAILABLE('offline', false)), false, /unavailable: offline/, undefined],
    ['does not know', () => Promise.reject(new SSE_ERR_BROKER_UNAVAILABLE('timed out', true)), true, /unavailable: timed out/, undefined],
    ['throws what it knows', () => { throw new SSE_ERR_BROKER_UNAVAILABLE('offline', false) }, false, /unavailable: offline/, undefined]
  ]
  for (const [what, fail, inDoubt, message, cause] of cases) {
    broker.fail = fail
    lines.length = 0
    const error = await app.sse.toChannel('a', 'fails', 1).catch(error => error)
    t.ok(error instanceof SSE_ERR_BROKER_UNAVAILABLE, what)
    t.equal(error.code, 'SSE_ERR_BROKER_UNAVAILABLE')
    t.equal(error.statusCode, 503)
    t.equal(error.inDoubt, inDoubt, what)
    t.match(error.message, message)
    t.equal(error.cause, cause)
    t.equal(lines.length, 1, 'it is logged')
    t.match(lines[0], { level: 50, err: { code: 'SSE_ERR_BROKER_UNAVAILABLE' } })
  }
  t.equal(app.sse.stats().published, 0)
  const { id } = await app.sse.toChannel('a', 'works', 1)
  t.strictSame(await received(stream), [{ id, event: 'works', data: '1' }], 'the next one arrives')
})

t.test('a publish that its broker refuses answers 503 where a route lets it through', async t => {
  const broker = new FailingBroker()
  const app = await buildApp(t, { broker })
  app.post('/', async () => await app.sse.send('fails', 1))
  const response = await app.inject({ method: 'POST', url: '/' })
  t.equal(response.statusCode, 503)
  t.equal(response.json().code, 'SSE_ERR_BROKER_UNAVAILABLE')
})

t.test('app.close() closes the broker, after the last client has gone', async t => {
  const order: string[] = []
  const broker = Object.assign(new AsyncBroker(), { close: async () => { order.push('broker') } })
  const app = await buildApp(t, { broker })
  const open = await opener(t, app)
  app.sse.on('disconnect', () => order.push('client'))
  await open()
  await open()
  await app.close()
  t.strictSame(order, ['client', 'client', 'broker'])
})

t.test('app.close() ends though the broker never finishes closing', async t => {
  const broker = Object.assign(new AsyncBroker(), { close: () => new Promise<void>(() => {}) })
  const app = await buildApp(t, { broker, closeTimeout: 50 })
  const open = await opener(t, app)
  const { raw } = await open()
  const closed = once(raw.socket, 'close')
  await app.close()
  await closed
  t.ok(raw.complete, 'the stream has its end')
})

t.test('a client that takes none of its last bytes does not shorten the broker\'s time to close, whose failure is logged', async t => {
  const log = new MemoryLog()
  let closed = false
  const close = async (): Promise<void> => {
    for (let turn = 0; turn < 5; turn++) await new Promise(resolve => setImmediate(resolve))
    closed = true
    throw new Error('no close')
  }
  const broker = Object.assign(new AsyncBroker(), { close })
  const { app, open } = await unixHub(t, { broker, closeTimeout: 20, maxBufferedBytes: 64 * 1024 * 1024 }, { loggerInstance: log.logger } as object)
  const { client, reader } = await open({ paused: true })
  const gone = once(app.sse as never, 'disconnect')
  client.send('large', 'x'.repeat(1_000_000))
  await app.close()
  await gone
  t.equal(closed, true)
  t.match(log.complaints, [{ level: 50, err: { message: 'no close' }, msg: 'the broker failed to close' }])
  reader.destroy()
})

t.test('a broker that never finishes closing is logged', async t => {
  const { app, lines } = await loggingApp(t, { broker: Object.assign(new AsyncBroker(), { close: () => new Promise<void>(() => {}) }) })
  await app.ready()
  await app.close()
  t.match(lines, [{ level: 50, msg: /broker did not close within/ }])
})

t.test('a broker that fails to close is logged, and app.close() resolves', async t => {
  for (const close of [() => { throw new Error('no close') }, () => Promise.reject(new Error('no close'))]) {
    const { app, lines } = await loggingApp(t, { broker: Object.assign(new AsyncBroker(), { close }) })
    await app.ready()
    await app.close()
    t.equal(lines.length, 1)
    t.match(lines[0], { level: 50, err: { message: 'no close' }, msg: /broker/ })
  }
})

t.test('an object that lacks a method of a broker rejects register()', async t => {
  for (const method of ['start', 'publish', 'head', 'position', 'close']) {
    for (const value of [undefined, 1]) {
      const app = Fastify()
      t.teardown(() => app.close())
      const broker = Object.assign(new AsyncBroker(), { [method]: value })
      const error = await (async () => { await app.register(sse, { broker }) })().catch(error => error)
      t.ok(error instanceof SSE_ERR_INVALID_OPTION)
      t.match(error.message, new RegExp(`broker.*${method}`), 'it names the method')
    }
  }
})

t.test('an unawaited publish that its broker refuses later is handled and logged', async t => {
  const broker = new FailingBroker()
  const { app, lines } = await loggingApp(t, { broker })
  const unhandled: unknown[] = []
  const listener = (error: unknown): void => { unhandled.push(error) }
  process.on('unhandledRejection', listener)
  t.teardown(() => process.off('unhandledRejection', listener))
  app.sse.send('fails', 1)
  await app.sse.send('works', 1)
  await new Promise(resolve => setImmediate(resolve))
  t.equal(lines.length, 1)
  t.strictSame(unhandled, [])
})
