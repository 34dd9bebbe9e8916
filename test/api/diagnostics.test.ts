// The messages on node:diagnostics_channel, as an application's subscribers get them.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { Type } from '@sinclair/typebox'
import t, { type Test } from 'tap'
import type { SSEConnectMessage, SSEDiagnostics, SSEDisconnectMessage, SSEPublishMessage } from '../../lib/index.js'
import { buildApp } from '../support/app.js'
import { AsyncBroker } from '../support/async-broker.js'
import { nextDisconnect } from '../support/disconnects.js'
import { opener } from '../support/open.js'
import { ended, spawnProgram } from '../support/spawn-program.js'
import { unixHub } from '../support/unix-hub.js'

/** A list of the messages on a channel while the test runs. */
function messages<Name extends keyof SSEDiagnostics> (t: Test, name: Name): Array<SSEDiagnostics[Name]> {
  const told: Array<SSEDiagnostics[Name]> = []
  const subscriber = (message: unknown): void => { told.push(message as SSEDiagnostics[Name]) }
  subscribe(name, subscriber)
  t.teardown(() => unsubscribe(name, subscriber))
  return told
}

for (const [title, broker] of [['in memory', undefined], ['that answers later', new AsyncBroker()]] as const) {
  t.test(`each publish is reported after the broker has accepted it, with a broker ${title}`, async t => {
    const app = await buildApp(t, broker === undefined ? {} : { broker })
    const open = await opener(t, app)
    await open(['a', 'b'], { id: 'alice' })
    const told = messages(t, 'fastify-sse-hub.publish')
    const ids: Array<string | null> = []
    const publish = async (published: Promise<{ id: string | null }>): Promise<void> => { ids.push((await published).id) }
    await publish(app.sse.send('everybody', 'secret'))
    await publish(app.sse.toChannel('a', 'channel', { secret: 'ä' }))
    await publish(app.sse.toChannels(['a', 'nobody', 'b'], 'channels', 'secret'))
    await publish(app.sse.toClient('alice', 'client', 'secret', { transient: true }))
    await publish(app.sse.toChannel('nobody', 'unheard', 'secret', { key: 'secret', idempotencyKey: 'secret' }))
    t.strictSame(told.map(({ hub, ...rest }) => rest), [
      { event: 'everybody', channels: [], clientId: null, id: ids[0]!, recipients: 1, bytes: 8 },
      { event: 'channel', channels: ['a'], clientId: null, id: ids[1]!, recipients: 1, bytes: 15 },
      { event: 'channels', channels: ['a', 'nobody', 'b'], clientId: null, id: ids[2]!, recipients: 1, bytes: 8 },
      { event: 'client', channels: [], clientId: 'alice', id: null, recipients: 1, bytes: 8 },
      { event: 'unheard', channels: ['nobody'], clientId: null, id: ids[4]!, recipients: 0, bytes: 8 }
    ] satisfies Array<Omit<SSEPublishMessage, 'hub'>>)
    t.notMatch(JSON.stringify(told.map(({ hub, ...rest }) => rest)), 'secret')
    for (const { hub } of told) t.equal(hub, app.sse)
  })
}

t.test('a refused publish is not reported', async t => {
  const broker = new AsyncBroker()
  const app = await buildApp(t, { broker, events: { known: Type.String() } })
  const told = messages(t, 'fastify-sse-hub.publish')
  await t.rejects(app.sse.send('unknown', 1), { code: 'SSE_ERR_UNKNOWN_EVENT' })
  broker.publish = async () => { throw new Error('away') }
  await t.rejects(app.sse.send('known', 'x'), { code: 'SSE_ERR_BROKER_UNAVAILABLE' })
  broker.publish = () => { throw new Error('away') }
  await t.rejects(app.sse.send('known', 'x'), { code: 'SSE_ERR_BROKER_UNAVAILABLE' })
  t.same(told, [])
})

t.test('a subscriber can\'t change where an event goes', async t => {
  const { app, open } = await unixHub(t)
  const { reader } = await open({ channels: ['a', 'b'] })
  const told = messages(t, 'fastify-sse-hub.publish')
  const { id } = await app.sse.toChannels(['a', 'b'], 'n', 1)
  ;(told[0]!.channels as string[]).length = 0
  await reader.until(() => reader.lastEventId === id)
  const { reader: late } = await open({ channels: ['b'] })
  await late.until(() => late.lastEventId === id)
  t.same(late.own.map(({ data }) => data), ['1'])
})

t.test('connects and disconnects are reported with the reason, before the hub\'s own listeners hear of them', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const connects = messages(t, 'fastify-sse-hub.connect')
  const disconnects = messages(t, 'fastify-sse-hub.disconnect')
  const toldBefore: unknown[] = []
  app.sse.on('connect', client => { toldBefore.push(connects.at(-1)?.client === client && app.sse.clientCount('room')) })
  app.sse.on('disconnect', client => { toldBefore.push(disconnects.at(-1)?.client === client && client.closed) })
  const first = await open('room', { metadata: { user: 'alice' } })
  const second = await open(['room', 'other'])
  const gone = nextDisconnect(app)
  first.raw.destroy()
  await gone
  second.client.close()
  t.same(toldBefore, [1, 2, true, true])
  for (const [i, { client }] of [first, second].entries()) {
    t.same(connects[i], { hub: app.sse, client } satisfies SSEConnectMessage)
    t.equal(connects[i]!.client, client)
    t.equal(disconnects[i]!.client, client)
  }
  t.same([...connects[1]!.client.channels], ['room', 'other'])
  t.same(disconnects.map(({ reason }: SSEDisconnectMessage) => reason), ['client', 'server'])
})

t.test('a HEAD request or a refused stream is not reported as a client', async t => {
  const app = await buildApp(t, { maxClients: 0 })
  app.get('/', (_request, reply) => { reply.sse() })
  const told = [messages(t, 'fastify-sse-hub.connect'), messages(t, 'fastify-sse-hub.disconnect')]
  t.equal((await app.inject('/')).statusCode, 503)
  const other = await buildApp(t)
  other.get('/', (_request, reply) => { reply.sse() })
  t.equal((await other.inject({ method: 'HEAD', url: '/' })).statusCode, 200)
  t.same(told, [[], []])
})

t.test('a subscriber that throws does not stop the hub: Node makes its error an uncaught exception', async t => {
  const { code, stdout, stderr } = await ended(spawnProgram(t, 'test/support/processes/throwing-subscribers.ts', { args: ['handled'] }))
  t.equal(code, 0, stderr)
  t.same(stdout.trim().split('\n'), [
    'uncaught fastify-sse-hub.connect', 'published to 1', 'uncaught fastify-sse-hub.publish', 'received "n"',
    'uncaught fastify-sse-hub.disconnect', 'disconnect client', 'left 0', 'closed'
  ].sort())
})

t.test('an uncaught exception of a subscriber ends a process that does not handle it', async t => {
  const { code, stdout, stderr } = await ended(spawnProgram(t, 'test/support/processes/throwing-subscribers.ts'))
  t.not(code, 0)
  t.match(stderr, 'Error: fastify-sse-hub.connect')
  t.notMatch(stdout, 'closed')
})
