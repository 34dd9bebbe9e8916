// Listeners that call back into the hub. They publish, close the client that they are told of, or move it to other channels.
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { SSEClient } from '../../lib/index.js'
import { buildApp, nextClient } from '../support/app.js'
import { nextDisconnect } from '../support/disconnects.js'
import { Onlookers } from '../support/onlookers.js'
import { opener, receivedNames } from '../support/open.js'
import { unixHub } from '../support/unix-hub.js'

/** The events that were heard, in order, and the lists that an application keeps by them: who is where, and who is connected. */
interface Heard {
  readonly all: string[]
  readonly present: Set<string>
  readonly connected: Set<SSEClient>
}

function hear (app: FastifyInstance): Heard {
  const heard: Heard = { all: [], present: new Set(), connected: new Set() }
  const { all, present, connected } = heard
  app.sse.on('connect', client => {
    all.push(`connect ${client.id}`)
    connected.add(client)
  })
  app.sse.on('disconnect', client => {
    all.push(connected.delete(client) ? `disconnect ${client.id}` : `disconnect ${client.id} without connect`)
  })
  app.sse.on('join', ({ clientId }, channel) => {
    all.push(present.has(`${clientId} ${channel}`) ? `join ${clientId} ${channel} twice` : `join ${clientId} ${channel}`)
    present.add(`${clientId} ${channel}`)
  })
  app.sse.on('leave', ({ clientId }, channel) => {
    all.push(present.delete(`${clientId} ${channel}`) ? `leave ${clientId} ${channel}` : `leave ${clientId} ${channel} without join`)
  })
  return heard
}

t.test('an idempotencyKey that a listener uses again inside its own publish stores once', async t => {
  const { app, open } = await unixHub(t, { maxBufferedBytes: 100_000 })
  const { client: slow } = await open({ channels: ['room'], paused: true })
  const { reader } = await open({ channels: ['room'] })
  const again: Array<Promise<unknown>> = []
  app.sse.on('disconnect', () => again.push(app.sse.toChannel('room', 'alarm', 'once', { idempotencyKey: 'alarm' })))
  while (!(slow as SSEClient & { blocked: boolean }).blocked) await app.sse.toChannel('room', 'fill', 'x'.repeat(20_000))
  const { published } = app.sse.stats()
  const first = await app.sse.toChannel('room', 'alarm', 'x'.repeat(100_000), { idempotencyKey: 'alarm' })
  t.equal(slow.closed, true)
  t.equal(again.length, 1)
  t.strictSame(await again[0], first, 'the second publish is answered as the first')
  t.equal(app.sse.stats().published, published + 1)
  await app.sse.toChannel('room', 'last', 1)
  await reader.untilEvent('last')
  t.equal(reader.own.filter(({ event }) => event === 'alarm').length, 1)
})

const interventions: Record<string, { on: 'connect' | 'join', act: (client: SSEClient) => void, heard: string[] }> = {
  'a "connect" listener closes': { on: 'connect', act: client => client.close(), heard: ['connect A', 'disconnect A'] },
  'the first "join" listener closes': { on: 'join', act: client => client.close(), heard: ['connect A', 'join A a', 'disconnect A', 'leave A a'] },
  'a "connect" listener sends out of a channel': { on: 'connect', act: client => client.leave('b'), heard: ['connect A', 'join A a', 'disconnect A', 'leave A a'] },
  'the first "join" listener sends out of the next channel': { on: 'join', act: client => client.leave('b'), heard: ['connect A', 'join A a', 'disconnect A', 'leave A a'] },
  'a "connect" listener moves': {
    on: 'connect',
    act (client) {
      client.leave('a')
      client.join('c')
    },
    heard: ['connect A', 'join A b', 'join A c', 'disconnect A', 'leave A b', 'leave A c']
  },
  'a "connect" listener sends out and lets in again': {
    on: 'connect',
    act (client) {
      client.leave('a')
      client.join('a')
    },
    heard: ['connect A', 'join A a', 'join A b', 'leave A a', 'join A a', 'disconnect A', 'leave A b', 'leave A a']
  }
}

