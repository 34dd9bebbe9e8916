// Brokers that throw, reject or hang in unusual places. The caller is told, the log has a line, and other clients notice
// nothing. tap fails a test when an error is not caught. See broker.test.ts for other failures of publish, start and close.
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import sse, { type Broker, type BrokerMember, type BrokerPast, type BrokerPlaceAhead, type BrokerSink, type SSEPluginOptions } from '../../lib/index.js'
import { AsyncBroker } from '../support/async-broker.js'
import { buildApp } from '../support/app.js'
import { nextDisconnect, recordDisconnects } from '../support/disconnects.js'
import { ERROR, MemoryLog, WARN } from '../support/memory-log.js'
import { Onlookers } from '../support/onlookers.js'
import { opener, received, type Open } from '../support/open.js'

const HEARTBEAT = ':\n\n'

interface Setting {
  readonly app: FastifyInstance
  readonly broker: Broker
  readonly log: MemoryLog
  readonly open: Open
  readonly onlookers: Onlookers
}

/** A hub on a broker, with clients that must not notice the failure. */
async function setting (t: Test, broker: Broker, options: SSEPluginOptions = {}): Promise<Setting> {
  const log = new MemoryLog()
  const app = await buildApp(t, { ...options, broker }, { loggerInstance: log.logger })
  app.setErrorHandler((error: Error, _request, reply) => { reply.code(500).send(`answered: ${error.message}`) })
  const open = await opener(t, app)
  return { app, broker, log, open, onlookers: await Onlookers.open(app, open) }
}

function fails (what: string): never {
  throw new Error(`no ${what}`)
}

/** How a broker's method that returns a promise may fail. */
const failures: Record<string, (what: string) => Promise<never>> = {
  'throws at once': what => fails(what),
  rejects: what => Promise.reject(new Error(`no ${what}`)),
  'rejects later': async what => {
    await new Promise(resolve => setImmediate(resolve))
    fails(what)
  }
}

t.test('publishes that the broker never answers hold up neither other publishes nor app.close()', async t => {
  const broker = new AsyncBroker()
  const { publish } = broker
  broker.publish = (event, key) => event.name === 'hangs' ? new Promise(() => {}) : publish.call(broker, event, key)
  const { app, onlookers } = await setting(t, broker)
  let ended = 0
  for (let i = 0; i < 10; i++) {
    app.sse.send('hangs', i).finally(() => { ended++ })
    await onlookers.publish(t)
  }
  await onlookers.check(t)
  t.equal(app.sse.stats().published, 11, 'and no more is counted')
  await app.close()
  t.equal(ended, 0)
})

for (const method of ['head', 'position'] as const) {
  t.test(`where ${method}() throws, reply.sse() throws that, and no client is left`, async t => {
    const { app, broker, log, open, onlookers } = await setting(t, new AsyncBroker())
    const disconnects = recordDisconnects(app)
    const whole = broker[method]
    broker[method] = () => fails(method)
    const { raw } = await open('room', { id: 'alice' }, { 'last-event-id': 'async:0' })
    await raw.until(() => raw.text !== '')
    t.equal(raw.status, 500)
    t.equal(raw.text, `answered: no ${method}`)
    t.equal(app.sse.stats().connections, 3)
    t.same(disconnects, [])
    await onlookers.check(t)
    broker[method] = whole as never
    const stream = await open('room', { id: 'alice' }, { 'last-event-id': 'async:0' })
    await app.sse.toChannel('room', 'later', 1)
    t.same((await received(stream)).map(({ event }) => event), ['later'])
    t.same(log.complaints, [])
  })
}

t.test('where head() throws, heartbeats go on without an id, and it is logged once', async t => {
  const { app, broker, log, onlookers } = await setting(t, new AsyncBroker(), { heartbeatInterval: 40 })
  const disconnects = recordDisconnects(app)
  const { head } = broker
  const beats = (count: number): Array<Promise<void>> =>
    onlookers.streams.map(async ({ raw }) => await raw.until(() => raw.text.split('\n:\n\n').length > count))
  broker.head = () => fails('head')
  await Promise.all(beats(3))
  broker.head = head
  await onlookers.check(t)
  t.same(disconnects, [])
  t.match(log.complaints, [{ level: ERROR, plugin: 'fastify-sse-hub', err: { message: 'no head' } }])
  t.equal(log.complaints.length, 1)
})

for (const [how, fail] of Object.entries(failures)) {
  if (how !== 'throws at once') {
    t.test(`where it ${how} whether a place was reached, that client is told, and misses nothing from then on`, async t => {
      // As if another instance had delivered the event with this id, and this one had not yet.
      const position = (): BrokerPlaceAhead => ({ position: 100, arrived: fail('place') })
      const { app, log, open, onlookers } = await setting(t, Object.assign(new AsyncBroker() as Broker, { position }))
      await app.sse.toChannel('room', 'before', 1)
      const stream = await open('room', {}, { 'last-event-id': 'ahead' })
      await log.line(({ level, err }) => level >= WARN && err?.message === 'no place')
      for (let n = 2; n < 5; n++) await app.sse.toChannel('room', 'after', n)
      t.same((await received(stream)).map(({ data }) => data), ['1', '2', '3', '4'])
      t.equal(JSON.parse(stream.raw.events[0]!.data).recovered, false)
      stream.client.close()
      await stream.raw.until(() => stream.raw.complete)
      await onlookers.check(t)
      t.equal(log.complaints.length, 1)
    })
  }

  t.test(`where past() ${how}, the client is told that something may be missing, and gets what comes`, async t => {
    const { app, log, open, onlookers } = await setting(t, new PastBroker(() => fail('past')))
    const streams = await Promise.all([open('room'), open('room', {}, { 'last-event-id': 'async:3' })])
    await log.line(({ level, err }) => level >= WARN && err?.message === 'no past')
    await app.sse.toChannel('room', 'live', 1)
    for (const stream of streams) {
      t.same((await received(stream)).map(({ event }) => event), ['live'])
      t.equal(JSON.parse(stream.raw.events[0]!.data).recovered, false)
    }
    t.match(log.complaints, [{ plugin: 'fastify-sse-hub', clientId: streams[0]!.client.id }, { clientId: streams[1]!.client.id }])
    t.equal(log.complaints.length, 2)
    for (const { client, raw } of streams) {
      client.close()
      await raw.until(() => raw.complete)
    }
    await onlookers.check(t)
  })
}

