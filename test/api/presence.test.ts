// `presence()`, and the events "join" and "leave".
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { SSEClient, SSEPresence } from '../../lib/index.js'
import { buildApp, listen } from '../support/app.js'
import { AsyncBroker } from '../support/async-broker.js'
import { opener } from '../support/open.js'
import { RawClient } from '../support/raw-client.js'

t.test('presence() lists the streams of a channel, with their metadata', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  t.same(await app.sse.presence('room'), [])
  await open('room', { id: 'alice', metadata: { name: 'Alice' } })
  await open(['room', 'other'], { id: 'bob' })
  const [alice, bob, ...more] = await app.sse.presence('room')
  t.match(alice, { clientId: 'alice', metadata: { name: 'Alice' } })
  t.match(bob, { clientId: 'bob', metadata: {} })
  t.equal(alice!.instance, bob!.instance)
  t.same(more, [])
  t.equal((await app.sse.presence('other')).length, 1)
})

t.test('clients that are gone are not in memory, where a broker lists the streams', async t => {
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as () => void
  const keys = new Set<string>()
  const presence = { instance: 'this', set: (key: string) => { keys.add(key) }, delete: (key: string) => { keys.delete(key) }, in: () => [] }
  const app = await buildApp(t, { broker: Object.assign(new AsyncBroker(), { presence }) })
  const clients: Array<WeakRef<SSEClient>> = []
  app.get('/', (_request, reply) => { clients.push(new WeakRef(reply.sse('room'))) })
  const port = await listen(app)
  for (let n = 0; n < 20; n++) {
    const raw = new RawClient(port)
    await raw.untilEvents(1)
    t.equal(keys.size, 1)
    raw.destroy()
    while (app.sse.clientCount() > 0) await setImmediate()
  }
  t.equal(keys.size, 0)
  collectGarbage()
  await setImmediate()
  collectGarbage()
  const alive = clients.filter(client => client.deref() !== undefined).length
  // Node may still hold the last one.
  t.ok(alive <= 2, `${alive} of ${clients.length} clients are in memory`)
})

t.test('presence() rejects a bad channel name', async t => {
  const app = await buildApp(t)
  await t.rejects(app.sse.presence(''), { code: 'SSE_ERR_INVALID_CHANNEL' })
})

t.test('"join" and "leave" report every channel that a stream joins or leaves, in every way that it may do so', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const seen: string[] = []
  const note = (change: string) => ({ clientId }: SSEPresence, channel: string): void => { seen.push(`${change} ${clientId} ${channel}`) }
  app.sse.on('join', note('join'))
  app.sse.on('leave', note('leave'))
  const { client } = await open(['a', 'b'], { id: 'alice' })
  client.join('c')
  client.join('c')
  client.leave('a')
  client.leave('never in it')
  t.same(seen, ['join alice a', 'join alice b', 'join alice c', 'leave alice a'])
  client.close()
  t.same(seen.slice(4), ['leave alice b', 'leave alice c'])
})

t.test('a listener of "join" that throws breaks nothing', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  app.sse.on('join', () => { throw new Error('no') })
  const { client } = await open('room')
  t.equal(client.closed, false)
  client.join('other')
  t.equal(client.channels.has('other'), true)
})