for (const [what, { on, act, heard: expected }] of Object.entries(interventions)) {
  for (const first of [true, false]) {
    t.test(`of a client that ${what}, nobody is told a join that does not hold, ${first ? 'before' : 'after'} the other listeners`, async t => {
      const app = await buildApp(t)
      const open = await opener(t, app)
      let acted = false
      const intervene = (): void => {
        app.sse.on(on as 'connect', () => {
          if (acted) return
          acted = true
          act(app.sse.client('A')!)
        })
      }
      if (first) intervene()
      const heard = hear(app)
      if (!first) intervene()
      const { client, raw } = await open(['a', 'b'], { id: 'A' })
      client.close()
      await raw.until(() => raw.complete)
      t.notMatch(heard.all.join(), /without|twice/)
      t.equal(heard.present.size, 0, 'a list by join and leave is empty at the end')
      t.equal(heard.connected.size, 0, 'and so is one by connect and disconnect')
      t.equal(heard.all.filter(line => line.startsWith('connect')).length, 1)
      t.strictSame([...heard.all].sort(), [...expected].sort())
      t.match(app.sse.stats(), { clients: 0, channels: 0 })
    })
  }
}

t.test('with one stream a user, of which the newer one closes the older, each list by what is heard is right', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  app.sse.on('connect', client => {
    for (const other of app.sse.clients()) if (other !== client && other.metadata.user === client.metadata.user) other.close()
  })
  const heard = hear(app)
  await Promise.all(['1', '2', '3', '4', '5'].map(id => open(['a', 'b'], { id, metadata: { user: 'alice' } })))
  t.equal(app.sse.clientCount(), 1)
  const [{ id }] = app.sse.clients() as [SSEClient]
  t.strictSame([...heard.connected].map(client => client.id), [id])
  t.strictSame([...heard.present].sort(), [`${id} a`, `${id} b`])
  t.notMatch(heard.all.join(), /without|twice/)
  await app.close()
  t.equal(heard.present.size + heard.connected.size, 0)
})

/** Listeners that cause each other without an end. */
const endless: Record<string, (app: FastifyInstance) => void> = {
  'a client that its "join" listener sends out and its "leave" listener lets in again' (app) {
    app.sse.on('join', ({ clientId }, channel) => { if (channel === 'endless') app.sse.client(clientId)?.leave(channel) })
    app.sse.on('leave', ({ clientId }, channel) => { if (channel === 'endless') app.sse.client(clientId)?.join(channel) })
  },
  'two channels between which a "join" listener moves a client' (app) {
    app.sse.on('join', ({ clientId }, channel) => {
      if (!channel.startsWith('endless')) return
      const client = app.sse.client(clientId)
      client?.join(channel === 'endless' ? 'endless 2' : 'endless')
      client?.leave(channel)
    })
  }
}

for (const [what, add] of Object.entries(endless)) {
  t.test(`listeners without an end hold up nobody: ${what}`, async t => {
    const app = await buildApp(t)
    const open = await opener(t, app)
    const onlookers = await Onlookers.open(app, open)
    let told = 0
    add(app)
    for (const change of ['join', 'leave'] as const) app.sse.on(change, () => { told++ })
    const { client } = await open([], { id: 'endless', broadcast: false })
    client.join('endless')
    for (let round = 0; round < 5; round++) {
      const before = told
      await setTimeout(1)
      await onlookers.publish(t)
      t.ok(told > before, 'timers run meanwhile')
    }
    const [first] = onlookers.streams
    t.strictSame(await receivedNames(first!), ['seen', 'seen', 'seen', 'seen', 'seen'])
    const connected = nextClient(app)
    const late = await open('room')
    t.equal(await connected, late.client, 'a client that comes meanwhile is told of')
    const gone = nextDisconnect(app)
    late.raw.destroy()
    t.equal((await gone).client, late.client, 'and so is one that goes')
    await app.close()
    const atTheEnd = told
    await setImmediate()
    t.equal(told, atTheEnd, 'app.close() is the end of it')
  })
}
