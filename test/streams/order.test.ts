// The order of events: it is the same for all clients, however events are published.
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { recordDisconnects } from '../support/disconnects.js'
import { Random } from '../support/random.js'
import type { StreamClient } from '../support/stream-client.js'
import { unixHub, type Opened } from '../support/unix-hub.js'

const CHANNELS = ['a', 'b', 'c', 'd']

/** One published event: its number in the order of the calls, and its channels, or `null` for a broadcast. */
interface Published {
  readonly n: number
  readonly channels: readonly string[] | null
}

/** Publishes numbered events, and remembers them. */
class Publisher {
  readonly published: Published[] = []
  readonly #app: FastifyInstance

  constructor (app: FastifyInstance) {
    this.#app = app
  }

  publish (channels: readonly string[] | null, { pad = '', transient = false } = {}): Promise<unknown> {
    const n = this.published.length
    this.published.push({ n, channels })
    const { sse } = this.#app
    const data = { n, pad }
    if (channels === null) return sse.send('message', data, { transient })
    if (channels.length === 1) return sse.toChannel(channels[0]!, 'message', data, { transient })
    return sse.toChannels(channels, 'message', data, { transient })
  }

  /** The numbers of the events for a client in these channels. */
  for (own: readonly string[]): number[] {
    return this.published
      .filter(({ channels }) => channels === null || channels.some(channel => own.includes(channel)))
      .map(({ n }) => n)
  }
}

function numbers (reader: StreamClient): number[] {
  return reader.events.filter(({ event }) => event === 'message').map(({ data }) => JSON.parse(data).n)
}

/** Checks that each client has exactly its own events, in the order of the calls. */
async function check (t: Test, app: FastifyInstance, publisher: Publisher, clients: Array<{ own: readonly string[], opened: Opened }>): Promise<void> {
  await app.sse.send('end', null)
  await Promise.all(clients.map(({ opened }) => opened.reader.untilEvent('end')))
  for (const { own, opened } of clients) {
    t.same(numbers(opened.reader), publisher.for(own), `a client in ${own.join(', ') || 'no channel'}`)
  }
}

t.test('however events are published, each client gets those of its channels once, in the same order as all others', async t => {
  const random = new Random()
  t.comment(`seed ${random.seed}`)
  const { app, open } = await unixHub(t, { maxBufferedBytes: 64_000_000 })
  const publisher = new Publisher(app)
  const clients = []
  for (const own of [[], ['a'], ['b'], ['a', 'b'], ['b', 'a'], ['c', 'd'], CHANNELS, CHANNELS]) {
    clients.push({ own, opened: await open({ channels: own, replay: 'none' }) })
  }
  const publishOne = (): Promise<unknown> => {
    const channels = random.chance(0.2) ? null : random.some(CHANNELS)
    const pad = 'x'.repeat(random.pick([0, 0, 0, 10, 1000, 1000, 20_000, random.chance(0.05) ? 150_000 : 0]))
    return publisher.publish(channels?.length === 0 ? null : channels, { pad, transient: random.chance(0.2) })
  }
  for (let round = 0; round < 150; round++) {
    const count = random.below(20)
    const way = random.pick(['burst', 'awaited', 'all awaited', 'turns'])
    const burst: Array<Promise<unknown>> = []
    for (let n = 0; n < count; n++) {
      const published = publishOne()
      burst.push(published)
      if (way === 'awaited') await published
      if (way === 'turns') await new Promise(resolve => setImmediate(resolve))
    }
    if (way === 'all awaited') await Promise.all(burst)
    // Sometimes a client stops reading. Later it catches up through its own lists.
    const { reader } = random.pick(clients).opened
    if (random.chance(0.3)) reader.pause()
    else for (const { opened } of clients) opened.reader.resume()
  }
  for (const { opened } of clients) opened.reader.resume()
  await check(t, app, publisher, clients)
  t.same(app.sse.stats().dropped, 0)
})

t.test('an event that a listener publishes comes after the event that caused it, for all clients', async t => {
  const { app, open } = await unixHub(t, { maxBufferedBytes: 200_000 })
  const publisher = new Publisher(app)
  const disconnects = recordDisconnects(app)
  const clients: Array<{ own: readonly string[], opened: Opened }> = []
  const openMore = async (own: readonly string[]): Promise<void> => {
    clients.push({ own, opened: await open({ channels: own, replay: 'none' }) })
  }
  // The slow clients are in the middle. Events that their disconnects cause must not come too early for the clients after them.
  await openMore(['a'])
  await openMore(['a', 'b'])
  const slow = [await open({ channels: ['a', 'b'], paused: true }), await open({ channels: ['b', 'a'], paused: true })]
  await openMore(['b', 'a'])
  await openMore(['b'])
  await openMore([])
  app.sse.on('disconnect', () => {
    publisher.publish(['a'])
    publisher.publish(null)
    publisher.publish(['b', 'a'])
  })
  while (slow.some(({ client }) => !client.closed)) await publisher.publish(['b', 'a'], { pad: 'x'.repeat(1000) })
  t.same(disconnects.map(({ reason }) => reason), ['slow', 'slow'])
  await check(t, app, publisher, clients)
})

t.test('an event that a "connect" listener publishes reaches the earlier clients and the new one', async t => {
  const { app, open } = await unixHub(t)
  const publisher = new Publisher(app)
  app.sse.on('connect', client => { publisher.publish([...client.channels]) })
  const first = await open({ channels: ['a'], replay: 'none' })
  const second = await open({ channels: ['a', 'b'], replay: 'none' })
  const third = await open({ channels: ['a'], replay: 'none' })
  await publisher.publish(['a'])
  await app.sse.send('end', null)
  await Promise.all([first, second, third].map(({ reader }) => reader.untilEvent('end')))
  t.same(numbers(first.reader), [0, 1, 2, 3])
  t.same(numbers(second.reader), [1, 2, 3])
  t.same(numbers(third.reader), [2, 3])
})

t.test('an event that is published in toJSON() of other data has the same place for all clients', async t => {
  const { app, open } = await unixHub(t)
  const clients = [await open(), await open({ channels: ['a'] }), await open()]
  const data = {
    toJSON: () => {
      app.sse.send('inner', 1)
      return 'outer'
    }
  }
  await app.sse.send('outer', data)
  await app.sse.send('end', null)
  for (const { reader } of clients) {
    await reader.untilEvent('end')
    t.same(reader.own.map(({ event }) => event), ['inner', 'outer', 'end'])
  }
})

t.test('a client that joins and leaves gets the events that are published in between', async t => {
  const { app, open } = await unixHub(t)
  const publisher = new Publisher(app)
  const { reader, client } = await open()
  publisher.publish(['a'])
  client.join('a')
  publisher.publish(['a'])
  publisher.publish(['b', 'a'])
  client.leave('a')
  publisher.publish(['a'])
  client.join('a')
  publisher.publish(['a'])
  await app.sse.send('end', null)
  await reader.untilEvent('end')
  t.same(numbers(reader), [1, 2, 4])
})
