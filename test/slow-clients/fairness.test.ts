// Thousands of clients must not keep the event loop busy: the scheduler leaves turns for other requests.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { Scheduler, type Visited } from '../../lib/client/scheduler.js'
import { MemoryBroker } from '../../lib/brokers/memory.js'
import type { BrokerEvent, BrokerReceipt } from '../../lib/index.js'
import { buildApp, listen } from '../support/app.js'
import { letPass } from '../support/passing-time.js'
import { RawClient, requestText } from '../support/raw-client.js'
import { undisturbed } from '../support/undisturbed.js'
import { unixHub } from '../support/unix-hub.js'

const CLIENTS = 2000

/** A broker whose promises are resolved already. */
class PromptBroker extends MemoryBroker {
  override publish (event: BrokerEvent, idempotencyKey: string): BrokerReceipt {
    return Promise.resolve(super.publish(event, idempotencyKey)) as unknown as BrokerReceipt
  }
}

/** Connects clients that read and keep nothing. They are only there to be many. */
async function connectMany (t: Test, app: FastifyInstance, port: number): Promise<void> {
  const sockets: Socket[] = []
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  const all = new Promise<void>(resolve => {
    app.sse.on('connect', () => { if (app.sse.clientCount() === CLIENTS) resolve() })
  })
  for (let n = 0; n < CLIENTS; n++) {
    const socket = connect(port, '127.0.0.1')
    sockets.push(socket)
    socket.on('error', () => {})
    socket.write(requestText({ path: '/events' }))
    socket.resume()
    // More connections than this would not fit into the listen queue.
    if (n % 100 === 99) await once(socket, 'connect')
  }
  await all
}

t.test('other requests are served while thousands of clients get broadcasts as fast as possible', async t => {
  const app = await buildApp(t)
  app.get('/events', (_request, reply) => { reply.sse() })
  const deliveredAtPing: number[] = []
  app.get('/ping', async () => {
    deliveredAtPing.push(app.sse.stats().delivered)
    return 'pong'
  })
  const port = await listen(app)
  await connectMany(t, app, port)
  const raw = new RawClient(port, { path: '/ping' })
  t.teardown(() => raw.destroy())
  await raw.until(() => raw.received.includes('pong'))
  raw.socket.on('data', () => raw.socket.write(requestText({ path: '/ping' })))

  // The ping comes while a round of visits is running.
  const { delivered } = app.sse.stats()
  deliveredAtPing.length = 0
  const publishing: Array<Promise<unknown>> = []
  for (let n = 0; n < 20; n++) publishing.push(app.sse.send('message', 'x'.repeat(1000)))
  raw.socket.write(requestText({ path: '/ping' }))
  await Promise.all(publishing)
  while (app.sse.stats().delivered < delivered + 20 * CLIENTS) await new Promise(resolve => setImmediate(resolve))
  const between = deliveredAtPing.filter(count => count > delivered && count < delivered + 20 * CLIENTS)
  t.ok(between.length > 0, 'a ping is served when some clients have the events and others have not')

  // A loop that only awaits its publishes must not block the event loop either.
  deliveredAtPing.length = 0
  let published = 0
  while (deliveredAtPing.length < 3 && published < 1000) {
    await app.sse.send('message', 'x'.repeat(1000))
    published++
  }
  t.ok(deliveredAtPing.length >= 3, `${deliveredAtPing.length} pings are served during ${published} broadcasts`)
  t.equal(app.sse.stats().slowDisconnects, 0)
})

/** It notes its visits. */
class Visitor implements Visited {
  queued = false
  readonly name: string
  readonly #log: string[]
  readonly #then: () => void

  constructor (name: string, log: string[], then: () => void = () => {}) {
    this.name = name
    this.#log = log
    this.#then = then
  }

  visit (): void {
    this.#log.push(this.name)
    this.#then()
  }
}

