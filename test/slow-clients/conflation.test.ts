// Conflation: for a client that reads slowly, only the newest event of each key waits. In a lap, each waiting state is sent once.
import t from 'tap'
import type { SSEHub } from '../../lib/index.js'
import { recordDisconnects } from '../support/disconnects.js'
import type { StreamClient } from '../support/stream-client.js'
import { unixHub, type Opened, type UnixHub } from '../support/unix-hub.js'

const PAD = 'x'.repeat(1000)

/** The newest number of each key that a client got. It throws if a key went back to an older number. */
function newest (...readers: StreamClient[]): Record<string, number> {
  const seen: Record<string, number> = {}
  for (const { data } of readers.flatMap(({ own }) => own)) {
    const { key, n } = JSON.parse(data)
    if (key === undefined) continue
    if (seen[key]! > n) throw new Error(`${key} went from ${seen[key]} back to ${n}`)
    seen[key] = n
  }
  return seen
}

/** Publishes updates of the keys in turn, and resolves with the newest number of each key. */
async function update (sse: SSEHub, keys: readonly string[], count: number, first = 0): Promise<Record<string, number>> {
  const expected: Record<string, number> = {}
  for (let n = first; n < first + count; n++) {
    const key = keys[n % keys.length]!
    await sse.toChannel('a', 'price', { key, n, PAD }, { key })
    expected[key] = n
  }
  return expected
}

/** A client that reads nothing and whose socket refuses more bytes. */
async function blocked ({ app, open }: UnixHub, opening: Parameters<UnixHub['open']>[0] = {}): Promise<Opened> {
  const opened = await open({ channels: ['a'], paused: true, ...opening })
  while (app.sse.stats().conflated === 0) await app.sse.toChannel('a', 'price', { key: 'first', n: -1, PAD }, { key: 'first' })
  return opened
}

/** It is 0 if each recipient's event was written, replaced or dropped. Otherwise, it is how many events wait. */
function balance (sse: SSEHub, recipients: number): number {
  const { delivered, conflated, dropped } = sse.stats()
  return recipients - delivered - conflated - dropped
}

const KEYS = ['k0', 'k1', 'k2', 'k3', 'k4']

for (const compress of [false, true]) {
  const how = compress ? ', compressed' : ''

  t.test(`a client that does not read stays connected, and gets the newest event of each key when it reads again${how}`, async t => {
    const hub = await unixHub(t, { maxBufferedBytes: 200_000, compress, historySize: 10 })
    const { app } = hub
    const disconnects = recordDisconnects(app)
    let recipients = 0
    const publish = app.sse.toChannel.bind(app.sse)
    app.sse.toChannel = async (...args: Parameters<typeof publish>) => {
      const published = await publish(...args)
      recipients += published.recipients
      return published as never
    }
    const { reader, client } = await blocked(hub, { headers: compress ? { 'accept-encoding': 'gzip' } : {} })
    const waited: number[] = []
    let expected = {}
    for (let lap = 0; lap < 20; lap++) {
      expected = await update(app.sse, KEYS, 250, lap * 250)
      waited.push(app.sse.stats().bufferedBytes)
    }
    t.ok(Math.max(...waited) <= 200_000, 'what waits is bounded')
    // The ids grow longer.
    t.ok(waited.at(-1)! <= waited[1]! + 3 * KEYS.length, 'and does not grow')
    t.ok(balance(app.sse, recipients) <= KEYS.length + 1 && balance(app.sse, recipients) >= KEYS.length, 'one event a key waits')
    reader.resume()
    await reader.until(() => reader.own.at(-1)?.data.includes(`"n":${5000 - 1},`) === true)
    t.match(newest(reader), expected)
    t.notOk(client.closed)
    t.same(disconnects, [])
    t.equal(reader.header('content-encoding'), compress ? 'gzip' : undefined)
    t.equal(balance(app.sse, recipients), 0)
    t.match(app.sse.stats(), { dropped: 0, slowDisconnects: 0, bufferedBytes: 0 })
    t.ok(app.sse.stats().conflated > 4000, `${app.sse.stats().conflated} were replaced`)
    t.equal(reader.own.length, recipients - app.sse.stats().conflated)
    const { id } = await app.sse.toChannel('a', 'price', { key: 'k0', n: 6000 }, { key: 'k0' })
    await reader.until(() => reader.lastEventId === id)
  })

  t.test(`a client that is cut in the middle of a lap and comes back misses nothing${how}`, async t => {
    const hub = await unixHub(t, { maxBufferedBytes: 2_000_000, compress, historySize: 500 })
    const { app, open } = hub
    const headers: Record<string, string> = compress ? { 'accept-encoding': 'gzip' } : {}
    // The keys take more than the socket takes at a time, so that a lap has several writes. gzip can't make them much smaller.
    const keys = Array.from({ length: 300 }, (_, i) => `k${i}`)
    const { reader } = await blocked(hub, { headers })
    await update(app.sse, keys, 1000)
    // Keys that were published last are at the front.
    const begin = await update(app.sse, keys.slice(0, 3), 300, 1000)
    reader.resume()
    await reader.until(() => reader.own.some(({ data }) => data.includes(`"n":${begin.k0},`)))
    reader.destroy()
    await reader.untilClosed()
    const missed = await update(app.sse, keys, 30, 1300)
    const expected = { ...Object.fromEntries(keys.map((key, i) => [key, i < 100 ? 900 + i : 600 + i])), ...begin, ...missed }
    const { reader: again } = await open({ channels: ['a'], headers: { ...headers, 'last-event-id': reader.lastEventId! } })
    await again.until(() => again.own.at(-1)?.data.includes(`"n":${1329},`) === true)
    t.equal(again.greeting!.recovered, true)
    const seen = { ...newest(reader), ...newest(again) }
    delete seen.first
    t.same(seen, expected)
    const before = newest(reader)
    t.ok(keys.some(key => (before[key] ?? 0) < 600), 'it had not come to the end of the lap')
    for (const [key, n] of Object.entries(newest(again))) if (before[key]! > n) t.fail(`${key} went back from ${before[key]} to ${n}`)
  })
}

