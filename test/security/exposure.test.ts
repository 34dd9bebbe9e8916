// What code can reach that has the hub or a client: only what is documented, and nothing inside the hub.
import { EventEmitter } from 'node:events'
import t, { type Test } from 'tap'
import type { SSEHub } from '../../lib/index.js'
import { Backlog } from '../../lib/client/backlog.js'
import { Opening } from '../../lib/client/opening.js'
import { Scheduler } from '../../lib/client/scheduler.js'
import { History } from '../../lib/history/history.js'
import { HistoryLoader } from '../../lib/history/loader.js'
import { Replays } from '../../lib/history/replay.js'
import { States } from '../../lib/history/states.js'
import { Admission } from '../../lib/hub/admission.js'
import { Connections } from '../../lib/hub/connections.js'
import { HubCore } from '../../lib/hub/core.js'
import { Delivery } from '../../lib/hub/delivery.js'
import { Directory } from '../../lib/hub/directory.js'
import { Heartbeat } from '../../lib/hub/heartbeat.js'
import { HubLog } from '../../lib/hub/hub-log.js'
import { Listeners } from '../../lib/hub/listeners.js'
import { Publisher } from '../../lib/hub/publisher.js'
import { Registry } from '../../lib/hub/registry.js'
import { Work } from '../../lib/hub/work.js'
import { Counters } from '../../lib/observe/counters.js'
import { DataFormat } from '../../lib/schemas/data.js'
import { EventStream } from '../../lib/transport/event-stream.js'
import { Batches } from '../../lib/wire/batch.js'
import { MemoryBroker } from '../../lib/brokers/memory.js'
import { buildApp } from '../support/app.js'
import { opener } from '../support/open.js'

/** From an object of one of these classes, code can reach other clients, or their events. */
const INSIDE = [
  Admission, Batches, Connections, Counters, DataFormat, Delivery, Directory, EventStream, Heartbeat, History, HistoryLoader, HubCore, HubLog,
  Listeners, MemoryBroker, Opening, Publisher, Registry, Replays, Scheduler, States, Work
]

/** The names of the type `SSEHub`, without those of an emitter. The compiler refuses a name too many or too few. */
const HUB: Record<Exclude<keyof SSEHub, keyof EventEmitter>, true> = {
  send: true,
  toChannel: true,
  toChannels: true,
  toClient: true,
  state: true,
  client: true,
  clients: true,
  channelClients: true,
  channels: true,
  clientCount: true,
  presence: true,
  cleanupDisconnected: true,
  stats: true
}

t.test('JSON of a client has what the documentation says, and nothing else', async t => {
  const app = await buildApp(t)
  app.get('/clients', () => app.sse.clients())
  app.get('/client', () => ({ client: app.sse.client('alice') }))
  const open = await opener(t, app)
  const { client } = await open(['a', 'b'], { id: 'alice', metadata: { user: 'Alice' }, lastEventId: 'seven', events: ['n'] })
  const expected = {
    id: 'alice', channels: ['a', 'b'], metadata: { user: 'Alice' }, lastEventId: 'seven', connectedAt: client.connectedAt.toISOString(), closed: false
  }
  const json = (text: string): unknown => JSON.parse(text)
  t.strictSame(json(JSON.stringify(client)), expected)
  t.strictSame(json((await app.inject('/clients')).body), [expected])
  t.strictSame(json((await app.inject('/client')).body), { client: expected })
  client.close()
  t.strictSame(json(JSON.stringify(client)), { ...expected, closed: true })
})

t.test('the hub has the names that its type has, those of an EventEmitter, and no other', async t => {
  const app = await buildApp(t)
  const names = new Set<string | symbol>()
  for (let object: object | null = app.sse; object !== null && object !== EventEmitter.prototype; object = Object.getPrototypeOf(object) as object | null) {
    for (const name of Reflect.ownKeys(object)) names.add(name)
  }
  // Each emitter has these: its listeners by event, and its settings.
  for (const name of [...Reflect.ownKeys(new EventEmitter()), 'constructor']) names.delete(name)
  t.strictSame([...names].map(String).sort(), Object.keys(HUB).sort())
  t.strictSame(Object.keys(app.sse).filter(name => !name.startsWith('_')), [], 'and none of them shows in a loop over it')
})