for (const [what, options, data, recipients] of [
  ['that nobody hears', {}, 'data', 0],
  ['that a client gets', {}, 'data', 1],
  ['that are refused', {}, undefined, 0],
  ['whose broker answers without a turn', { broker: new PromptBroker() }, 'data', 0]
] as const) {
  t.test(`a loop of awaited publishes ${what} leaves the event loop its turns`, async t => {
    const { app, open } = await unixHub(t, options)
    if (recipients > 0) await open({ channels: ['room'] })
    for (let turn = 0; turn < 3; turn++) {
      const next = { came: false }
      setImmediate(() => { next.came = true })
      let count = 0
      while (!next.came && count++ < 500) {
        await app.sse.toChannel('room', 'row', data as string, { raw: true }).catch(() => {})
        letPass(0.1)
      }
      t.ok(next.came, `a turn came after ${count} publishes`)
    }
  })
}

t.test('an awaited publish in a turn of its own waits for no other turn, however much was published before', async t => {
  const { app, open } = await unixHub(t)
  await open({ channels: ['room'] })
  for (let n = 0; n < 80; n++) {
    await new Promise(resolve => setImmediate(resolve))
    let turned = false
    setImmediate(() => { turned = true })
    await app.sse.toChannel('room', 'row', 'x'.repeat(1000))
    if (turned) return t.fail(`publish ${n} waited`)
  }
})

t.test('a client that is queued twice is visited once in a round', async t => {
  const scheduler = new Scheduler(undisturbed)
  const log: string[] = []
  const a = new Visitor('a', log)
  const b = new Visitor('b', log)
  for (const visited of [a, b, a, b, a]) scheduler.add(visited)
  t.same(log, [], 'nobody is visited at once')
  await scheduler.settled()
  t.same(log, ['a', 'b'])
  scheduler.add(a)
  await scheduler.settled()
  t.same(log, ['a', 'b', 'a'])
})

t.test('a client that is queued during a round waits for the next round', async t => {
  const scheduler = new Scheduler(undisturbed)
  const log: string[] = []
  const rounds: number[] = []
  const a: Visitor = new Visitor('a', log, () => {
    if (rounds.push(scheduler.round) < 3) scheduler.add(a)
  })
  scheduler.add(a)
  scheduler.add(new Visitor('b', log))
  await scheduler.settled()
  t.same(log, ['a', 'b'], 'settled() is about those in line when it was called')
  await scheduler.settled()
  await scheduler.settled()
  t.same(log, ['a', 'b', 'a', 'a'])
  t.same(rounds, [rounds[0]!, rounds[0]! + 1, rounds[0]! + 2])
})

t.test('settled() resolves after all queued clients were visited, also in a visit, and also if no client is queued', async t => {
  const scheduler = new Scheduler(undisturbed)
  const log: string[] = []
  await scheduler.settled()
  let inner: Promise<unknown> | undefined
  scheduler.add(new Visitor('a', log, () => {
    inner ??= scheduler.settled().then(() => log.push('settled'))
    scheduler.add(b)
  }))
  const b = new Visitor('b', log)
  const outer = scheduler.settled().then(() => log.push('first settled'))
  await outer
  await inner
  t.same(log, ['a', 'first settled', 'b', 'settled'])
})

t.test('a long round is cut into slices, with turns of the event loop between them', async t => {
  const scheduler = new Scheduler(undisturbed)
  const log: string[] = []
  const busy = (): void => {
    const end = performance.now() + 0.5
    while (performance.now() < end);
  }
  for (let n = 0; n < 100; n++) scheduler.add(new Visitor('visit', log, busy))
  const settled = scheduler.settled().then(() => 'settled')
  let turns = 0
  while (await Promise.race([settled, new Promise<string>(resolve => setImmediate(() => resolve('turn')))]) === 'turn') {
    turns++
    // A client that is queued now waits for the next round, and is not forgotten.
    if (turns === 1) scheduler.add(new Visitor('late', log))
  }
  t.ok(turns > 3, `${turns} turns`)
  t.same(log.slice(0, 100), Array.from({ length: 100 }, () => 'visit'))
  await scheduler.settled()
  t.same(log.slice(100), ['late'])
})

