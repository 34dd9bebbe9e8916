// How a compressed stream is divided into blocks: which events are compressed together, how often, and which are stored.
import { createHook } from 'node:async_hooks'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { type BrokerEvent, type BrokerPast, type BrokerSink, type SSEPluginOptions } from '../../lib/index.js'
import { pack, unpack } from '../../lib/brokers/redis/packing.js'
import { GzipChunk } from '../../lib/wire/gzip.js'
import { AsyncBroker } from '../support/async-broker.js'
import { buildApp } from '../support/app.js'
import { brokerEvent } from '../support/broker-sink.js'
import { gunzipSoFar } from '../support/gunzip.js'
import { opener, type Open, type OpenStream } from '../support/open.js'
import { Random } from '../support/random.js'

const GZIP = { 'accept-encoding': 'gzip' }
/** The number of clients from which a list of events is compressed as a whole: see SHARED in lib/wire/compression.ts. */
const SHARED = 8
const LONG = 'long enough '.repeat(50)

interface Setting {
  readonly app: FastifyInstance
  readonly open: Open
  /** Opens streams in a room. Nothing has been sent to them yet. */
  crowd (size: number): Promise<OpenStream[]>
}

/** The streams have no greeting, retry or heartbeats. */
async function setting (t: Test, options: SSEPluginOptions = {}): Promise<Setting> {
  const app = await buildApp(t, { compress: true, greeting: false, retry: null, heartbeatInterval: 0, ...options })
  const open = await opener(t, app)
  return { app, open, crowd: size => Promise.all(Array.from({ length: size }, () => open('room', {}, GZIP))) }
}

/** An event as it is on the wire, without an id. */
function eventText (name: string, data: string): string {
  return `event: ${name}\ndata: ${data}\n\n`
}

function deflated (...texts: string[]): Buffer {
  return GzipChunk.deflated(Buffer.from(texts.join('')), 3, Buffer.allocUnsafe).payload()
}

function stored (...texts: string[]): Buffer {
  return GzipChunk.stored(Buffer.from(texts.join('')), Buffer.allocUnsafe).payload()
}

/** Resolves with the blocks of a stream when its text ends with `end`. */
async function blocksUpTo ({ raw }: OpenStream, end: string): Promise<Buffer> {
  await raw.until(() => raw.body.length > 0 && gunzipSoFar(raw.body).toString().endsWith(end))
  return raw.body.subarray(10)
}

/** Publishes to the room, in one turn. */
function publishAll ({ app }: Setting, ...data: string[]): string[] {
  for (const each of data) app.sse.toChannel('room', 'n', each, { transient: true, raw: true })
  return data.map(each => eventText('n', each))
}

/** It is stored, so it can be found in a stream without decompressing it. */
const MARK = eventText('mark', 'here')

/** Resolves when all streams have a mark after the published events. */
async function publishMark ({ app }: Setting, streams: readonly OpenStream[]): Promise<void> {
  app.sse.toChannel('room', 'mark', 'here', { transient: true, raw: true, compress: false })
  await Promise.all(streams.map(({ raw }) => raw.until(() => raw.body.includes(MARK))))
}

/** Resolves with how many compressors were made during a call. */
async function compressorsMadeBy (run: () => Promise<unknown>): Promise<number> {
  let count = 0
  const hook = createHook({ init (_id, type) { if (type === 'ZLIB') count++ } }).enable()
  await run()
  hook.disable()
  return count
}

t.test('events that wait for eight or more clients are compressed together, so that an event can refer to the one before', async t => {
  const room = await setting(t)
  const streams = await room.crowd(SHARED)
  const texts = publishAll(room, `1 ${LONG}`, '2', `3 ${LONG}`)
  for (const stream of streams) t.ok((await blocksUpTo(stream, texts[2]!)).equals(deflated(...texts)))
})

