// A hub's metrics in real registries of prom-client.
import { readFile } from 'node:fs/promises'
import Fastify from 'fastify'
import { AggregatorRegistry, Counter, Registry, type OpenMetricsContentType } from 'prom-client'
import t, { type Test } from 'tap'
import { FanoutTimer } from '../../lib/hub/fanout-timer.js'
import { coreOf } from '../../lib/hub/hub.js'
import sse, { SSE_ERR_BROKER_UNAVAILABLE, SSE_ERR_INVALID_OPTION, type BrokerStats, type SSEPluginOptions, type SSEStats } from '../../lib/index.js'
import { Scheduler } from '../../lib/client/scheduler.js'
import { buildApp } from '../support/app.js'
import { AsyncBroker } from '../support/async-broker.js'
import { ERROR, MemoryLog } from '../support/memory-log.js'
import { opener } from '../support/open.js'
import { root } from '../support/root.js'
import { unixHub } from '../support/unix-hub.js'
import { undisturbed } from '../support/undisturbed.js'

const KB = 'x'.repeat(1000)

/** A registry's samples, by name and labels as they are printed. */
async function samples (register: Registry<any>): Promise<Map<string, number>> {
  const lines = (await register.metrics()).split('\n').filter(line => line !== '' && !line.startsWith('#'))
  return new Map(lines.map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]))
}

/** The value that each metric must have for a result of `stats()`. */
const OF_STATS: Record<string, (stats: SSEStats) => number> = {
  sse_clients: ({ clients }) => clients,
  sse_channels: ({ channels }) => channels,
  sse_connections_total: ({ connections }) => connections,
  sse_refused_total: ({ refused }) => refused,
  sse_published_total: ({ published }) => published,
  sse_delivered_total: ({ delivered }) => delivered,
  sse_replayed_total: ({ replayed }) => replayed,
  sse_dropped_total: ({ dropped }) => dropped,
  sse_conflated_total: ({ conflated }) => conflated,
  sse_slow_disconnects_total: ({ slowDisconnects }) => slowDisconnects,
  sse_written_bytes_total: ({ bytesWritten }) => bytesWritten,
  sse_buffered_bytes: ({ bufferedBytes }) => bufferedBytes,
  sse_history_events: ({ historyEvents }) => historyEvents,
  sse_history_bytes: ({ historyBytes }) => historyBytes,
  sse_broker_up: ({ broker }) => broker!.state === 'ready' ? 1 : 0,
  sse_broker_lag_events: ({ broker }) => broker!.lag,
  sse_broker_round_trip_seconds: ({ broker }) => broker!.roundTrip! / 1000,
  sse_broker_reconnects_total: ({ broker }) => broker!.reconnects,
  sse_broker_publish_failures_total: ({ broker }) => broker!.publishFailures,
  sse_broker_malformed_total: ({ broker }) => broker!.malformed
}

const BROKER: BrokerStats = { state: 'ready', reconnects: 2, publishFailures: 3, malformed: 4, lag: 5, roundTrip: 6 }

/** A broker that reports its own state. */
class ToldBroker extends AsyncBroker {
  asked = 0
  said: () => BrokerStats = () => BROKER

  stats (): BrokerStats {
    this.asked++
    return this.said()
  }
}

t.test('each metric is what stats() says, with slow clients, refusals and replays', async t => {
  for (const slowClient of ['disconnect', 'drop'] as const) {
    const register = new Registry()
    const options: SSEPluginOptions = { metrics: { register }, broker: new ToldBroker(), slowClient, maxBufferedBytes: 100_000, maxClients: slowClient === 'drop' ? 3 : 2 }
    const { app, open } = await unixHub(t, options)
    const { reader } = await open()
    await open({ paused: true })
    const harmed = (): number => slowClient === 'drop' ? app.sse.stats().dropped : app.sse.stats().slowDisconnects
    while (harmed() === 0) await app.sse.send('n', KB)
    for (let i = 0; i < 200; i++) await app.sse.send('state', KB, { key: 'k' })
    await open({ channels: ['room'] })
    t.equal((await app.inject('/0')).statusCode, 503)
    const { id } = await app.sse.send('last', 1)
    await reader.until(() => reader.lastEventId === id)

    const stats = app.sse.stats()
    const found = await samples(register)
    for (const [name, of] of Object.entries(OF_STATS)) t.equal(found.get(name), of(stats), name)
    for (const name of ['clients', 'channels', 'connections', 'refused', 'published', 'delivered', 'replayed', 'bytesWritten', 'historyEvents', 'historyBytes'] as const) t.ok(stats[name] > 0, name)
    t.equal(stats.conflated > 0, slowClient === 'drop')
    t.same([...found.keys()].map(name => name.replace(/^(sse_fanout_duration_seconds)_(?:bucket\{.*\}|sum|count)$/, '$1')).filter(name => !(name in OF_STATS)),
      new Array(17).fill('sse_fanout_duration_seconds'))
    await app.close()
  }
})

