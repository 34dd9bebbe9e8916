// The plugin among other parts of an application: names, dependencies, printed trees, decorators, prefixes and constraints.
import Fastify, { type FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import sse from '../../lib/index.js'
import { buildApp, listen } from '../support/app.js'
import { MemoryLog } from '../support/memory-log.js'
import { checkReceives, openStream, request } from '../support/streams.js'

declare module 'fastify' {
  interface FastifyRequest { user: { name: string } | null }
}

t.test('the plugin has a name and says which Fastify it needs', async t => {
  t.same((sse as never as Record<symbol, unknown>)[Symbol.for('plugin-meta')], { name: 'fastify-sse-hub', fastify: '5.x' })
  const app = await buildApp(t)
  t.ok(app.hasPlugin('fastify-sse-hub'))
  // A child context has the plugin as well.
  await app.register(async child => { t.ok(child.hasPlugin('fastify-sse-hub')) })
})

t.test('another plugin may depend on the hub, by its name or its decorators, and is refused if there is no hub', async t => {
  for (const needs of [{ dependencies: ['fastify-sse-hub'] }, { decorators: { fastify: ['sse'], reply: ['sse'] } }]) {
    const dependent = fp(async app => { await app.sse.send('message', 1) }, { name: 'dependent', ...needs })
    const app = await buildApp(t)
    await app.register(dependent)
    t.equal(app.sse.stats().published, 1)
    const without = Fastify()
    t.teardown(() => without.close())
    without.register(dependent)
    await t.rejects(Promise.resolve(without.ready()), 'dependencies' in needs ? /'fastify-sse-hub' of plugin 'dependent' is not registered/ : /decorator 'sse' required by 'dependent'/)
  }
})

t.test('printPlugins() shows the plugin by its name at the place where it was registered', async t => {
  const app = await buildApp(t)
  await app.register(async function rooms (child) { await child.register(sse) })
  await app.ready()
  // The lines of the plugins, without the drawing, the times and Fastify's own entries for each hook and each await.
  const plugins = app.printPlugins().split('\n').map(line => /^(\W*)([\w-]+) [\d.]+ ms$/.exec(line)).filter(found => found !== null)
  t.same(plugins.map(([, drawn, name]) => `${Math.ceil(drawn!.length / 4)} ${name}`), ['0 root', '1 fastify-sse-hub', '1 rooms', '2 fastify-sse-hub'])
})

t.test('printed routes are those of the application: the hub adds none', async t => {
  const app = await buildApp(t)
  t.equal(app.printRoutes(), '(empty tree)')
})

t.test('after ready() without listen(), streams can be injected, events can be published, and the app closes', async t => {
  const log = new MemoryLog()
  const app = await buildApp(t, { heartbeatInterval: 1 }, { loggerInstance: log.logger })
  app.get('/events', (_request, reply) => { reply.sse('room') })
  await app.ready()
  const response = await app.inject({ url: '/events', payloadAsStream: true })
  t.equal(response.headers['content-type'], 'text/event-stream')
  t.equal((await app.sse.toChannel('room', 'message', 'hi')).recipients, 1)
  let text = ''
  const ended = (async () => { for await (const part of response.stream()) text += part })()
  await app.close()
  await ended
  t.match(text, /event: message\ndata: "hi"\n/)
  t.same(log.complaints, [])
})

t.test('an app that was never made ready closes', async () => {
  const app = Fastify()
  app.register(sse)
  await app.close()
})

t.test('a handler has the request and reply properties of hooks and decorators, in every context', async t => {
  const app = await buildApp(t)
  app.decorateRequest('user', null)
  app.decorateReply('welcome', () => 'hello')
  app.addHook('onRequest', async request => { request.user = { name: String(request.headers['x-user']) } })
  app.get('/events', (request, reply) => { reply.sse(`user-${request.user!.name}`) })
  await app.register(async child => {
    // This context has its own request and reply classes.
    child.decorateRequest('tenant', '')
    child.decorateReply('colour', 'red')
    child.addHook('preHandler', async request => { (request as never as { tenant: string }).tenant = 'acme' })
    child.get('/child', (request, reply) => {
      const { tenant } = request as never as { tenant: string }
      const { colour, welcome } = reply as never as { colour: string, welcome: () => string }
      reply.sse([`user-${request.user!.name}`, `${tenant}-${colour}-${welcome()}`])
    })
  })
  const port = await listen(app)
  const ada = await openStream(t, port, { headers: { 'x-user': 'ada' } })
  const bob = await openStream(t, port, { path: '/child', headers: { 'x-user': 'bob' } })
  t.same(app.sse.channels().map(({ name }) => name).sort(), ['acme-red-hello', 'user-ada', 'user-bob'])
  await checkReceives(t, app.sse, ada)
  await bob.untilEvents(2)
})

t.test('a hub leaves the decorators of others as they are, whether it is registered before or after them', async t => {
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  app.decorateRequest('user', null)
  app.decorateReply('client', null)
  await app.register(sse)
  app.decorateReply('stream', null)
  app.get('/events', (_request, reply) => {
    t.match(reply, { client: null, stream: null })
    reply.sse()
  })
  await checkReceives(t, app.sse, await openStream(t, await listen(app)))
})

t.test('with a trusted proxy, streams are counted by the client address that the proxy sends', async t => {
  const app = await buildApp(t, { maxClientsPerKey: 1 }, { trustProxy: '127.0.0.1' })
  app.get('/events', (request, reply) => { reply.sse(`from-${request.ip}`) })
  const port = await listen(app)
  const stream = await openStream(t, port, { headers: { 'x-forwarded-for': '192.0.2.1' } })
  await openStream(t, port, { headers: { 'x-forwarded-for': '192.0.2.2' } })
  t.same(app.sse.channels().map(({ name }) => name), ['from-192.0.2.1', 'from-192.0.2.2'])
  t.equal((await request(t, port, { path: '/events', headers: { 'x-forwarded-for': '192.0.2.1' } })).status, 429)
  await checkReceives(t, app.sse, stream)
})

t.test('routes with the same path and different constraints, by host or version, each have their own stream', async t => {
  const app = await buildApp(t)
  app.get('/events', { constraints: { host: 'a.example' } }, (_request, reply) => { reply.sse('a') })
  app.get('/events', { constraints: { host: 'b.example' } }, (_request, reply) => { reply.sse('b') })
  await app.register(async child => {
    await child.register(sse, { retry: 2 })
    child.get('/versions', { constraints: { version: '2.0.0' } }, (_request, reply) => { reply.sse('two') })
  })
  app.get('/versions', { constraints: { version: '1.0.0' } }, (_request, reply) => { reply.sse('one') })
  const port = await listen(app)
  for (const name of ['a', 'b']) {
    const stream = await openStream(t, port, { headers: { host: `${name}.example` } })
    t.equal(app.sse.clientCount(name), 1)
    await checkReceives(t, app.sse, stream)
  }
  t.match((await openStream(t, port, { path: '/versions', headers: { 'accept-version': '1.x' } })).text, /^retry: 3000\n/)
  t.match((await openStream(t, port, { path: '/versions', headers: { 'accept-version': '2.x' } })).text, /^retry: 2\n/)
  t.equal(app.sse.clientCount('two'), 0)
  t.equal((await request(t, port, { path: '/events', headers: { host: 'c.example' } })).status, 404)
})

t.test('in nested contexts with prefixes, a stream has the path of its route', async t => {
  const app = await buildApp(t)
  await app.register(async api => {
    await api.register(async v1 => {
      v1.get('/', (_request, reply) => { reply.sse() })
      v1.get('/events/:room', (request, reply) => { reply.sse((request.params as { room: string }).room) })
    }, { prefix: '/v1' })
  }, { prefix: '/api' })
  const port = await listen(app)
  for (const path of ['/api/v1', '/api/v1/', '/api/v1/events/lobby']) await checkReceives(t, app.sse, await openStream(t, port, { path }))
  t.equal(app.sse.clientCount('lobby'), 1)
})
