// Registrations that fail: which do, and that they leave nothing behind.
import { EventEmitter, once } from 'node:events'
import Fastify, { type FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import sse from '../../lib/index.js'
import { listen } from '../support/app.js'
import { AsyncBroker } from '../support/async-broker.js'
import { checkReceives, openStream, request } from '../support/streams.js'

// Its types would hold for all tests.
const { FastifySSEPlugin } = await import('fastify-sse-v2' as string) as { FastifySSEPlugin: typeof theirReply }

function appOf (t: Test, options = {}): FastifyInstance {
  const app = Fastify(options) as unknown as FastifyInstance
  t.teardown(() => app.close())
  return app
}

const PRESENT = { code: 'FST_ERR_DEC_ALREADY_PRESENT', statusCode: 500 }

const theirReply = fp(async app => { app.decorateReply('sse', function () { return 'theirs' } as never) })
const theirHub = fp(async app => { app.decorate('sse', 'theirs' as never) })
const theirGetter = fp(async app => { app.decorate('sse', { getter: () => 'theirs' } as never) })

for (const [name, other, message] of [
  ['a reply.sse', theirReply, /"reply\.sse".*contexts of their own/],
  ['the reply.sse of fastify-sse-v2', FastifySSEPlugin, /"reply\.sse"/],
  ['a fastify.sse', theirHub, /"fastify\.sse"/],
  ['a fastify.sse with a getter', theirGetter, /"fastify\.sse"/]
] as const) {
  for (const where of ['the same context', 'a context around it']) {
    t.test(`${name} that is another plugin's, in ${where}, rejects the registration, and nothing of the hub stays`, async t => {
      const app = appOf(t)
      await app.register(other as never)
      const register = new Registry()
      const broker = new AsyncBroker()
      const registered = async (context: FastifyInstance): Promise<void> => { await context.register(sse, { broker, metrics: { register } }) }
      await t.rejects(async () => {
        if (where === 'the same context') await registered(app)
        else await app.register(registered)
      }, { ...PRESENT, message })
      t.equal(broker.started, false, 'the broker was not even started')
      t.equal((await register.metrics()).trim(), '')
    })
  }
}

t.test('a second hub in one context rejects, and the first one, its metrics and its broker stay', async t => {
  const app = appOf(t)
  const register = new Registry()
  const broker = new AsyncBroker()
  await app.register(sse, { broker, metrics: { register } })
  const { sse: hub } = app
  await t.rejects(async () => { await app.register(sse, { broker, metrics: { register, prefix: 'second_' } }) }, PRESENT)
  t.equal(app.sse, hub)
  t.equal((await hub.send('message', 1)).id, 'async:1')
  t.equal(broker.closed, false)
  t.notMatch(await register.metrics(), /second_/)
})

t.test('beside another plugin, each in a context of its own, both answer', async t => {
  const app = appOf(t)
  let hub: FastifyInstance['sse'] | undefined
  await app.register(async context => {
    await context.register(FastifySSEPlugin)
    context.get('/theirs', (_request, reply) => { (reply.sse as unknown as (message: object) => void)({ data: 'theirs' }) })
  })
  await app.register(async context => {
    await context.register(sse)
    hub = context.sse
    context.get('/events', (_request, reply) => { reply.sse() })
  })
  const port = await listen(app)
  const theirs = await request(t, port, { path: '/theirs' })
  await theirs.until(() => theirs.text.includes('data: theirs'))
  await checkReceives(t, hub!, await openStream(t, port))
})

for (const [what, options] of [
  ['an invalid option', { retry: -1 }],
  ['a broker that does not start', { broker: Object.assign(new AsyncBroker(), { start: async () => { throw new Error('no start') } }) }]
] as const) {
  t.test(`a registration that failed by ${what} leaves no decorator and no metric`, async t => {
    const app = appOf(t)
    const register = new Registry()
    await t.rejects(async () => { await app.register(sse, { ...options, metrics: { register } }) })
    t.notOk('sse' in app)
    t.notOk(app.hasReplyDecorator('sse'))
    t.equal((await register.metrics()).trim(), '')
  })
}

/** A broker that starts when the test lets it. */
class HeldBroker extends AsyncBroker {
  readonly #steps = new EventEmitter()
  readonly starting = once(this.#steps, 'starting')
  readonly ended = once(this.#steps, 'ended')
  closes = 0

  override async start (sink: Parameters<AsyncBroker['start']>[0]): Promise<void> {
    this.#steps.emit('starting')
    await once(this.#steps, 'go')
    await super.start(sink)
  }

  goOn (): void {
    this.#steps.emit('go')
  }

  override async close (): Promise<void> {
    this.closes++
    await super.close()
    this.#steps.emit('ended')
  }
}

t.test('where another plugin takes a name while the broker starts, the registration rejects, and the broker is closed', async t => {
  const app = appOf(t)
  const register = new Registry()
  const broker = new HeldBroker()
  const registered = (async () => { await app.register(sse, { broker, metrics: { register } }) })()
  await broker.starting
  app.decorateReply('sse', function () {} as never)
  broker.goOn()
  await t.rejects(registered, PRESENT)
  t.equal(broker.closes, 1)
  t.equal((await register.metrics()).trim(), '')
  await app.close()
  t.equal(broker.closes, 1, 'and is not closed again')
})

for (const inside of [false, true]) {
  t.test(`a broker that starts after Fastify has given up${inside ? ', in a context inside another hub\'s,' : ''} is closed`, async t => {
    const app = appOf(t, { pluginTimeout: 50 })
    const register = new Registry()
    const broker = new HeldBroker()
    const plugin = async (context: FastifyInstance): Promise<void> => { await context.register(sse, { broker, metrics: { register } }) }
    if (inside) await app.register(sse)
    app.register(plugin)
    await t.rejects(async () => { await app.ready() }, { code: 'FST_ERR_PLUGIN_TIMEOUT' })
    broker.goOn()
    await broker.ended
    await app.close()
    t.equal(broker.closes, 1)
    t.equal((await register.metrics()).trim(), '')
  })
}

t.test('a broker that starts after the app was closed is closed', async t => {
  const app = appOf(t, { pluginTimeout: 50 })
  const broker = new HeldBroker()
  app.register(sse, { broker })
  await t.rejects(async () => { await app.ready() }, { code: 'FST_ERR_PLUGIN_TIMEOUT' })
  await app.close()
  t.equal(broker.closes, 0, 'it is not closed before it has started')
  broker.goOn()
  await broker.ended
  t.equal(broker.closes, 1)
})