t.test('if events wait for fewer than eight clients, each is compressed by itself', async t => {
  const room = await setting(t)
  const streams = await room.crowd(SHARED - 1)
  const texts = publishAll(room, `1 ${LONG}`, '2', `3 ${LONG}`)
  const expected = Buffer.concat([deflated(texts[0]!), stored(texts[1]!), deflated(texts[2]!)])
  for (const stream of streams) t.ok((await blocksUpTo(stream, texts[2]!)).equals(expected))
})

t.test('an event is compressed once for all its clients and lists', async t => {
  const room = await setting(t)
  const streams = await room.crowd(40)
  const compressors = await compressorsMadeBy(async () => {
    // There is one list for all clients but seven, and one for each of the seven.
    for (const { client } of streams.slice(0, 7)) client.send('own', '')
    publishAll(room, LONG)
    await publishMark(room, streams)
  })
  for (const { raw } of streams) t.ok(raw.text.endsWith(eventText('n', LONG) + MARK))
  t.equal(compressors, 2, 'the event by itself, and the list')
})

t.test('clients that wait for more by now do not count, so what waits for the others is compressed event by event', async t => {
  const room = await setting(t)
  const few = await room.crowd(2)
  for (let n = few.length; n < SHARED; n++) await room.open(['room', 'more'], {}, GZIP)
  const texts = publishAll(room, `1 ${LONG}`, `2 ${LONG}`)
  room.app.sse.toChannel('more', 'n', `3 ${LONG}`, { transient: true, raw: true })
  const expected = Buffer.concat(texts.map(text => deflated(text)))
  for (const stream of few) t.ok((await blocksUpTo(stream, texts[1]!)).equals(expected))
})

t.test('a replay is compressed once for all clients that need the same events', async t => {
  const room = await setting(t, { historySize: 100 })
  for (let n = 0; n < 50; n++) await room.app.sse.toChannel('room', 'n', `${n} ${LONG}`)
  t.equal(await compressorsMadeBy(() => room.crowd(20)), 1)
  // The end of the opening is in the same block.
  const [one, other] = await room.crowd(2)
  await one!.raw.untilEvents(50)
  await other!.raw.untilEvents(50)
  t.ok(one!.raw.body.equals(other!.raw.body))
  t.ok(one!.raw.body.length < 50 * 100)
})

t.test('a batch below the threshold is stored without compression', async t => {
  // The size of the event without its data.
  const around = eventText('n', '').length
  for (const [options, threshold] of [[true, 256], [{ threshold: 1000 }, 1000], [{ threshold: 30 }, 30], [{ level: 9 }, 256]] as const) {
    const room = await setting(t, { compress: options })
    const [stream] = await room.crowd(1)
    const [below] = publishAll(room, 'x'.repeat(threshold - 1 - around))
    const before = await blocksUpTo(stream!, below!)
    t.ok(before.equals(stored(below!)))
    const [text] = publishAll(room, 'x'.repeat(threshold - around))
    const blocks = (await blocksUpTo(stream!, below! + text!)).subarray(before.length)
    t.ok(blocks.length < 50, `${threshold} bytes are ${blocks.length}`)
  }
})

t.test('small events of many clients are compressed if all that waits is larger than the threshold', async t => {
  const room = await setting(t)
  const [few, many] = [await room.open('few', {}, GZIP), await room.crowd(SHARED)]
  const data = Array.from({ length: 100 }, (_, n) => `price ${n}`)
  const texts = publishAll(room, ...data)
  t.ok((await blocksUpTo(many[0]!, texts.at(-1)!)).equals(deflated(...texts)))
  for (const each of data) room.app.sse.toChannel('few', 'n', each, { transient: true, raw: true })
  t.ok((await blocksUpTo(few, texts.at(-1)!)).equals(Buffer.concat(texts.map(text => stored(text)))))
})

