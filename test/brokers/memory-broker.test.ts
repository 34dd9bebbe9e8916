import t from 'tap'
import { MemoryBroker } from '../../lib/brokers/memory.js'
import type { BrokerEvent } from '../../lib/index.js'
import { brokerEvent, brokerSink } from '../support/broker-sink.js'

interface Delivered { event: BrokerEvent, position: number, id: string | null }

/** A started broker, and what it delivers. The recipients of an event are as many as its position: event 3 has three. */
function started (): { broker: MemoryBroker, delivered: Delivered[] } {
  const broker = new MemoryBroker()
  const delivered: Delivered[] = []
  broker.start(brokerSink({
    deliver (event, position, id) {
      delivered.push({ event, position, id })
      return position
    }
  }))
  return { broker, delivered }
}

function eventOf (name: string, transient = false): BrokerEvent {
  return brokerEvent({ name, transient })
}

t.test('each event is delivered within the call, at the next position', async t => {
  const { broker, delivered } = started()
  const events = [eventOf('a'), eventOf('b', true), eventOf('c')]
  const receipts = events.map(event => broker.publish(event, ''))
  t.strictSame(delivered.map(({ position }) => position), [1, 2, 3])
  t.ok(delivered.every(({ event }, index) => event === events[index]))
  t.strictSame(receipts.map(({ recipients }) => recipients), [1, 2, 3])
  t.strictSame(receipts.map(({ id }) => id), delivered.map(({ id }) => id))
})

t.test('a transient event has no id and takes a position', async t => {
  const { broker, delivered } = started()
  t.equal(broker.publish(eventOf('a', true), '').id, null)
  t.equal(delivered[0]!.id, null)
  const { id } = broker.publish(eventOf('b'), '')
  t.equal(broker.position(id!), 2)
})

t.test('position() knows its own ids, that of the very beginning included', async t => {
  const { broker } = started()
  const beginning = broker.head()
  t.equal(broker.position(beginning), 0)
  const ids = ['a', 'b', 'c'].map(name => broker.publish(eventOf(name), '').id!)
  t.strictSame(ids.map(id => broker.position(id)), [1, 2, 3])
  t.equal(broker.position(beginning), 0)
  t.equal(new Set([beginning, ...ids]).size, 4)
})

t.test('head() is the newest event\'s id, or the place of the newest transient one', async t => {
  const { broker } = started()
  const { id } = broker.publish(eventOf('a'), '')
  t.equal(broker.head(), id)
  broker.publish(eventOf('b', true), '')
  t.not(broker.head(), id)
  t.equal(broker.position(broker.head()), 2)
})

t.test('ids are one line of visible characters', async t => {
  const { broker } = started()
  for (let n = 0; n < 100; n++) t.match(broker.publish(eventOf('a'), '').id, /^[\w-]+$/)
})

t.test('position() takes nothing else for a place', async t => {
  const { broker } = started()
  const id = broker.publish(eventOf('a'), '').id!
  const other = started().broker
  const foreign = other.publish(eventOf('a'), '').id!
  const epoch = id.slice(0, -1)
  t.equal(broker.position(epoch + '1'), 1, 'an id is its epoch and its number')
  const wrong = [
    foreign, other.head(), '', 'x', '0', '1', epoch, epoch + '2', epoch + '-1', epoch + '01', epoch + '1 ', ' ' + id, epoch + ' 1', epoch + '+1', epoch + '1.0', epoch + '1e0',
    epoch + '0x1', epoch + '١', epoch + '1\n', epoch + 'NaN', epoch + 'Infinity', epoch + '99999999999999999999', epoch.slice(1) + '1', epoch.toUpperCase() + 'x1', id + id, id.repeat(1000)
  ]
  for (const one of wrong) t.equal(broker.position(one), -1, JSON.stringify(one).slice(0, 60))
})

t.test('the same key stores once and gives the first receipt', async t => {
  const { broker, delivered } = started()
  const first = broker.publish(eventOf('a'), 'k')
  t.strictSame(broker.publish(eventOf('b'), 'k'), first)
  t.strictSame(broker.publish(eventOf('a', true), 'k'), first)
  t.equal(delivered.length, 1)
  broker.publish(eventOf('a'), 'K')
  broker.publish(eventOf('a'), '__proto__')
  broker.publish(eventOf('a'), '')
  broker.publish(eventOf('a'), '')
  t.equal(delivered.length, 5, 'other keys, and none, are other events')
})

t.test('a transient event\'s key is remembered as well', async t => {
  const { broker, delivered } = started()
  t.strictSame(broker.publish(eventOf('a', true), 'k'), { id: null, recipients: 1 })
  t.strictSame(broker.publish(eventOf('a', true), 'k'), { id: null, recipients: 1 })
  t.equal(delivered.length, 1)
})

t.test('of the keys the newest 10,000 are remembered', async t => {
  const { broker, delivered } = started()
  for (let n = 0; n < 10_000; n++) broker.publish(eventOf('a'), `key-${n}`)
  broker.publish(eventOf('a'), 'key-0')
  t.equal(delivered.length, 10_000, 'the oldest of 10,000 is known')
  broker.publish(eventOf('a'), 'one more')
  broker.publish(eventOf('a'), 'key-1')
  t.equal(delivered.length, 10_001, 'the second oldest still is')
  broker.publish(eventOf('a'), 'key-0')
  t.equal(delivered.length, 10_002, 'the oldest is not any more')
})

t.test('an event whose delivery fails leaves its key free', async t => {
  const broker = new MemoryBroker()
  let fails = true
  broker.start(brokerSink({
    deliver () {
      if (fails) throw new Error('no')
      return 0
    }
  }))
  t.throws(() => broker.publish(eventOf('a'), 'k'), { message: 'no' })
  fails = false
  t.type(broker.publish(eventOf('a'), 'k').id, 'string')
})

t.test('a closed broker has forgotten its keys', async t => {
  const { broker, delivered } = started()
  broker.publish(eventOf('a'), 'k')
  broker.close()
  broker.publish(eventOf('a'), 'k')
  t.equal(delivered.length, 2)
})
