// A compressed stream is always one valid gzip stream, however it ends and whatever happens to it.
import { once } from 'node:events'
import { crc32 } from 'node:zlib'
import type { EventSourceMessage } from 'eventsource-parser'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { BrokerSink } from '../../lib/index.js'
import { AsyncBroker } from '../support/async-broker.js'
import { buildApp } from '../support/app.js'
import { recordDisconnects } from '../support/disconnects.js'
import { gunzipSoFar, gunzipWhole } from '../support/gunzip.js'
import { opener, received, type OpenStream } from '../support/open.js'
import { Random } from '../support/random.js'
import { unixHub } from '../support/unix-hub.js'

const GZIP = { 'accept-encoding': 'gzip' }
const KB = 'x'.repeat(1000)

/** A text that hardly gets smaller, so that the kernel buffers no more of its events than without compression. */
function noise (random: Random, length: number): string {
  return Buffer.from(Uint8Array.from({ length: Math.ceil(length * 3 / 4) }, () => random.below(256))).toString('base64')
}

/** Ends a stream, and resolves with its whole text. */
async function ended ({ raw, client }: OpenStream): Promise<string> {
  client.close()
  await raw.until(() => raw.complete)
  return gunzipWhole(raw.body).toString()
}

t.test('a stream that the server ends has a last block and a trailer', async t => {
  const app = await buildApp(t, { compress: true })
  const open = await opener(t, app)
  const stream = await open('room', {}, GZIP)
  await app.sse.toChannel('room', 'n', KB)
  app.sse.toChannel('room', 'last', 'of all')
  const text = await ended(stream)
  t.match(text, /event: last\n.*\nid: .*\n\n$/)
  const { body } = stream.raw
  t.equal(body.readUInt32LE(body.length - 8), crc32(text))
  t.equal(body.readUInt32LE(body.length - 4), Buffer.byteLength(text))
  t.same([...body.subarray(-10, -8)], [3, 0])
})

t.test('a stream without events is a complete and empty gzip stream', async t => {
  const app = await buildApp(t, { compress: true, greeting: false, retry: null })
  const open = await opener(t, app)
  t.equal(await ended(await open('room', {}, GZIP)), '')
})

t.test('a stream that its handler ends at once is complete', async t => {
  const app = await buildApp(t, { compress: true })
  app.sse.on('connect', client => {
    client.send('hello', KB)
    client.close()
  })
  const { raw } = await (await opener(t, app))('room', {}, GZIP)
  await raw.until(() => raw.complete)
  t.match(gunzipWhole(raw.body).toString(), /^retry: .*\nevent: sse:open\n[^]*event: hello\n[^]*\n\n$/)
})

t.test('the counted bytes are the written bytes', async t => {
  const app = await buildApp(t, { compress: true })
  const open = await opener(t, app)
  const stream = await open('room', {}, GZIP)
  for (let n = 0; n < 10; n++) await app.sse.toChannel('room', 'n', KB.repeat(n * 20))
  const text = await ended(stream)
  t.equal(app.sse.stats().bytesWritten, stream.raw.body.length)
  t.ok(stream.raw.body.length < text.length / 10)
})

t.test('at shutdown each stream gets its waiting events, its last retry and its end', async t => {
  const app = await buildApp(t, { compress: true, retry: 1000, reconnectSpread: 500 })
  const open = await opener(t, app)
  const streams = []
  for (let n = 0; n < 10; n++) streams.push(await open('room', { id: String(n) }, n < 9 ? GZIP : {}))
  app.sse.toChannel('room', 'last', KB)
  await app.close()
  for (const { raw } of streams) {
    await raw.untilClosed()
    t.ok(raw.complete)
    const text = raw.header('content-encoding') === 'gzip' ? gunzipWhole(raw.body).toString() : raw.text
    t.match(text, /event: last\n.*\nid: .*\n\nretry: 1\d{3}\n\n$/)
  }
})

t.test('a client gets its replay compressed, as a whole or from its last id', async t => {
  const app = await buildApp(t, { compress: true, historySize: 1000 })
  const open = await opener(t, app)
  const random = new Random()
  t.comment(`seed ${random.seed}`)
  const ids: string[] = []
  for (let n = 0; n < 1000; n++) {
    const data = random.pick(['', 'short', 'ä €'.repeat(200), noise(random, 3000), n % 100 === 0 ? noise(random, 200_000) : 'x'])
    ids.push((await app.sse.toChannel('room', 'n', data, { compress: random.chance(0.8) })).id)
  }
  for (const lastEventId of [null, ids[0]!, ids[500]!, ids[997]!, ids[999]!, 'unknown']) {
    const [compressed, plain] = [await open('room', { id: 'same', lastEventId }, GZIP), await open('room', { id: 'same', lastEventId })]
    t.same((await received(compressed)).length, (await received(plain)).length)
    const text = await ended(compressed)
    t.equal(text.replace(/event: mark.*\n.*\n\n/, ''), (await endedPlain(plain)).replace(/event: mark.*\n.*\n\n/, ''), `after ${lastEventId}`)
    t.equal(text.includes('"recovered":true'), ids.includes(lastEventId!))
  }
})