/** A broker whose first ten events were not delivered at this instance. */
class PastBroker extends AsyncBroker {
  readonly past: (targets: readonly string[]) => Promise<ReadonlyMap<string, BrokerPast>>

  constructor (past: PastBroker['past']) {
    super()
    this.past = past
  }

  override async start (sink: BrokerSink): Promise<void> {
    await super.start(sink)
    sink.skipTo(10)
    this.skip(10)
  }
}

for (const [what, broker] of [
  ['past() hangs', () => new PastBroker(() => new Promise(() => {}))],
  ['it never says whether a place was reached', () => Object.assign(new AsyncBroker() as Broker, {
    position: (id: string) => id === 'place' ? { position: 100, arrived: new Promise<boolean>(() => {}) } : -1
  })]
] as const) {
  t.test(`where ${what}, that client alone waits, gets heartbeats, and its stream begins without the answer`, async t => {
    // On a busy machine, fifteen heartbeats take more than a second.
    const { app, log, open, onlookers } = await setting(t, Object.assign(broker(), { answerTimeout: 3000 }), { stallTimeout: 100, heartbeatInterval: 20 })
    const reasons = recordDisconnects(app)
    const { client, raw } = await open('room', {}, { 'last-event-id': 'place' })
    let sent: boolean | undefined
    const own = client.send('own', 1).then(taken => { sent = taken })
    for (let i = 0; i < 5; i++) {
      await app.sse.toChannel('room', 'for it', i)
      await onlookers.publish(t)
    }
    // By the fifteenth heartbeat it has waited for longer than `stallTimeout`.
    await raw.until(() => raw.text.length >= 15 * HEARTBEAT.length)
    t.equal(raw.text.replaceAll(HEARTBEAT, ''), '', 'no heartbeat has an id: the client must not resume after it')
    t.equal(sent, undefined)
    await raw.until(() => raw.text.includes('data: 4\n') && raw.text.includes('event: own'))
    t.equal(raw.events[0]!.event, 'sse:open')
    t.strictSame(raw.events.filter(({ event }) => event === 'for it').map(({ data }) => data), ['0', '1', '2', '3', '4'])
    t.match(raw.events[0]!.data, '"recovered":false')
    await own
    t.equal(sent, true)
    t.strictSame(reasons, [])
    client.close()
    await onlookers.check(t)
    t.equal(app.sse.stats().slowDisconnects, 0)
    t.match(log.complaints, [{ level: WARN, clientId: client.id, err: { code: 'SSE_ERR_BROKER_UNAVAILABLE' } }])
  })

  t.test(`where ${what}, app.close() ends`, async t => {
    const { app, open } = await setting(t, broker(), { closeTimeout: 50 })
    // Only those that keep the process alive.
    const timers = (): number => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
    const before = timers()
    const { raw } = await open('room', {}, { 'last-event-id': 'place' })
    await app.close()
    await raw.untilClosed()
    t.ok(timers() <= before, 'and the process does not wait for the answer')
    t.match(app.sse.stats(), { clients: 0, bufferedBytes: 0 })
  })
}

t.test('where its presence throws, streams open, move and end as ever, and it is logged', async t => {
  const presence = {
    instance: 'this',
    set: (_key: string, { clientId }: BrokerMember) => { if (clientId === 'alice') fails('set') },
    delete: (key: string) => { if (key === '4') fails('delete') },
    in: () => fails('in')
  }
  const { app, log, open, onlookers } = await setting(t, Object.assign(new AsyncBroker(), { presence }))
  const disconnects = recordDisconnects(app)
  const { client, raw } = await open('room', { id: 'alice' })
  t.equal(raw.status, 200)
  client.join('hall')
  client.leave('room')
  await t.rejects(app.sse.presence('room'), { message: 'no in' })
  await app.sse.toChannel('hall', 'live', 1)
  t.match(await raw.untilEvents(2), [{}, { event: 'live' }])
  const gone = nextDisconnect(app)
  raw.destroy()
  await gone
  t.same(disconnects.map(({ reason }) => reason), ['client'])
  await onlookers.check(t)
  t.same(log.complaints.map(({ level, plugin, err }) => [level, plugin, err?.message]),
    ['no set', 'no set', 'no set', 'no delete'].map(message => [ERROR, 'fastify-sse-hub', message]))
})

t.test('a broker that never finishes starting: Fastify gives up after pluginTimeout, and the app can be closed', async t => {
  const app = Fastify({ pluginTimeout: 50 })
  const broker = Object.assign(new AsyncBroker(), { start: () => new Promise<void>(() => {}) })
  app.register(sse, { broker })
  await t.rejects(async () => { await app.ready() }, { code: 'FST_ERR_PLUGIN_TIMEOUT', message: /fastify-sse-hub/ })
  await app.close()
})
