// What a client gets of the time before its instance began. A broker that keeps events may be late, fail once, or answer one channel
// after another.
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { buildApp } from '../support/app.js'
import { opener, received, receivedNames, type Open, type OpenStream } from '../support/open.js'
import { BEGIN, idAt, PastBroker } from '../support/past-broker.js'

interface Instance {
  readonly broker: PastBroker
  readonly app: FastifyInstance
  readonly open: Open
}

async function instance (t: Test, options = {}): Promise<Instance> {
  const broker = new PastBroker()
  const app = await buildApp(t, { broker, ...options })
  return { broker, app, open: await opener(t, app) }
}

async function recovered (stream: OpenStream): Promise<boolean> {
  await received(stream)
  return JSON.parse(stream.raw.events[0]!.data).recovered
}

/** Makes the broker's next answers wait. */
function heldBack (broker: PastBroker): () => void {
  let letGo!: () => void
  const gone = new Promise<void>(resolve => { letGo = resolve })
  broker.before = () => gone
  return letGo
}

t.test('after a failure, the next client asks the broker anew and recovers', async t => {
  const { broker, open } = await instance(t)
  broker.keep('a', [990, 0], [995, 0])
  broker.before = () => { throw new Error('once') }
  const first = await open('a', { lastEventId: idAt(980) })
  t.equal(await recovered(first), false)
  t.same(await receivedNames(first), [])
  broker.before = () => {}
  const second = await open('a', { lastEventId: idAt(980) })
  t.equal(await recovered(second), true)
  t.same(await receivedNames(second), ['past-990', 'past-995'])
  t.same(broker.asked.map(targets => targets.includes('a')), [true, true])
})

t.test('the broker is asked once for each channel', async t => {
  const { broker, open } = await instance(t)
  for (const channels of ['a', 'b', ['a', 'b', 'c']]) await received(await open(channels, { broadcast: false }))
  const asked = broker.asked.flat()
  t.same(asked, [...new Set(asked)])
  for (const channel of ['a', 'b', 'c']) t.ok(asked.includes(channel))
})

t.test('a client gets what was filled in after another client with the same channels had its replay', async t => {
  const { broker, app, open } = await instance(t)
  broker.keep('a', [990, 0], [996, 0])
  broker.keep('b', [993, 0])
  t.same(await receivedNames(await open('a')), ['past-990', 'past-996'])
  await app.sse.toChannel('b', 'live', null)
  broker.before = () => { throw new Error('once') }
  t.same(await receivedNames(await open(['a', 'b'])), ['past-990', 'past-996', 'live'], 'the broker did not tell b')
  broker.before = () => {}
  t.same(await receivedNames(await open(['a', 'b'])), ['past-990', 'past-993', 'past-996', 'live'])
})

t.test('an answer that comes after the instance began again is not used, and the broker is asked again', async t => {
  const { broker, app, open } = await instance(t)
  broker.keep('a', [990, 0])
  const letGo = heldBack(broker)
  const first = await open('a', { lastEventId: idAt(980) })
  while (broker.asked.length === 0) await new Promise(resolve => setImmediate(resolve))
  broker.skipTo(BEGIN + 500)
  broker.keep('a', [990, 0], [BEGIN + 400, 0])
  broker.before = () => {}
  letGo()
  t.same(await receivedNames(first), [])
  t.equal(await recovered(first), false)
  const second = await open('a', { lastEventId: idAt(980) })
  t.same(await receivedNames(second), ['past-990', `past-${BEGIN + 400}`])
  t.equal(await recovered(second), true)
  t.equal(broker.asked.length, 2)
  await app.sse.toChannel('a', 'live', null)
  t.same(await receivedNames(first), ['live'])
})

t.test('an answer that is late is filled in before what was published meanwhile', async t => {
  const { broker, app, open } = await instance(t, { historySize: 3 })
  broker.keep('a', [980, 0], [990, 0], [995, 0])
  const letGo = heldBack(broker)
  const stream = await open('a', { lastEventId: idAt(970) })
  await app.sse.toChannel('a', 'live', 1)
  await app.sse.toChannel('a', 'live', 2)
  letGo()
  t.same(await receivedNames(stream), ['past-995', 'live', 'live'], 'one has room')
  t.equal(await recovered(stream), false)
})

t.test('what this instance dropped before it was filled, and the broker too, stays a loss', async t => {
  const { broker, app, open } = await instance(t, { historySize: 2 })
  const before = idAt(BEGIN)
  for (const n of [1, 2, 3]) await app.sse.toChannel('a', `live-${n}`, null)
  broker.kept.set('a', { events: [], floor: BEGIN + 1, known: BEGIN + 3 })
  const early = await open('a', { lastEventId: idAt(980) })
  t.same(await receivedNames(early), ['live-2', 'live-3'])
  t.equal(await recovered(early), false)
  const late = await open('a', { lastEventId: before })
  t.same(await receivedNames(late), ['live-2', 'live-3'])
  t.equal(await recovered(late), false, 'live-1 is missing')
})

t.test('states of one channel expire, also if younger ones of another channel were filled in after them', async t => {
  const { broker, app } = await instance(t, { historyMaxAge: 100_000 })
  broker.keep('a', [980, 90_000, { name: 'x', key: 'k' }])
  broker.keep('b', [990, 50_000, { name: 'x', key: 'k' }])
  const { now } = performance
  t.teardown(() => { performance.now = now })
  const keys = async (channel: string): Promise<string[]> => (await app.sse.state(channel, 'x')).map(({ key }) => key)
  t.same([await keys('a'), await keys('b')], [['k'], ['k']])
  performance.now = () => now.call(performance) + 20_000
  t.same([await keys('a'), await keys('b')], [[], ['k']])
})

t.test('nothing is left of the time limit when the broker has answered', async t => {
  const { broker, app } = await instance(t)
  const timers = (): number => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
  const before = timers()
  broker.keep('a', [990, 0, { name: 'x', key: 'k' }])
  t.equal((await app.sse.state('a', 'x')).length, 1)
  t.equal(timers(), before)
  broker.before = () => { throw new Error('gone') }
  await t.rejects(app.sse.state('b', 'x'))
  t.equal(timers(), before)
})