async function endedPlain ({ raw, client }: OpenStream): Promise<string> {
  client.close()
  await raw.until(() => raw.complete)
  return raw.text
}

t.test('heartbeats reach a client at once, and the stream stays valid', async t => {
  for (const [options, beat] of [[{}, /:\n\n/g], [{ heartbeatEvent: 'beat' }, /event: beat\ndata: {}\n/g]] as const) {
    const app = await buildApp(t, { compress: true, heartbeatInterval: 40, ...options })
    const open = await opener(t, app)
    const stream = await open('room', {}, GZIP)
    const beats = (): number => [...stream.raw.text.matchAll(beat)].length
    await stream.raw.until(() => beats() >= 3)
    const { id } = await app.sse.toChannel('other', 'n', 1)
    await stream.raw.until(() => stream.raw.text.includes(`id: ${id}\n`))
    await app.sse.toChannel('room', 'n', KB)
    const before = beats()
    await stream.raw.until(() => beats() > before)
    t.match(await ended(stream), /^retry: [^]*event: n\n[^]*\n\n$/)
  }
})

t.test('a stream reports events that a broker has lost', async t => {
  const broker = new LossyBroker()
  const app = await buildApp(t, { compress: true, broker })
  const open = await opener(t, app)
  const streams = [await open('room', {}, GZIP), await open('room')]
  await app.sse.toChannel('room', 'n', KB)
  broker.lose()
  await app.sse.toChannel('room', 'n', KB)
  for (const { raw } of streams) {
    const events = await raw.untilEvents(4)
    t.same(events.map(({ event }) => event), ['sse:open', 'n', 'sse:gap', 'n'])
  }
  t.match(await ended(streams[0]!), /sse:gap/)
})

class LossyBroker extends AsyncBroker {
  #lossy!: BrokerSink

  override async start (sink: BrokerSink): Promise<void> {
    await super.start(sink)
    this.#lossy = sink
  }

  lose (): void {
    this.#lossy.skipTo(100)
    this.skip(100)
  }
}

/** Publishes to a client that does not read, until this number of bytes waits for it. */
async function fill (app: FastifyInstance, bytes: number, publish: () => Promise<unknown>): Promise<number> {
  let count = 0
  for (; app.sse.stats().bufferedBytes < bytes; count++) await publish()
  return count
}

t.test('a slow client whose events are dropped has a valid stream, with gaps that say how many', async t => {
  const { app, open } = await unixHub(t, { compress: true, maxBufferedBytes: 200_000, slowClient: 'drop' })
  const random = new Random()
  t.comment(`seed ${random.seed}`)
  const { reader, client } = await open({ channels: ['room'], paused: true, headers: GZIP })
  let count = 0
  for (const round of [1, 2, 3]) {
    const { dropped } = app.sse.stats()
    while (app.sse.stats().dropped === dropped) {
      const length = random.pick([10, 1000, 1000, 100_000])
      await app.sse.toChannel('room', 'n', { n: count++, text: noise(random, length) }, { compress: random.chance(0.8) })
    }
    await app.sse.toChannel('room', 'n', { n: count++ })
    reader.resume()
    await reader.until(() => reader.events.at(-1)?.data === `{"n":${count - 1}}`)
    t.ok(reader.events.filter(({ event }) => event === 'sse:gap').length >= round)
    reader.pause()
  }
  reader.resume()
  client.close()
  await reader.untilClosed()
  t.ok(reader.whole)
  t.equal(reader.header('content-encoding'), 'gzip')
  let next = 0
  for (const { event, data } of reader.events.slice(1)) {
    if (event === 'sse:gap') next += JSON.parse(data).lost
    else if (JSON.parse(data).n !== next++) t.fail(`${data.slice(0, 20)} where ${next - 1} should be`)
  }
  t.equal(next, count, 'with what was lost, all are there')
})

t.test('a slow client gets the newest event of each state in a valid stream, and resumes from what it got', async t => {
  const { app, open } = await unixHub(t, { compress: true, maxBufferedBytes: 8_000_000 })
  const random = new Random()
  t.comment(`seed ${random.seed}`)
  const { reader, client } = await open({ channels: ['room'], paused: true, headers: GZIP })
  const newest = new Map<string, number>()
  let count = 0
  while (app.sse.stats().conflated < 500) {
    const key = random.pick(['a', 'b', 'c'])
    newest.set(key, count)
    await app.sse.toChannel('room', 'n', { n: count++, key, text: noise(random, 1000) }, { key, compress: key !== 'c' })
  }
  client.close()
  reader.resume()
  await reader.untilClosed()
  t.ok(reader.whole)
  const numbers = (events: readonly EventSourceMessage[]): number[] => events.map(({ data }) => JSON.parse(data).n)
  const got = numbers(reader.own)
  t.ok(got.length < count - 400)
  t.same(new Set(got.slice(-newest.size)), new Set(newest.values()))
  await app.sse.toChannel('room', 'n', { n: count }, { key: 'a' })
  for (const headers of [{}, GZIP]) {
    const { reader: again } = await open({ channels: ['room'], headers: { ...headers, 'last-event-id': reader.lastEventId! } })
    await again.until(() => again.own.length === 1)
    t.same(numbers(again.own), [count])
    t.equal(again.greeting!.recovered, true)
  }
})

