// Heartbeats: when they are sent, and the ids that they carry.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import type { Client } from '../../lib/client/client.js'
import { buildApp, listen } from '../support/app.js'
import { opener } from '../support/open.js'
import { requestText } from '../support/raw-client.js'

/** How many times a text is in another one. */
function occurrences (text: string, part: string): number {
  return text.split(part).length - 1
}

t.test('a client gets a comment line whenever nothing was written to it for heartbeatInterval', async t => {
  const app = await buildApp(t, { heartbeatInterval: 40, greeting: false, retry: null })
  const open = await opener(t, app)
  const { raw } = await open()
  await raw.until(() => occurrences(raw.text, ':\n\n') >= 3)
  t.match(raw.text, /^:\nid: \S+\n\n(?::\n\n){3,}$/, 'the first tells where it can resume')
  t.equal(app.sse.stats().bytesWritten, raw.body.length, 'the bytes count')
})

t.test('a client to which events are written more often gets no heartbeat', async t => {
  const app = await buildApp(t, { heartbeatInterval: 100 })
  const open = await opener(t, app)
  const idle = await open('idle')
  const busy = await open('busy')
  // The heartbeats of the idle client are the clock.
  while (occurrences(idle.raw.text, ':\n') - occurrences(idle.raw.text, 'id:\n') < 5) {
    await app.sse.toChannel('busy', 'message', null)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
  t.match(idle.raw.text, /^:\n/m)
  t.notMatch(busy.raw.text, /^:\n/m)
})

t.test('with heartbeatEvent, the heartbeat is an event with that name', async t => {
  const app = await buildApp(t, { heartbeatInterval: 40, heartbeatEvent: 'still-here' })
  const open = await opener(t, app)
  const { raw } = await open()
  await raw.untilEvents(3)
  t.match(raw.events.slice(1), [{ event: 'still-here', data: '{}' }, { event: 'still-here', data: '{}' }])
  t.notMatch(raw.text, /^:/m)
})

t.test('the clients are looked at four times within the shorter limit, so none is told or cut more than a quarter too late', async t => {
  const { setInterval } = globalThis
  const periods: unknown[] = []
  t.teardown(() => { globalThis.setInterval = setInterval })
  globalThis.setInterval = ((...args: Parameters<typeof setInterval>) => {
    periods.push(args[1])
    return setInterval(...args)
  }) as typeof setInterval
  for (const options of [
    { heartbeatInterval: 2000, stallTimeout: 0 },
    { heartbeatInterval: 2000, stallTimeout: 60_000 },
    { heartbeatInterval: 30_000, stallTimeout: 1000 },
    { heartbeatInterval: 30_000, stallTimeout: 60_000 },
    { heartbeatInterval: 4, stallTimeout: 0 }
  ]) await (await buildApp(t, options)).ready()
  t.same(periods, [500, 500, 250, 1000, 10])
})

t.test('the look at a client for which nothing waits does not ask its socket how much has left', async t => {
  const app = await buildApp(t, { heartbeatInterval: 40 })
  let asked = 0
  app.addHook('onRequest', async request => {
    Object.defineProperty(request.raw.socket, 'bytesWritten', { get: () => ++asked })
  })
  const open = await opener(t, app)
  const { raw } = await open()
  await raw.until(() => occurrences(raw.text, '\n:\n') >= 3)
  t.equal(asked, 0)
})

t.test('with heartbeatInterval 0 there are no heartbeats', async t => {
  const app = await buildApp(t, { heartbeatInterval: 0, stallTimeout: 40 })
  const open = await opener(t, app)
  const { raw } = await open()
  // The heartbeats of another app show that there was enough time.
  const other = await buildApp(t, { heartbeatInterval: 40 })
  const { raw: clock } = await (await opener(t, other))()
  await clock.until(() => occurrences(clock.text, '\n:\n') >= 5)
  await app.sse.send('message', 1)
  await raw.untilEvents(2)
  t.notMatch(raw.text, /^:/m)
})

t.test('a heartbeat has the newest id if the client has an older one, and otherwise no id', async t => {
  const app = await buildApp(t, { heartbeatInterval: 40 })
  const open = await opener(t, app)
  const { raw } = await open('mine')
  const plain = (): number => occurrences(raw.text, ':\n\n')
  await raw.until(() => plain() >= 2)
  t.equal(occurrences(raw.text, 'id: '), 1, 'the greeting told it')
  const { id } = await app.sse.toChannel('other', 'message', 1)
  await raw.until(() => raw.text.includes(`:\nid: ${id}\n\n`))
  const before = plain()
  await raw.until(() => plain() >= before + 3)
  t.equal(occurrences(raw.text, 'id: '), 2, 'it is told once')
  t.equal(raw.events.length, 1, 'it dispatches nothing')
  // The client resumes from that id, although it never got an event.
  const { id: missed } = await app.sse.toChannel('mine', 'message', 2)
  const again = await open('mine', {}, { 'last-event-id': id })
  await again.raw.untilEvents(2)
  t.match(again.raw.events, [{ event: 'sse:open', data: /"recovered":true/ }, { event: 'message', id: missed, data: '2' }])
})

t.test('a heartbeat event has the newest id as well', async t => {
  const app = await buildApp(t, { heartbeatInterval: 40, heartbeatEvent: 'beat' })
  const open = await opener(t, app)
  const { raw } = await open('mine')
  const { id } = await app.sse.toChannel('other', 'message', 1)
  await raw.until(() => raw.events.some(event => event.event === 'beat' && event.id === id))
  const { length } = raw.events
  await raw.untilEvents(length + 2)
  t.equal(occurrences(raw.text, `id: ${id}\n`), 1)
})

t.test('a heartbeat never overtakes an event: its id is not newer than what the client has', async t => {
  const app = await buildApp(t, { heartbeatInterval: 10 })
  const open = await opener(t, app)
  const { raw } = await open('mine')
  for (let n = 0; n < 40; n++) {
    await app.sse.toChannel(n % 2 === 0 ? 'mine' : 'other', 'message', n)
    await new Promise(resolve => setTimeout(resolve, n % 4 * 5))
  }
  const { id } = await app.sse.toChannel('mine', 'last', null)
  await raw.until(() => raw.text.includes(`event: last\ndata: null\nid: ${id}\n\n`))
  const places = [...raw.text.matchAll(/^id: \S+-(\d+)$/gm)].map(([, place]) => Number(place))
  t.same(places, [...places].sort((a, b) => a - b), 'the ids only grow')
  t.ok(places.length > 21, 'some were told by heartbeats')
  t.match(raw.events.at(-1), { id })
})

t.test('a stream that the server ends has no id of later events', async t => {
  const app = await buildApp(t, { heartbeatInterval: 10 })
  const open = await opener(t, app)
  const { raw, client } = await open('mine')
  await app.sse.toChannel('mine', 'message', 1)
  await raw.untilEvents(2)
  // The close is in the turn in which a heartbeat is due, before it is written, because the hub's timer is older than this one.
  const missed = await new Promise<{ id: string | null }>((resolve, reject) => {
    setTimeout(() => {
      client.close()
      app.sse.toChannel('mine', 'message', 2).then(resolve, reject)
    }, 20)
    const begin = performance.now()
    while (performance.now() - begin < 40);
  })
  await raw.until(() => raw.complete)
  const last = /.*^id: (\S+)$/ms.exec(raw.text)![1]!
  t.not(last, missed.id)
  const again = await open('mine', {}, { 'last-event-id': last })
  await again.raw.untilEvents(2)
  t.match(again.raw.events, [{ event: 'sse:open', data: /"recovered":true/ }, { id: missed.id, data: '2' }])
})

t.test('2,000 idle clients all get their heartbeats', async t => {
  const app = await buildApp(t, { heartbeatInterval: 300, greeting: false, retry: null })
  app.get('/events', (_request, reply) => { reply.sse() })
  const port = await listen(app)
  const sockets: Socket[] = []
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  const all: Array<Promise<void>> = []
  for (let n = 0; n < 2000; n++) {
    const socket = connect(port, '127.0.0.1')
    sockets.push(socket)
    socket.write(requestText({ path: '/events' }))
    all.push(new Promise((resolve, reject) => {
      let text = ''
      socket.on('error', reject)
      socket.on('data', data => {
        text += data.toString('latin1')
        if (occurrences(text, ':\n\n') >= 2) resolve()
      })
    }))
    if (n % 100 === 99) await once(socket, 'connect')
  }
  await Promise.all(all)
  t.equal(app.sse.clientCount(), 2000)
})

t.test('a client that was closed gets no heartbeat after that, with the id of an event that it never got', async t => {
  const app = await buildApp(t, { heartbeatInterval: 100_000 })
  const open = await opener(t, app)
  const { raw, client } = await open('room')
  await raw.untilEvents(1)
  client.close()
  const { id } = await app.sse.toChannel('room', 'message', null)
  // The look at all clients would ask for it in this turn.
  ;(client as unknown as Client).beat()
  await raw.until(() => raw.complete)
  t.notMatch(raw.text, id)
  t.notMatch(raw.text, /^:/m)
})