t.test('no property of the hub or of a client, own or inherited, leads to the inside of the hub', async t => {
  const app = await buildApp(t, { historySize: 10, compress: true, maxClientsPerKey: 5 })
  const open = await opener(t, app)
  const streams = [await open(['a', 'b']), await open('b', { id: 'alice' }, { 'accept-encoding': 'gzip' })]
  // A client holds more objects when events wait for it and somebody listens.
  app.sse.on('disconnect', () => {})
  for (const { client } of streams) {
    client.signal.addEventListener('abort', () => {})
    client.send('waits', 1)
  }
  app.sse.toChannel('b', 'waits', 1, { key: 'k' })
  const handedOut: Record<string, unknown> = {
    'app.sse': app.sse,
    'clients()': app.sse.clients(),
    'client()': app.sse.client('alice'),
    'channelClients()': app.sse.channelClients('b'),
    'channels()': app.sse.channels(),
    'stats()': app.sse.stats(),
    'presence()': await app.sse.presence('b'),
    'state()': await app.sse.state('b', 'waits'),
    'toJSON()': streams[0]!.client.toJSON(),
    'what a publish resolves with': await app.sse.send('n', 1)
  }
  isOutside(t, handedOut)
  for (const { client, raw } of streams) {
    client.close()
    await raw.until(() => raw.complete)
  }
  isOutside(t, { 'a client that is gone': streams.map(({ client }) => client) })
})

t.test('the walk of these tests finds what a property, a symbol, a getter, a list or a map leads to', async t => {
  class Found {}
  const [symbol, found] = [Symbol('s'), new Found()]
  class Parent {
    get inherited (): object { return [new Map([['key', { [symbol]: found }]])] }
  }
  t.equal([...reachable({ child: new (class extends Parent {})() })].filter(([value]) => value instanceof Found).length, 1)
})

function isOutside (t: Test, handedOut: Record<string, unknown>): void {
  // The prototypes of clients are no clients.
  const clients = new Set<unknown>([handedOut['clients()'], handedOut['a client that is gone']].flat())
  let count = 0
  for (const [value, path] of reachable(handedOut)) {
    count++
    const inside = INSIDE.find(Class => value instanceof Class)
    if (inside !== undefined) t.fail(`${path} leads to ${inside.name}`)
    if (value instanceof Backlog && !Object.hasOwn(value, 'constructor') && !clients.has(value)) t.fail(`${path} leads to another client`)
  }
  t.ok(count > 20, `${count} objects are looked at`)
}

/** All objects that own and inherited properties lead to. Getters are called, and the members of maps and sets count. */
function * reachable (from: object): Generator<[value: object, path: string], void> {
  const seen = new Set<object>([from])
  const line: Array<[object, string]> = [[from, '']]
  const found = (value: unknown, path: string): void => {
    // Functions are not called, because their results are documented. Their properties are walked.
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) return
    seen.add(value)
    line.push([value, path])
  }
  for (let entry = line.shift(); entry !== undefined; entry = line.shift()) {
    const [object, path] = entry
    yield entry
    if (object instanceof Map || object instanceof Set) for (const [key, value] of object.entries()) [key, value].forEach(member => found(member, `${path}[…]`))
    for (let holder: object | null = object; holder !== null; holder = Object.getPrototypeOf(holder) as object | null) {
      for (const name of Reflect.ownKeys(holder)) {
        let value
        try {
          value = Reflect.get(object, name)
        } catch {
          // A getter that needs an instance throws on the prototype itself.
          continue
        }
        found(value, `${path}.${String(name)}`)
      }
      found(holder, `${path}.__proto__`)
    }
  }
}