t.test('with a threshold of 0, everything that becomes smaller is compressed', async t => {
  const room = await setting(t, { compress: { threshold: 0 } })
  const [stream] = await room.crowd(1)
  const [text] = publishAll(room, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')
  t.ok((await blocksUpTo(stream!, text!)).length < text!.length)
})

t.test('a higher level makes the same events smaller, and clients of one level share bytes', async t => {
  const app = await buildApp(t, { compress: { level: 1 }, greeting: false, retry: null })
  const open = await opener(t, app)
  const random = new Random(1)
  const data = Array.from({ length: 5000 }, () => random.pick(['price', 'stock', 'ä', '1', '22'])).join(' ')
  const streams = [await open('room', {}, GZIP), await open('room', { compress: { level: 9 } }, GZIP), await open('room', { compress: { level: 9 } }, GZIP)]
  const count = await compressorsMadeBy(async () => {
    await app.sse.toChannel('room', 'n', data, { transient: true })
    await Promise.all(streams.map(({ raw }) => raw.until(() => raw.body.length > 1000)))
  })
  t.equal(count, 2)
  const [fast, small, same] = await Promise.all(streams.map(stream => blocksUpTo(stream, '\n\n')))
  t.ok(small!.length < fast!.length, `${small!.length} bytes, ${fast!.length} bytes`)
  t.ok(small!.equals(same!))
})

t.test('the hub\'s own lines are stored without compression', async t => {
  const app = await buildApp(t, { compress: { threshold: 0 }, heartbeatInterval: 40, heartbeatEvent: 'b'.repeat(200) })
  const open = await opener(t, app)
  const { raw, client } = await open('room', {}, GZIP)
  await raw.untilEvents(3)
  t.ok(raw.body.includes(`retry: 3000\nevent: sse:open\ndata: {"clientId":"${client.id}","recovered":false}\n`))
  t.ok(raw.body.includes(stored(eventText('b'.repeat(200), '{}'))))
})

t.test('an event for one client has its own block, and is compressed only on request', async t => {
  const room = await setting(t, { compress: { threshold: 0 } })
  const secret = 'secret '.repeat(50)
  const chosen = 'what somebody else may choose: secret '.repeat(20)
  for (const size of [1, SHARED + 2]) {
    const streams = await room.crowd(size)
    const { client, raw } = streams[0]!
    const around = (): unknown => room.app.sse.toChannel('room', 'n', chosen, { transient: true, raw: true })
    around()
    client.send('sent', secret, { raw: true })
    around()
    room.app.sse.toClient(client.id, 'published', secret, { transient: true, raw: true })
    around()
    await client.stream([secret], { event: 'streamed', raw: true })
    around()
    room.app.sse.toChannel('room', 'apart', secret, { transient: true, raw: true, compress: false })
    around()
    await raw.until(() => raw.events.length === 9)
    for (const name of ['sent', 'published', 'streamed', 'apart']) t.ok(raw.body.includes(stored(eventText(name, secret))), name)
    t.notOk(raw.body.includes(chosen), 'the others are compressed')
    await Promise.all(streams.map(({ raw }) => raw.until(() => raw.events.at(-1)?.event === 'n')))

    const before = raw.body.length
    client.send('sent', secret, { raw: true, compress: true })
    room.app.sse.toClient(client.id, 'published', secret, { transient: true, raw: true, compress: true })
    client.stream([secret], { event: 'streamed', raw: true, compress: true })
    await raw.until(() => raw.events.length === 12)
    t.ok(raw.body.length - before < 200, `${raw.body.length - before} bytes`)
    for (const { client } of streams) client.close()
  }
})

t.test('secrets that wait together with events that others chose are in separate blocks', async t => {
  const room = await setting(t, { compress: { threshold: 0 } })
  const streams = await room.crowd(SHARED)
  const random = new Random()
  t.comment(`seed ${random.seed}`)
  for (let run = 0; run < 50; run++) {
    const events = Array.from({ length: 1 + random.below(10) }, (_, n) => ({ n, apart: random.chance(0.4) }))
    const expected: Buffer[] = []
    for (let at = 0, end = 0; at < events.length; at = end) {
      while (end < events.length && events[end]!.apart === events[at]!.apart) end++
      const texts = events.slice(at, end).map(({ n }) => eventText('n', `${n} ${LONG}`))
      expected.push(events[at]!.apart ? stored(...texts) : deflated(...texts))
    }
    const before = streams[0]!.raw.body.length
    for (const { n, apart } of events) room.app.sse.toChannel('room', 'n', `${n} ${LONG}`, { transient: true, raw: true, compress: !apart })
    const mark = eventText('mark', String(run))
    await room.app.sse.toChannel('room', 'mark', String(run), { transient: true, raw: true, compress: false })
    // A client that still has this run's events in line would not begin the next run with the others.
    for (const stream of streams) await blocksUpTo(stream, mark)
    const blocks = streams[0]!.raw.body.subarray(Math.max(before, 10))
    const last = events.at(-1)!
    // The mark is stored together with stored events before it.
    if (last.apart) {
      const run = events.slice(events.findLastIndex(({ apart }) => !apart) + 1).map(({ n }) => eventText('n', `${n} ${LONG}`))
      expected.splice(-1, 1, stored(...run, mark))
    } else {
      expected.push(stored(mark))
    }
    if (!blocks.equals(Buffer.concat(expected))) t.fail(`run ${run}: ${JSON.stringify(events)}`)
  }
})

t.test('an event for one client is not compressed in a replay either, from the hub\'s history or a broker\'s', async t => {
  const text = 'for one client '.repeat(20)
  const ofHub = await setting(t, { compress: { threshold: 0 } })
  await ofHub.app.sse.toClient('alice', 'own', text, { raw: true })
  const broker = new PastBroker([brokerEvent({ targets: ['\0alice'], name: 'own', data: text, compress: false }), brokerEvent({ targets: ['room'], name: 'n', data: LONG })])
  const ofBroker = await setting(t, { compress: { threshold: 0 }, broker })
  for (const { app, open } of [ofHub, ofBroker]) {
    await app.sse.toChannel('room', 'n', LONG, { raw: true })
    const { raw } = await open('room', { id: 'alice' }, GZIP)
    await raw.until(() => raw.events.at(-1)?.event === 'n')
    t.ok(raw.body.includes(`event: own\ndata: ${text}\n`))
    t.notOk(raw.body.includes(LONG), 'the others are compressed')
  }
})

/** A broker that has these events from before this instance began. */
class PastBroker extends AsyncBroker {
  readonly #events: readonly BrokerEvent[]

  constructor (events: readonly BrokerEvent[]) {
    super()
    this.#events = events
  }

  override async start (sink: BrokerSink): Promise<void> {
    await super.start(sink)
    sink.skipTo(10)
    this.skip(10)
  }

  async past (targets: readonly string[]): Promise<ReadonlyMap<string, BrokerPast>> {
    return new Map(targets.map(target => [target, {
      events: this.#events.flatMap((event, n) => event.targets[0] === target ? [{ event, position: n + 1, id: `async:${n + 1}`, time: Date.now() }] : []),
      floor: 0,
      known: 10
    }]))
  }
}

t.test('other instances on Redis know whether an event may be compressed together with others', async t => {
  for (const compress of [true, false]) {
    for (const given of [{}, { transient: true }, { retry: 5 }, { except: 'a' }, { targets: ['a', 'b'], kept: ['b'] }]) {
      const event = brokerEvent({ ...given, compress })
      t.same(unpack(JSON.parse(pack(event))), event)
    }
  }
})

t.test('a hub without compression writes plain events', async t => {
  const app = await buildApp(t, { greeting: false, retry: null })
  t.equal(await compressorsMadeBy(async () => {
    const { raw } = await (await opener(t, app))('room', {}, GZIP)
    await app.sse.toChannel('room', 'n', LONG, { transient: true, raw: true, compress: true })
    await raw.untilEvents(1)
    t.equal(raw.body.toString(), eventText('n', LONG))
  }), 0)
})
