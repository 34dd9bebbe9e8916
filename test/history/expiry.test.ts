// Very many events that become older than `historyMaxAge` at the same time.
import t from 'tap'
import { History } from '../../lib/history/history.js'
import { buildApp } from '../support/app.js'
import { keptEvent } from '../support/kept-event.js'
import { opener, receivedNames } from '../support/open.js'
import { letPass } from '../support/passing-time.js'

const HOUR = 60 * 60 * 1000

t.test('they are removed from memory in several turns of the event loop', async t => {
  const app = await buildApp(t, { historyMaxAge: HOUR, historySize: 10_000, heartbeatInterval: 40 })
  await app.ready()
  for (let n = 0; n < 5000; n++) app.sse.toChannel('room', 'old', n)
  letPass(2 * HOUR)
  const counts = new Set<number>()
  while (app.sse.stats().historyEvents > 0) {
    counts.add(app.sse.stats().historyEvents)
    await new Promise(resolve => setImmediate(resolve))
  }
  t.ok(counts.size > 1, `${[...counts].join(', ')} and 0 were kept`)
})

t.test('until they are removed, no client gets them, and a client that missed them is told so', async t => {
  const app = await buildApp(t, { historyMaxAge: HOUR, historySize: 10_000, heartbeatInterval: 0, stallTimeout: 0 })
  const open = await opener(t, app)
  const { id } = await app.sse.toChannel('room', 'old', 0, { key: 'a' })
  for (let n = 0; n < 5000; n++) app.sse.toChannels(['room', 'other'], 'old', n)
  letPass(2 * HOUR)
  const published = app.sse.toChannel('room', 'new', 1)
  t.ok(app.sse.stats().historyEvents > 4000)
  await published
  const stream = await open('room', { lastEventId: id })
  t.strictSame(await receivedNames(stream), ['new'])
  t.match(JSON.parse(stream.raw.events[0]!.data), { recovered: false })
  t.strictSame(await app.sse.state('room', 'old'), [])
})

t.test('a publish removes more than it adds, and they are counted out once', async t => {
  const history = new History({ size: 10_000, maxAge: HOUR, maxBytes: Infinity })
  for (let position = 1; position <= 1000; position++) history.add(keptEvent(position, 'x'), ['a', 'b'])
  letPass(2 * HOUR)
  history.add(keptEvent(1001, 'x'), ['b'])
  t.equal(history.count, 993)
  history.expireOf(['a'])
  t.equal(history.count, 993, 'the other target has them')
  t.strictSame([[...history.range(['a'], 0, 1001)], history.lost(['a'], 999, -1), history.lost(['a'], 1000, -1)], [[], true, false])
  for (let position = 1002; history.count > position - 1001; position++) history.add(keptEvent(position, 'x'), ['b'])
  t.equal(history.expire(), false)
  history.skipTo(2000)
  t.strictSame([history.count, history.bytes], [0, 0])
})