/**
 * How many of 200 visits are made in one turn. Each visit moves the clock by 0.05 ms, and nothing else moves it.
 * @param before is called in that turn, and may move the clock by some milliseconds
 */
async function visitsOfOneTurn (t: Test, before: (scheduler: Scheduler, pass: (milliseconds: number) => void) => void): Promise<number> {
  let now = 1000
  const pass = (milliseconds: number): void => { now += milliseconds }
  t.intercept(performance, 'now', { value: () => now })
  const scheduler = new Scheduler(undisturbed)
  const log: string[] = []
  const add = (): void => scheduler.add(new Visitor('visit', log, () => pass(0.05)))
  add()
  // A slice has just ended.
  await scheduler.settled()
  for (let n = 0; n < 200; n++) add()
  before(scheduler, pass)
  await new Promise(resolve => setImmediate(resolve))
  return log.length - 1
}

t.test('a slice ends after 2 ms, and after fewer visits if something was published in the turn before', async t => {
  t.equal(await visitsOfOneTurn(t, () => {}), 48, 'the clock is looked at every 8 visits')
  t.equal(await visitsOfOneTurn(t, scheduler => scheduler.published()), 8)
})

t.test('a slice is as long as the turn\'s other work, up to its usual length', async t => {
  t.equal(await visitsOfOneTurn(t, (scheduler, pass) => {
    scheduler.published()
    pass(1)
  }), 24)
  t.equal(await visitsOfOneTurn(t, (scheduler, pass) => {
    scheduler.published()
    pass(50)
  }), 48)
})

/**
 * Schedulers with so many visits in line. Each visit moves the clock by some milliseconds, and nothing else moves it.
 * @returns a function that lets one turn of the event loop pass, and tells how many visits each has made in it
 */
function lines (t: Test, lengths: readonly number[], milliseconds: number): () => Promise<number[]> {
  let now = 1000
  t.intercept(performance, 'now', { value: () => now })
  const schedulers = lengths.map(length => {
    const scheduler = new Scheduler(undisturbed)
    for (let n = 0; n < length; n++) scheduler.add(new Visitor('visit', [], () => { now += milliseconds }))
    return scheduler
  })
  const visits = (): number[] => schedulers.map(scheduler => scheduler.visits)
  return async () => {
    const before = visits()
    await new Promise(resolve => setImmediate(resolve))
    return visits().map((count, at) => count - before[at]!)
  }
}

t.test('hubs with long lines share the time of one slice', async t => {
  const turn = lines(t, [200, 200, 200, 8, 200, 200], 0.0625)
  t.same((await turn()).slice(0, 4), [40, 24, 16, 8], 'in the first turn, each sees those that were not done before it')
  t.same(await turn(), [8, 8, 8, 0, 8, 8], 'a fifth of 2 ms, in which 8 visits begin')
})

t.test('a hub has whole slices again when the others have done theirs', async t => {
  const turn = lines(t, [1000, 100], 0.0625)
  let visits = await turn()
  while (visits[1]! > 0) visits = await turn()
  t.same([visits, await turn()], [[40, 0], [40, 0]])
})

t.test('where visits are long, a slice ends after the first that makes it too long', async t => {
  const turn = lines(t, [100], 1.5)
  t.same(await turn(), [8], 'nobody knows yet that they are long')
  t.same([await turn(), await turn()], [[2], [2]])
})

t.test('after long visits, the clock is looked at as rarely as before', async t => {
  let looks = 0
  let now = 1000
  let step = 1.5
  t.intercept(performance, 'now', { value: () => { looks++; return now } })
  const scheduler = new Scheduler(undisturbed)
  const add = (count: number): void => { for (let n = 0; n < count; n++) scheduler.add(new Visitor('visit', [], () => { now += step })) }
  add(10)
  await scheduler.settled()
  step = 0.001
  add(1)
  await scheduler.settled()
  looks = 0
  add(80)
  await scheduler.settled()
  t.ok(looks <= 12, `${looks} looks for 80 visits`)
})
