// Hubs in Fastify contexts: which context has which hub, and what hubs share.
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import sse from '../../lib/index.js'
import { buildApp, listen } from '../support/app.js'
import { recordDisconnects } from '../support/disconnects.js'
import { checkReceives, openStream, request, responsesAfter } from '../support/streams.js'

type Hub = FastifyInstance['sse']

interface Context {
  readonly context: FastifyInstance
}

/**
 * Adds a context with its own hub and a stream at /NAME. It returns the context in an object, because a context can be
 * awaited.
 */
async function addContext (app: FastifyInstance, name: string, options = {}): Promise<Context> {
  let context: FastifyInstance | undefined
  await app.register(async child => {
    context = child
    await child.register(sse, options)
    child.get(`/${name}`, (_request, reply) => { reply.sse('room', { id: 'same' }) })
  })
  return { context: context! }
}

t.test('two sibling contexts that register the plugin have two hubs that share nothing', async t => {
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  const { context: a } = await addContext(app, 'a', { retry: 1 })
  const { context: b } = await addContext(app, 'b', { retry: 2 })
  t.notOk('sse' in app)
  t.notOk(app.hasReplyDecorator('sse'))
  t.not(a.sse, b.sse)
  const port = await listen(app)
  await a.sse.toChannel('room', 'message', 'kept by a')
  const [streamA, streamB] = [await openStream(t, port, { path: '/a' }), await openStream(t, port, { path: '/b' })]
  await streamA.untilEvents(2)
  t.match(streamA.text, /^retry: 1\n/)
  t.match(streamB.text, /^retry: 2\n/)
  for (const publish of [
    (hub: Hub) => hub.send('message', 'sent'),
    (hub: Hub) => hub.toChannel('room', 'message', 'sent'),
    (hub: Hub) => hub.toClient('same', 'message', 'sent')
  ]) {
    t.equal((await publish(a.sse)).recipients, 1)
    await checkReceives(t, b.sse, streamB)
  }
  await streamA.untilEvents(5)
  t.same(streamB.events.filter(({ data }) => data.includes('sent')), [])
  t.same([a.sse.clientCount(), b.sse.clientCount()], [1, 1])
  t.not(a.sse.client('same'), b.sse.client('same'))
  t.match(a.sse.stats(), { published: 4, connections: 1 })
  t.match(b.sse.stats(), { published: 3, connections: 1 })
})

t.test('an event id of one hub is unknown to another hub', async t => {
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  const { context: a } = await addContext(app, 'a')
  const { context: b } = await addContext(app, 'b')
  const port = await listen(app)
  const { id } = await a.sse.send('message', 'of a')
  await b.sse.send('message', 'of b')
  const client = await openStream(t, port, { path: '/b', headers: { 'last-event-id': id } })
  const [greeting, event] = await client.untilEvents(2)
  t.equal((JSON.parse(greeting!.data) as { recovered: boolean }).recovered, false)
  t.equal(event!.data, '"of b"')
})

t.test('child contexts and their children share the hub of the parent', async t => {
  const app = await buildApp(t)
  const hubs: Hub[] = []
  await app.register(async child => {
    hubs.push(child.sse)
    child.get('/events', (_request, reply) => { reply.sse() })
    await child.register(async grandchild => {
      hubs.push(grandchild.sse)
      grandchild.get('/deep', (_request, reply) => { reply.sse() })
    }, { prefix: '/below' })
  })
  const port = await listen(app)
  t.ok(hubs.every(hub => hub === app.sse))
  const client = await openStream(t, port)
  const deep = await openStream(t, port, { path: '/below/deep' })
  await checkReceives(t, app.sse, client)
  await deep.untilEvents(2)
  t.equal(app.sse.clientCount(), 2)
})