t.test('the broker in memory has no broker metrics, and a broker without a measured round trip has no time of it', async t => {
  const register = new Registry()
  await buildApp(t, { metrics: { register } })
  t.notOk([...(await samples(register)).keys()].some(name => name.startsWith('sse_broker')))
  const other = new Registry()
  const broker = new ToldBroker()
  broker.said = () => ({ ...BROKER, state: 'unavailable', roundTrip: null })
  await buildApp(t, { metrics: { register: other }, broker })
  const found = await samples(other)
  t.equal(found.get('sse_broker_up'), 0)
  t.notOk(found.has('sse_broker_round_trip_seconds'))
})

t.test('stats() is called once for each scrape', async t => {
  const register = new Registry()
  const broker = new ToldBroker()
  await buildApp(t, { metrics: { register }, broker })
  for (const times of [1, 2, 3]) {
    await register.metrics()
    t.equal(broker.asked, times)
  }
  await register.getMetricsAsJSON()
  t.equal(broker.asked, 4)
})

t.test('if a broker fails to report its state, only its own metrics are missing', async t => {
  const register = new Registry()
  const broker = new ToldBroker()
  broker.said = () => { throw new Error('it failed') }
  const log = new MemoryLog()
  await buildApp(t, { metrics: { register }, broker }, { loggerInstance: log.logger })
  const found = await samples(register)
  t.equal(found.get('sse_clients'), 0)
  t.notOk([...found.keys()].some(name => name.startsWith('sse_broker')))
  t.match(await log.line(({ level }) => level === ERROR), {
    err: { message: 'it failed' }, msg: 'the broker could not tell how it is', plugin: 'fastify-sse-hub'
  })
})

