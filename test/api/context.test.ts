// The asynchronous context in which the application hears of a client. It is the context of the request that opened the client's
// stream, even if another request causes the event.
import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { SSEClient, SSEPluginOptions } from '../../lib/index.js'
import { AsyncBroker } from '../support/async-broker.js'
import { unixHub, type UnixHub } from '../support/unix-hub.js'

interface Setting extends UnixHub {
  /** The events that were heard, each with the client and the user of the context. */
  readonly heard: Array<[what: string, whose: unknown]>
  readonly context: AsyncLocalStorage<string>
  /** Opens a stream of a user. The request has a context of its own. */
  user (name: string, paused?: boolean): Promise<SSEClient>
}

/** A hub whose listeners note in which context they are called. */
async function setting (t: Test, options: SSEPluginOptions = {}, prepare: (app: FastifyInstance) => void = () => {}): Promise<Setting> {
  const context = new AsyncLocalStorage<string>()
  const heard: Setting['heard'] = []
  const hub = await unixHub(t, { heartbeatInterval: 0, ...options }, {}, app => {
    app.addHook('onRequest', (request, _reply, done) => context.run(request.headers.user as string, done))
    prepare(app)
  })
  const note = (what: string): void => { heard.push([what, context.getStore()]) }
  hub.app.sse.on('connect', client => {
    note(`connect of ${client.metadata.user}`)
    client.signal.addEventListener('abort', () => note(`signal of ${client.metadata.user}`))
  })
  hub.app.sse.on('disconnect', ({ metadata }, reason) => note(`${reason} of ${metadata.user}`))
  for (const change of ['join', 'leave'] as const) hub.app.sse.on(change, ({ metadata }, channel) => note(`${change} ${channel} of ${metadata.user}`))
  return {
    ...hub,
    heard,
    context,
    user: async (name, paused = false) => (await hub.open({ channels: ['room'], metadata: { user: name }, headers: { user: name }, paused })).client
  }
}

const BEGINNING = ['connect of alice', 'join room of alice']
const end = (reason: string): string[] => ['signal of alice', `${reason} of alice`, 'leave room of alice']

/** Checks that all that was heard of alice was heard in her context. */
function isOfAlice (t: Test, { heard }: Setting, expected: string[]): void {
  const ofAlice = heard.filter(([what]) => what.endsWith(' alice'))
  t.strictSame(ofAlice.map(([what]) => what), expected)
  t.ok(ofAlice.every(([, whose]) => whose === 'alice'), JSON.stringify(ofAlice))
}

for (const [title, broker] of [['in memory', undefined], ['that answers later', new AsyncBroker()]] as const) {
  t.test(`a client that another one's publish finds slow, with a broker ${title}`, async t => {
    const hub = await setting(t, { maxBufferedBytes: 70_000, ...broker === undefined ? {} : { broker } })
    const client = await hub.user('alice', true)
    await hub.context.run('mallory', async () => {
      while (!client.closed) await hub.app.sse.toChannel('room', 'much', 'x'.repeat(50_000))
    })
    isOfAlice(t, hub, [...BEGINNING, ...end('slow')])
  })
}

t.test('a client that another one closes, moves or sends out of a channel', async t => {
  const hub = await setting(t)
  const client = await hub.user('alice')
  await hub.user('bob')
  hub.context.run('admin', () => {
    client.join('hall')
    client.leave('room')
    client.close()
  })
  isOfAlice(t, hub, [...BEGINNING, 'join hall of alice', 'leave room of alice', 'signal of alice', 'server of alice', 'leave hall of alice'])
  t.strictSame(hub.heard.filter(([what]) => what.endsWith(' bob')), [['connect of bob', 'bob'], ['join room of bob', 'bob']])
})

t.test('a client that the look at stalled clients ends', async t => {
  const hub = await setting(t, { stallTimeout: 100 })
  const client = await hub.user('alice', true)
  const gone = once(hub.app.sse, 'disconnect')
  hub.context.run('mallory', () => client.send('much', 'x'.repeat(500_000)))
  await gone
  isOfAlice(t, hub, [...BEGINNING, ...end('stalled')])
})

t.test('a client whose connection is gone without a word, and that cleanupDisconnected() finds', async t => {
  let end = (): void => {}
  const hub = await setting(t, {}, app => app.addHook('onSend', async (_request, reply) => {
    // A socket is in this state when Node knows that it is closed, and has not told it yet.
    end = () => Object.defineProperty(reply.raw.socket, 'writable', { value: false })
  }))
  await hub.user('alice')
  end()
  t.equal(hub.context.run('admin', () => hub.app.sse.cleanupDisconnected()), 1)
  isOfAlice(t, hub, [...BEGINNING, 'signal of alice', 'client of alice', 'leave room of alice'])
})

t.test('a client that leaves', async t => {
  const hub = await setting(t)
  const { reader } = await hub.open({ channels: ['room'], metadata: { user: 'alice' }, headers: { user: 'alice' } })
  const gone = once(hub.app.sse, 'disconnect')
  reader.destroy()
  await gone
  isOfAlice(t, hub, [...BEGINNING, ...end('client')])
})

t.test('a client that app.close() ends', async t => {
  const hub = await setting(t)
  await hub.user('alice')
  await hub.context.run('admin', () => hub.app.close())
  isOfAlice(t, hub, [...BEGINNING, ...end('shutdown')])
})

for (const [title, broker] of [['in memory', undefined], ['that answers later', new AsyncBroker()]] as const) {
  t.test(`a subscriber of "fastify-sse-hub.publish" is called in the context of who publishes, with a broker ${title}`, async t => {
    const hub = await setting(t, broker === undefined ? {} : { broker })
    await hub.user('alice')
    const told: unknown[] = []
    const subscriber = (message: unknown): void => { told.push([(message as { event: string }).event, hub.context.getStore()]) }
    subscribe('fastify-sse-hub.publish', subscriber)
    t.teardown(() => unsubscribe('fastify-sse-hub.publish', subscriber))
    // This event is published while the hub tells of alice. The subscriber is told of it after that.
    let inner: Promise<unknown> | undefined
    hub.app.sse.on('leave', () => {
      inner ??= hub.context.run('carol', () => hub.app.sse.send('from a listener', 1))
    })
    await hub.context.run('bob', () => hub.app.sse.toChannel('room', 'from a request', 1))
    hub.app.sse.clients()[0]!.close()
    await inner
    t.strictSame(told, [['from a request', 'bob'], ['from a listener', 'carol']])
  })
}