t.test('a child that registers again shadows its parent\'s hub for itself and its children', async t => {
  const app = await buildApp(t, { retry: 1 })
  app.get('/events', (_request, reply) => { reply.sse() })
  const hubs: Hub[] = []
  await app.register(async child => {
    t.equal(child.sse, app.sse)
    await child.register(sse, { retry: 2, maxClients: 2 })
    hubs.push(child.sse)
    child.get('/child', (_request, reply) => { reply.sse() })
    await child.register(async grandchild => {
      hubs.push(grandchild.sse)
      grandchild.get('/grandchild', (_request, reply) => { reply.sse() })
    })
  })
  const [hub, same] = hubs
  t.not(hub, app.sse)
  t.equal(hub, same)
  const port = await listen(app)
  const parents = await openStream(t, port)
  const childs = await openStream(t, port, { path: '/child' })
  const grandchilds = await openStream(t, port, { path: '/grandchild' })
  t.same([parents, childs, grandchilds].map(client => client.text.split('\n')[0]), ['retry: 1', 'retry: 2', 'retry: 2'])
  await checkReceives(t, hub!, childs)
  await grandchilds.untilEvents(2)
  // If the parent's client got the child's event, it would be before this one.
  await checkReceives(t, app.sse, parents)
  t.same([app.sse.clientCount(), hub!.clientCount()], [1, 2])
  // The child has reached its own limit, but the parent has not.
  t.equal((await request(t, port, { path: '/child' })).status, 503)
  await openStream(t, port)
})

t.test('in a child with its own hub, a failing onSend hook leaves no client in either hub', async t => {
  const app = await buildApp(t)
  const root = recordDisconnects(app)
  let child: FastifyInstance | undefined
  await app.register(async context => {
    child = context
    await context.register(sse)
    context.addHook('onSend', async (_request, reply) => {
      if (reply.getHeader('content-type') === 'text/event-stream') throw new Error('the hook failed')
    })
    context.get('/events', (_request, reply) => { reply.sse() })
  })
  app.get('/plain', async () => 'plain')
  const disconnects = recordDisconnects(child!)
  const client = await request(t, await listen(app), { path: '/events' })
  const responses = await responsesAfter(client, '/plain')
  t.same(responses.map(({ status }) => status), [500, 200])
  t.same(disconnects.map(({ reason }) => reason), ['error'])
  t.same(root, [])
  t.same([app.sse.clientCount(), child!.sse.clientCount()], [0, 0])
})

t.test('a second registration in one context rejects, also in a child of a context with a hub', async t => {
  const app = await buildApp(t)
  await t.rejects(async () => { await app.register(sse) }, { code: 'FST_ERR_DEC_ALREADY_PRESENT' })
  const other = await buildApp(t)
  await t.rejects(async () => {
    await other.register(async child => {
      await child.register(sse)
      await child.register(sse)
    })
  }, { code: 'FST_ERR_DEC_ALREADY_PRESENT' })
})

t.test('all hubs close with the app', async t => {
  const app = await buildApp(t)
  app.get('/events', (_request, reply) => { reply.sse() })
  const { context: child } = await addContext(app, 'child')
  const { context: sibling } = await addContext(app, 'sibling')
  const contexts = [app, child, sibling]
  const port = await listen(app)
  const disconnects = contexts.map(recordDisconnects)
  const streams = await Promise.all(['/events', '/child', '/sibling'].map(path => openStream(t, port, { path })))
  for (const { sse } of contexts) sse.send('message', 'the last')
  await app.close()
  await Promise.all(streams.map(stream => stream.untilClosed()))
  t.ok(streams.every(stream => stream.complete))
  t.same(streams.map(stream => stream.events.at(-1)!.data), Array(3).fill('"the last"'))
  t.same(disconnects.map(all => all.map(({ reason }) => reason)), Array(3).fill(['shutdown']))
  for (const { sse } of contexts) await t.rejects(sse.send('message', 1), { code: 'SSE_ERR_CLOSED' })
})

t.test('options of Fastify\'s own register() are accepted, and their prefix does not change the routes next to it', async t => {
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(sse, { prefix: '/ignored', logLevel: 'warn', logSerializers: {}, retry: 1 })
  app.get('/events', (_request, reply) => { reply.sse() })
  const client = await openStream(t, await listen(app))
  await checkReceives(t, app.sse, client)
})

t.test('in a context with a prefix, the routes have it, and the hub is the context\'s', async t => {
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  let hub: Hub | undefined
  await app.register(async child => {
    await child.register(sse)
    hub = child.sse
    child.get('/events', (_request, reply) => { reply.sse() })
  }, { prefix: '/api' })
  const client = await openStream(t, await listen(app), { path: '/api/events' })
  await checkReceives(t, hub!, client)
})