t.test('a state waits in the place of its oldest event, between the events without a key', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 2_000_000 })
  const { app } = hub
  const { reader } = await blocked(hub)
  // These come after the list that the client shares with others.
  await update(app.sse, ['x', 'y'], 2)
  await app.sse.toChannel('a', 'news', { n: 'first' })
  await update(app.sse, ['x', 'z'], 100, 2)
  await app.sse.toChannel('a', 'news', { n: 'second' })
  await update(app.sse, ['y'], 1, 102)
  reader.resume()
  await reader.until(() => reader.own.at(-1)?.data.includes('"second"') === true)
  t.same(reader.own.slice(-5).map(({ data }) => JSON.parse(data).n), [100, 102, 'first', 101, 'second'])
})

t.test('until a lap is complete, its events have ids from which the client can resume without loss, and then the newest id', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 2_000_000 })
  const { app } = hub
  const { reader } = await blocked(hub)
  const publish = async (key: string | undefined, n: number): Promise<string> => (await app.sse.toChannel('a', 'price', { n }, key === undefined ? {} : { key })).id!
  await publish('x', 1)
  const second = await publish('y', 2)
  await publish(undefined, 3)
  await publish('y', 4)
  const last = await publish('x', 5)
  reader.resume()
  await reader.until(() => reader.own.at(-1)?.data === '{"n":3}')
  t.same(reader.own.slice(-3).map(({ data, id }) => [JSON.parse(data).n, id]), [[5, second], [4, second], [3, last]])
})

t.test('a removal takes the place of the waiting state', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 2_000_000 })
  const { app } = hub
  const { reader } = await blocked(hub)
  await update(app.sse, ['x', 'y'], 10)
  const { conflated } = app.sse.stats()
  await app.sse.toChannel('a', 'price', null, { key: 'x', remove: true })
  await app.sse.toChannel('a', 'price', { transient: true }, { key: 'y', transient: true })
  t.equal(app.sse.stats().conflated, conflated + 2)
  reader.resume()
  await reader.until(() => reader.own.at(-1)?.data === '{"transient":true}')
  t.equal(reader.own.at(-2)!.data, 'null')
})

t.test('the same key of another channel or event name is another state', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 2_000_000 })
  const { app } = hub
  const { reader } = await blocked(hub, { channels: ['a', 'b'] })
  const { conflated } = app.sse.stats()
  for (const n of [1, 2]) {
    await app.sse.toChannel('a', 'bid', n, { key: 'x' })
    await app.sse.toChannel('b', 'bid', n, { key: 'x' })
    await app.sse.toChannel('a', 'ask', n, { key: 'x' })
    await app.sse.send('bid', n, { key: 'x' })
  }
  t.equal(app.sse.stats().conflated, conflated + 4)
  reader.resume()
  await reader.until(() => reader.own.filter(({ data }) => data === '2').length === 4)
  t.same(reader.own.filter(({ data }) => data === '1'), [])
})

t.test('an event for several channels is replaced by a newer one that has all channels of the client', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 300_000 })
  const { app } = hub
  const { reader, client } = await blocked(hub)
  for (let n = 0; n < 2000; n++) await app.sse.toChannels(['a', `user ${n}`], 'price', { key: 'x', n, PAD }, { key: 'x' })
  t.notOk(client.closed)
  reader.resume()
  await reader.until(() => reader.own.at(-1)?.data.includes('"n":1999,') === true)
  t.equal(newest(reader).x, 1999)
})

t.test('a client that reads too slowly for events without a key is disconnected, even if states wait', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 200_000 })
  const { app } = hub
  const disconnects = recordDisconnects(app)
  const { client } = await blocked(hub)
  await update(app.sse, KEYS, 1000)
  t.notOk(client.closed)
  for (let n = 0; n < 500 && !client.closed; n++) {
    await app.sse.toChannel('a', 'news', { n, PAD })
    await update(app.sse, KEYS, 1)
  }
  t.match(disconnects, [{ client, reason: 'slow' }])
  t.equal(app.sse.stats().slowDisconnects, 1)
  t.equal(app.sse.stats().bufferedBytes, 0)
})