t.test('hubs can share a registry if their labels are different', async t => {
  const register = new Registry()
  register.setDefaultLabels({ region: 'eu' })
  const a = await buildApp(t, { metrics: { register, labels: { hub: 'a' } } })
  const b = await buildApp(t, { metrics: { register, labels: { hub: 'b"\n', tenant: 'x' } } })
  await a.sse.send('n', 1)
  await b.sse.send('n', 1)
  await b.sse.send('n', 2)
  const found = await samples(register)
  t.equal(found.get('sse_published_total{hub="a",region="eu"}'), 1)
  t.equal(found.get('sse_published_total{hub="b\\"\\n",tenant="x",region="eu"}'), 2)
  t.ok(found.has('sse_fanout_duration_seconds_bucket{le="+Inf",hub="a",region="eu"}'))
  t.equal((await register.metrics()).match(/# TYPE sse_clients gauge/g)!.length, 1)

  await a.close()
  t.same([...(await samples(register)).keys()].filter(name => name.startsWith('sse_clients')), ['sse_clients{hub="b\\"\\n",tenant="x",region="eu"}'], 'who closes takes its own along')
  await b.close()
  t.equal((await register.metrics()).trim(), '', 'and the last one all')
})

t.test('hubs can share a registry if their prefixes are different', async t => {
  const register = new Registry()
  await buildApp(t, { metrics: { register } })
  const b = await buildApp(t, { metrics: { register, prefix: 'chat_' } })
  await b.sse.send('n', 1)
  const found = await samples(register)
  t.equal(found.get('sse_published_total'), 0)
  t.equal(found.get('chat_sse_published_total'), 1)
  t.equal(found.get('chat_sse_fanout_duration_seconds_count'), 0)
  await b.close()
  t.notMatch(await register.metrics(), 'chat_')
})

/** Checks that a registration is refused and leaves the registry as it was. */
async function refused (t: Test, register: Registry, metrics: object, message: RegExp): Promise<void> {
  const before = await register.metrics()
  const app = Fastify()
  t.teardown(() => app.close())
  const error = await (async () => await app.register(sse, { metrics } as never))().then(() => null, error => error)
  t.ok(error instanceof SSE_ERR_INVALID_OPTION, String(error))
  t.match(error?.message, message)
  t.equal(await register.metrics(), before)
}

t.test('a second hub whose samples would be the same is refused, as is a metric name that is taken', async t => {
  const register = new Registry()
  await buildApp(t, { metrics: { register, labels: { a: '1', b: '2' } } })
  await refused(t, register, { register, labels: { b: '2', a: '1' } }, /"metrics".*"sse_clients".*same labels.*"labels" or a "prefix"/)
  const other = new Registry()
  other.registerMetric(new Counter({ name: 'sse_broker_malformed_total', help: 'mine', registers: [] }))
  await refused(t, other, { register: other }, /"metrics".*"sse_broker_malformed_total".*no hub's; give a "prefix"/)
})

t.test('wrong options are refused with an error that names them', async t => {
  const register = new Registry()
  for (const [metrics, message] of [
    [1, /"metrics" must be an object/],
    [null, /"metrics" must be an object/],
    [register, /Unknown option "[^"]+" of "metrics"|"register" of "metrics"/],
    [{}, /"register" of "metrics"/],
    [{ register: null }, /"register" of "metrics"/],
    [{ register: {} }, /"register" of "metrics".*"registerMetric".*prom-client/],
    [{ register: { registerMetric () {}, getSingleMetric () {} } }, /"register" of "metrics".*"removeSingleMetric"/],
    [{ register, registry: register }, /Unknown option "registry" of "metrics"; there are register, prefix, labels/],
    [{ register, prefix: 1 }, /"prefix" of "metrics"/],
    [{ register, prefix: 'my-' }, /"prefix" of "metrics"/],
    [{ register, prefix: '1_' }, /"prefix" of "metrics"/],
    [{ register, labels: 'a' }, /"labels" of "metrics"/],
    [{ register, labels: ['a'] }, /"labels" of "metrics"/],
    [{ register, labels: { a: 1 } }, /"labels" of "metrics"/],
    [{ register, labels: { a: '' } }, /"labels" of "metrics"/],
    [{ register, labels: { le: 'x' } }, /"labels" of "metrics".*"le" can't be a label/],
    [{ register, labels: { __a: 'x' } }, /"labels" of "metrics".*"__a" can't be a label/],
    [{ register, labels: { 'a-b': 'x' } }, /"labels" of "metrics".*"a-b" can't be a label/]
  ] as Array<[object, RegExp]>) await refused(t, register, metrics, message)
})

t.test('a hub that does not start leaves no metrics', async t => {
  const register = new Registry()
  const broker = new AsyncBroker()
  broker.start = async () => { throw new SSE_ERR_BROKER_UNAVAILABLE('away', false) }
  const app = Fastify()
  t.teardown(() => app.close())
  await t.rejects((async () => await app.register(sse, { metrics: { register }, broker }))(), { code: 'SSE_ERR_BROKER_UNAVAILABLE' })
  t.equal((await register.metrics()).trim(), '')
})

t.test('a registry that the application clears is not touched at close', async t => {
  const register = new Registry()
  const app = await buildApp(t, { metrics: { register } })
  register.clear()
  const other = await buildApp(t, { metrics: { register } })
  await other.sse.send('n', 1)
  await app.close()
  t.equal((await samples(register)).get('sse_published_total'), 1)
})

t.test('in a registry for OpenMetrics, counters have OpenMetrics names at each scrape and for each hub', async t => {
  const register = new Registry<OpenMetricsContentType>()
  register.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
  const a = await buildApp(t, { metrics: { register, labels: { hub: 'a' } } })
  for (let scrape = 0; scrape < 2; scrape++) {
    const text = await register.metrics()
    t.match(text, '# TYPE sse_published counter\nsse_published_total{hub="a"} 0\n')
    t.match(text, '# TYPE sse_clients gauge\nsse_clients{hub="a"} 0\n')
    t.match(text, /^sse_fanout_duration_seconds_bucket\{le="\+Inf",hub="a"\} 0$/m)
    t.ok(text.endsWith('# EOF\n'))
  }
  const b = await buildApp(t, { metrics: { register, labels: { hub: 'b' } } })
  t.match(await register.metrics(), 'sse_published_total{hub="a"} 0\nsse_published_total{hub="b"} 0\n')
  await a.close()
  await b.close()
  t.equal((await register.metrics()).trim(), '# EOF')
})

t.test('resetMetrics() sets counters to 0 and leaves gauges as they are', async t => {
  const register = new Registry()
  const app = await buildApp(t, { metrics: { register } })
  const open = await opener(t, app)
  const { raw } = await open('room')
  await app.sse.toChannel('room', 'n', 1)
  await raw.untilEvents(2)
  t.equal((await samples(register)).get('sse_fanout_duration_seconds_count'), 1)
  register.resetMetrics()
  let found = await samples(register)
  t.match([found.get('sse_published_total'), found.get('sse_fanout_duration_seconds_count'), found.get('sse_fanout_duration_seconds_sum')], [0, 0, 0])
  t.equal(found.get('sse_clients'), 1)
  await app.sse.toChannel('room', 'n', 1)
  found = await samples(register)
  t.equal(found.get('sse_published_total'), 1)
  t.equal(app.sse.stats().published, 2)
})

t.test('the metrics of a cluster\'s workers are added up, except the broker\'s gauges, which have the worst value', async t => {
  const told = await Promise.all([BROKER, { ...BROKER, state: 'unavailable' as const, lag: 50, roundTrip: 1 }].map(async stats => {
    const register = new Registry()
    const broker = new ToldBroker()
    broker.said = () => stats
    const app = await buildApp(t, { metrics: { register }, broker })
    await app.sse.send('n', 1)
    // A worker sends it in this form to the process that is scraped.
    return JSON.parse(JSON.stringify(await register.getMetricsAsJSON()))
  }))
  const found = await samples(AggregatorRegistry.aggregate(told))
  t.equal(found.get('sse_published_total'), 2)
  t.equal(found.get('sse_broker_up'), 0)
  t.equal(found.get('sse_broker_lag_events'), 50)
  t.equal(found.get('sse_broker_round_trip_seconds'), 0.006)
  t.equal(found.get('sse_broker_reconnects_total'), 4)
  t.equal(found.get('sse_fanout_duration_seconds_bucket{le="+Inf"}'), 0)
})

t.test('events that came at the same moment are measured up to the last client of the last of them', t => {
  const { now } = performance
  t.teardown(() => { performance.now = now })
  performance.now = () => 1000
  const scheduler = { visits: 0, waiting: 1, watcher: null }
  const fanout = new FanoutTimer(scheduler as unknown as Scheduler)
  const observed = (): number => fanout.counts.reduce((sum, count) => sum + count, 0)
  fanout.delivered()
  scheduler.waiting = 2
  fanout.delivered()
  fanout.visited(1)
  t.equal(observed(), 0)
  fanout.visited(2)
  t.equal(observed(), 2)
  t.end()
})

t.test('the duration of a fan-out ends when the last waiting client has had its turn', async t => {
  const scheduler = new Scheduler(undisturbed)
  const fanout = new FanoutTimer(scheduler)
  const observed = (): number => fanout.counts.reduce((sum, count) => sum + count, 0)
  const during: number[] = []
  const place = (visit: () => void = () => {}): void => {
    scheduler.add({
      queued: false,
      visit () {
        visit()
        during.push(observed())
        // Each visit is long enough to end a slice, so after eight visits each has a turn of its own.
        const end = performance.now() + 1
        while (performance.now() < end);
      }
    })
  }
  fanout.delivered()
  t.equal(fanout.counts.length, 15)
  for (let i = 0; i < 24; i++) place()
  fanout.delivered()
  await scheduler.settled()
  t.same(during, new Array(24).fill(0), 'not before')
  t.equal(observed(), 1, 'what was for nobody in line is not measured')

  // The event is published in the middle of a round, for a client that joins the line after that.
  during.length = 0
  let published = false
  place(() => {
    place(() => { published = true })
    fanout.delivered()
  })
  for (let i = 0; i < 15; i++) place()
  await scheduler.settled()
  await scheduler.settled()
  t.ok(published)
  t.equal(during.at(-1), 1)
  t.equal(observed(), 2)
  t.ok(fanout.sum > 0.024 + 0.015, 'both lasted as long as the visits did')
  t.equal(fanout.counts[0], 0)
})

t.test('each event of a burst is measured in the bucket of its own time', async t => {
  const scheduler = new Scheduler(undisturbed)
  const fanout = new FanoutTimer(scheduler)
  const { now } = performance
  t.teardown(() => { performance.now = now })
  let time = 1000
  performance.now = () => time
  scheduler.add({ queued: false, visit () {} })
  for (const [at, events] of [[1000, 3], [1000.01, 2], [1400, 1], [1999.5, 4]] as const) {
    time = at
    for (let i = 0; i < events; i++) fanout.delivered()
  }
  time = 2000
  await scheduler.settled()
  t.same(fanout.counts, [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0])
  t.equal(fanout.sum.toFixed(4), '5.6020')
  scheduler.add({ queued: false, visit () {} })
  fanout.delivered()
  time += 11_000
  await scheduler.settled()
  t.equal(fanout.counts.at(-1), 1, 'one that lasts longer than all bounds is beyond them')
})

t.test('the hub measures each event once if at least one client gets it', async t => {
  const register = new Registry()
  const { app, open } = await unixHub(t, { metrics: { register }, maxBufferedBytes: 10_000_000 })
  const counted = async (): Promise<number> => (await samples(register)).get('sse_fanout_duration_seconds_count')!
  await app.sse.send('n', 'for nobody')
  t.equal(await counted(), 0)
  const readers = [await open(), await open()]
  for (let n = 0; n < 10; n++) app.sse.send('n', n)
  for (const { reader } of readers) await reader.until(() => reader.own.some(({ data }) => data === '9'))
  t.equal(await counted(), 10)
  const found = await samples(register)
  t.equal(found.get('sse_fanout_duration_seconds_bucket{le="+Inf"}'), 10)
  t.ok(found.get('sse_fanout_duration_seconds_sum')! > 0)
  const buckets = [...found].filter(([name]) => name.startsWith('sse_fanout_duration_seconds_bucket')).map(([, value]) => value)
  t.same(buckets, [...buckets].sort((a, b) => a - b), 'each bucket holds those below it')
})

t.test('a client whose socket takes nothing does not prolong the fan-out', async t => {
  const register = new Registry()
  const { app, open } = await unixHub(t, { metrics: { register }, maxBufferedBytes: 10_000_000 })
  const { client } = await open({ paused: true })
  while (app.sse.stats().bufferedBytes < 1_000_000) await app.sse.send('n', KB)
  const before = (await samples(register)).get('sse_fanout_duration_seconds_count')!
  for (let n = 0; n < 10; n++) await app.sse.send('n', n)
  t.equal((await samples(register)).get('sse_fanout_duration_seconds_count'), before)
  t.notOk(client.closed)
})

t.test('a hub without metrics measures nothing', async t => {
  const plain = await buildApp(t)
  t.equal(coreOf(plain.sse).scheduler.watcher, null)
  const measured = await buildApp(t, { metrics: { register: new Registry() } })
  t.ok(coreOf(measured.sse).scheduler.watcher instanceof FanoutTimer)
})

t.test('the documentation lists each metric with its type, and no other', async t => {
  const register = new Registry()
  await buildApp(t, { metrics: { register } })
  const told = (await register.getMetricsAsJSON()).map(({ name, type }) => `${name} ${String(type)}`)
  const page = await readFile(`${root}docs/production/metrics.md`, 'utf8')
  const listed = [...page.matchAll(/^\| `(sse_\w+)` \| (\w+) \|/gm)].map(([, name, type]) => `${name} ${type}`)
  t.same(listed, told)
})