t.test('the stream of a slow client that is cut is valid up to the cut, and the client resumes', async t => {
  const { app, open } = await unixHub(t, { compress: true, maxBufferedBytes: 200_000, historySize: 10_000 })
  const random = new Random()
  t.comment(`seed ${random.seed}`)
  const { reader: slow, client } = await open({ paused: true, headers: GZIP })
  let count = 0
  while (!client.closed) await app.sse.send('n', { n: count++, text: noise(random, 1000) })
  slow.resume()
  await slow.untilClosed()
  t.notOk(slow.whole)
  t.ok(slow.own.length > 0 && slow.own.length < count, 'it has got a part')
  const { reader: again } = await open({ headers: { ...GZIP, 'last-event-id': slow.lastEventId! } })
  await again.until(() => slow.own.length + again.own.length >= count)
  t.equal(again.greeting!.recovered, true)
  t.same([...slow.own, ...again.own].map(({ data }) => JSON.parse(data).n), Array.from({ length: count }, (_, n) => n))
})

t.test('a stream that is ended in the middle of a large event, while its client does not read, is complete when it reads again', async t => {
  const { app, open } = await unixHub(t, { compress: true, maxBufferedBytes: 8_000_000 })
  const random = new Random()
  for (const [compress, behind] of [[true, true], [false, true], [true, false], [false, false]] as const) {
    const { reader, client } = await open({ channels: ['room'], paused: true, headers: GZIP })
    const disconnects = recordDisconnects(app)
    const count = await fill(app, 500_000, () => app.sse.toChannel('room', 'n', noise(random, 300_000), { compress, transient: true }))
    if (behind) await app.sse.toChannel('room', 'n', 'small', { transient: true })
    client.close()
    t.equal(reader.own.length, 0)
    reader.resume()
    await reader.untilClosed()
    t.ok(reader.whole)
    t.equal(reader.own.length, count + Number(behind))
    t.match(disconnects, [{ reason: 'server' }])
  }
})

t.test('a client that leaves in the middle does not affect the others', async t => {
  const app = await buildApp(t, { compress: true })
  const open = await opener(t, app)
  const streams = []
  for (let n = 0; n < 12; n++) streams.push(await open('room', {}, GZIP))
  for (let n = 0; n < 40; n++) {
    app.sse.toChannel('room', 'n', `${n} ${KB}`)
    if (n % 10 === 5) streams.pop()!.raw.destroy()
    if (n % 7 === 0) await app.sse.toChannel('room', 'n', `${n} too`)
  }
  await app.sse.toChannel('room', 'last', null)
  for (const stream of streams) {
    const text = await ended(stream)
    t.equal(text.split('event: n\n').length - 1, 46)
    t.match(text, /event: last\n/)
  }
})

t.test('an event larger than one write arrives as one event, and direct sends after it arrive in their order', async t => {
  const app = await buildApp(t, { compress: true })
  const open = await opener(t, app)
  const random = new Random()
  const stream = await open('room', {}, GZIP)
  for (const compress of [true, false]) {
    const large = noise(random, 700_000)
    app.sse.toChannel('room', 'large', large, { compress, raw: true })
    t.ok(await stream.client.send(`behind ${compress}`, 1))
    await stream.raw.until(() => stream.raw.events.at(-1)?.event === `behind ${compress}`)
    t.ok(stream.raw.events.at(-2)!.data === large)
  }
  await ended(stream)
})

t.test('each event can be read as soon as it is sent', async t => {
  const app = await buildApp(t, { compress: true })
  const open = await opener(t, app)
  for (const size of [1, 10]) {
    const streams = []
    for (let n = 0; n < size; n++) streams.push(await open(`room ${size}`, {}, GZIP))
    for (let n = 0; n < 30; n++) {
      const data = `${n} ${'ä '.repeat(n * n)}`
      await app.sse.toChannel(`room ${size}`, 'n', data, { raw: true, compress: n % 5 !== 0 })
      for (const { raw } of streams) {
        while (!gunzipSoFar(raw.body).toString().includes(`data: ${data}\n`)) await once(raw.socket, 'data')
      }
    }
    t.pass(`${size} clients`)
    for (const stream of streams) await ended(stream)
  }
})
