// Clocks that are set while the hub runs. The hub measures times with a clock that only goes forward.
import { once } from 'node:events'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { redisBroker } from '../../lib/brokers/redis/index.js'
import { Keys } from '../../lib/brokers/redis/keys.js'
import sse, { type BrokerEvent, type BrokerPast, type BrokerSink } from '../../lib/index.js'
import { AsyncBroker } from '../support/async-broker.js'
import { buildApp } from '../support/app.js'
import { brokerEvent } from '../support/broker-sink.js'
import { opener, received } from '../support/open.js'
import { redisDatabase, withoutRedis } from '../support/redis-server.js'

const HOUR = 60 * 60 * 1000

/** Sets the clock of this process, which `Date.now()` reads. */
function settable (t: Test): (offset: number) => void {
  const { now } = Date
  t.teardown(() => { Date.now = now })
  return offset => { Date.now = () => now() + offset }
}

t.test('while the clock is set back and forth nothing is lost, ids keep their order, and heartbeats go on', async t => {
  const set = settable(t)
  const app = await buildApp(t, { historyMaxAge: HOUR / 2, heartbeatInterval: 40, stallTimeout: 60_000 })
  const open = await opener(t, app)
  const stream = await open('room')
  const ids: string[] = []
  for (const offset of [0, -HOUR, HOUR, -24 * HOUR, 24 * HOUR, -1]) {
    set(offset)
    const beats = stream.raw.text.split('\n:\n').length
    ids.push((await app.sse.toChannel('room', 'n', ids.length)).id)
    await stream.raw.until(() => stream.raw.text.split('\n:\n').length > beats)
    const { client } = await open()
    t.ok(Math.abs(client.connectedAt.getTime() - Date.now()) < HOUR / 2)
    client.close()
  }
  const all = ids.map((id, n) => ({ id, event: 'n', data: String(n) }))
  t.same(await received(stream), all)
  t.same([...ids].sort((one, other) => Number(one.split('-').at(-1)) - Number(other.split('-').at(-1))), ids)
  const resumed = await open('room', {}, { 'last-event-id': ids[1]! })
  t.same(await received(resumed), all.slice(2), 'and nothing is taken for too old')
  t.equal(JSON.parse(resumed.raw.events[0]!.data).recovered, true)
  t.match(app.sse.stats(), { clients: 2, slowDisconnects: 0, bufferedBytes: 0 })
})

/** It has an old event that is dated an hour ahead, because its clock was set back after that event. */
class DatingBroker extends AsyncBroker {
  override async start (sink: BrokerSink): Promise<void> {
    await super.start(sink)
    sink.skipTo(10)
    this.skip(10)
  }

  async past (targets: readonly string[]): Promise<ReadonlyMap<string, BrokerPast>> {
    const event = (target: string): BrokerEvent => brokerEvent({ targets: [target], name: 'old' })
    return new Map(targets.map(target => [target, {
      events: target === 'room' ? [{ event: event(target), position: 5, id: 'async:5', time: Date.now() + HOUR }] : [], floor: 0, known: 10
    }]))
  }
}

t.test('an event that a broker has dated ahead does not keep older events from expiring', async t => {
  const app = await buildApp(t, { broker: new DatingBroker(), historyMaxAge: 4000, heartbeatInterval: 40 })
  const open = await opener(t, app)
  await app.sse.toChannel('hall', 'live', 1)
  t.equal(app.sse.stats().historyEvents, 1)
  const stream = await open('room', { broadcast: false })
  t.same((await received(stream)).map(({ event }) => event), ['old'])
  // The hub removes old events when it sends heartbeats.
  while (app.sse.stats().historyEvents > 0) await once(stream.raw.socket, 'data')
  t.pass('all of it is gone')
})

t.test('if Redis\'s clock was set back, ids keep their order, and nothing is lost', { skip: withoutRedis }, async t => {
  const redis = await redisDatabase(t)
  const client = redis.connect(t)
  const keys = new Keys('sse')
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(sse, { broker: redisBroker({ url: redis.url }) })
  const open = await opener(t, app)
  const stream = await open('room')
  const ids: string[] = []
  for (let n = 0; n < 10; n++) {
    // A clock that was an hour ahead until now has left this value.
    if (n === 5) await client.hincrby(keys.meta, 't', HOUR)
    ids.push((await app.sse.toChannel('room', 'n', n)).id)
  }
  const all = ids.map((id, n) => ({ id, event: 'n', data: String(n) }))
  t.same(await received(stream), all)
  t.same(ids.map(id => Number(id.split('.')[1])), Array.from({ length: 10 }, (_, n) => Number(ids[0]!.split('.')[1]) + n))
  const resumed = await open('room', {}, { 'last-event-id': ids[3]! })
  t.same(await received(resumed), all.slice(4))
  t.equal(JSON.parse(resumed.raw.events[0]!.data).recovered, true)
})