t.test('a client is disconnected if its waiting keys take more than maxBufferedBytes', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 200_000 })
  const { app } = hub
  const { client } = await blocked(hub)
  await update(app.sse, Array.from({ length: 300 }, (_, i) => `k${i}`), 300)
  t.ok(client.closed)
})

t.test('with slowClient "drop", the oldest events and states are dropped, and a client that reads on gets the newest of the later states', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 200_000, slowClient: 'drop' })
  const { app } = hub
  let recipients = 0
  const publish = app.sse.toChannel.bind(app.sse)
  app.sse.toChannel = async (...args: Parameters<typeof publish>) => {
    const published = await publish(...args)
    recipients += published.recipients
    return published as never
  }
  const { reader, client } = await blocked(hub)
  for (let round = 0; round < 4; round++) {
    await update(app.sse, KEYS, 200, round * 200)
    for (let n = 0; n < 250; n++) await app.sse.toChannel('a', 'news', { n: round * 250 + n, PAD })
    t.ok(app.sse.stats().bufferedBytes <= 200_000)
  }
  const expected = await update(app.sse, KEYS, 10, 800)
  const { dropped } = app.sse.stats()
  t.ok(dropped > 0)
  reader.resume()
  await reader.until(() => reader.own.at(-1)?.data.includes('"n":809,') === true)
  t.notOk(client.closed)
  t.match(newest(reader), expected)
  t.equal(reader.events.filter(({ event }) => event === 'sse:gap').reduce((sum, { data }) => sum + JSON.parse(data).lost, 0), dropped)
  const news = reader.own.filter(({ event }) => event === 'news').map(({ data }) => JSON.parse(data).n)
  t.same(news, Array.from(news, (_, i) => 1000 - news.length + i), 'those without a key from the gap on, in order')
  t.equal(balance(app.sse, recipients), 0)
})

t.test('client.send() resolves when its own event was written, even if states around it are replaced', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 2_000_000 })
  const { app } = hub
  const { reader, client } = await blocked(hub)
  const settled: number[] = []
  const sends: Array<Promise<unknown>> = []
  for (let n = 0; n < 100; n++) {
    await update(app.sse, Array.from({ length: 40 }, (_, i) => `k${i}`), 40, n * 40)
    const { length } = reader.own
    t.equal(length, 0)
    sends.push(client.send('direct', { n, PAD }).then(sent => {
      if (!sent) t.fail(`${n} was not sent`)
      settled.push(n)
    }))
    await app.sse.toChannels(['a', 'b'], 'price', { n }, { key: n % 2 === 0 ? 'x' : 'y' })
  }
  t.same(settled, [], 'nothing is taken that nobody reads')
  reader.resume()
  await Promise.all(sends)
  t.same(settled, Array.from(sends, (_, n) => n))
  await reader.until(() => reader.own.filter(({ event }) => event === 'direct').length === 100)
  t.same(reader.own.filter(({ event }) => event === 'direct').map(({ data }) => JSON.parse(data).n), settled)
})

t.test('client.send() resolves to false only if its event was dropped', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 200_000, slowClient: 'drop' })
  const { app } = hub
  const { reader, client } = await blocked(hub)
  const sends: Array<Promise<boolean>> = []
  for (let n = 0; n < 300; n++) {
    await update(app.sse, KEYS, 10, n * 10)
    sends.push(client.send('direct', { n, PAD }))
  }
  t.ok(app.sse.stats().dropped > 0)
  reader.resume()
  const results = await Promise.all(sends)
  t.ok(results.includes(false))
  const sent = results.flatMap((sent, n) => sent ? [n] : [])
  await reader.until(() => reader.own.filter(({ event }) => event === 'direct').length >= sent.length)
  t.same(reader.own.filter(({ event }) => event === 'direct').map(({ data }) => JSON.parse(data).n), sent)
})

t.test('client.send() resolves to false for all waiting events when the client leaves', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 2_000_000 })
  const { app } = hub
  const { reader, client } = await blocked(hub)
  const sends = []
  for (let n = 0; n < 10; n++) {
    await update(app.sse, KEYS, 10)
    sends.push(client.send('direct', n))
  }
  reader.destroy()
  t.same(await Promise.all(sends), Array(10).fill(false))
})

t.test('a waiting client gets the newest states when the app closes', async t => {
  const hub = await unixHub(t, { maxBufferedBytes: 2_000_000, reconnectSpread: 0 })
  const { app } = hub
  const { reader } = await blocked(hub)
  const expected = await update(app.sse, KEYS, 1000)
  const closed = app.close()
  reader.resume()
  await reader.untilClosed()
  await closed
  t.match(newest(reader), expected)
})
