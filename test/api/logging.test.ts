// What the hub logs, at which level, and that it never logs payloads.
import type { FastifyInstance } from 'fastify'
import { Type } from '@sinclair/typebox'
import t, { type Test } from 'tap'
import type { SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen } from '../support/app.js'
import { nextDisconnect } from '../support/disconnects.js'
import { DEBUG, ERROR, MemoryLog, WARN, type LogLine } from '../support/memory-log.js'
import { checkReceives, openStream, request, responsesAfter } from '../support/streams.js'

interface Served {
  readonly app: FastifyInstance
  readonly log: MemoryLog
  readonly port: number
}

async function serve (t: Test, options: SSEPluginOptions = {}): Promise<Served> {
  const log = new MemoryLog()
  const app = await buildApp(t, options, { loggerInstance: log.logger })
  app.get('/events', (_request, reply) => { reply.sse(['room', 'other'], { id: 'a' }) })
  app.get('/plain', async () => 'plain')
  return { app, log, port: await listen(app) }
}

/** The lines of the hub, without Fastify's. */
function ofHub (log: MemoryLog): LogLine[] {
  return log.lines.filter(({ plugin }) => plugin === 'fastify-sse-hub')
}

t.test('the hub logs through a child of the app\'s logger: connects and disconnects, at debug', async t => {
  const { app, log, port } = await serve(t)
  const client = await openStream(t, port)
  let disconnected = nextDisconnect(app)
  client.destroy()
  await disconnected
  await openStream(t, port)
  disconnected = nextDisconnect(app)
  app.sse.clients()[0]!.close()
  await disconnected
  t.match(ofHub(log), [
    { level: DEBUG, clientId: 'a', channels: ['room', 'other'], msg: 'client connected' },
    { level: DEBUG, clientId: 'a', reason: 'client', msg: 'client disconnected' },
    { level: DEBUG, clientId: 'a', channels: ['room', 'other'], msg: 'client connected' },
    { level: DEBUG, clientId: 'a', reason: 'server', msg: 'client disconnected' }
  ])
  t.equal(ofHub(log).length, 4)
})

t.test('at level info, the hub logs nothing of a stream that opens and ends normally', async t => {
  const { app, log, port } = await serve(t)
  const client = await openStream(t, port)
  await checkReceives(t, app.sse, client)
  await app.sse.clients()[0]!.send('message', 1)
  client.destroy()
  await nextDisconnect(app)
  await app.close()
  t.same(ofHub(log).filter(({ level }) => level > DEBUG), [])
})

t.test('a client that leaves is not an error: Fastify logs its request like any other, without a premature end', async t => {
  const { app, log, port } = await serve(t)
  const client = await openStream(t, port)
  const disconnected = nextDisconnect(app)
  client.destroy()
  await disconnected
  // Fastify logs everything about the stream before it logs this request.
  await responsesAfter(await request(t, port, { path: '/plain' }), '/plain')
  t.same([...new Set(log.lines.filter(({ plugin, level }) => plugin === undefined && level > DEBUG).map(({ msg }) => msg?.replace(/:.*/, '')))],
    ['Server listening at http', 'incoming request', 'request completed'])
})

t.test('a publish that fails is logged at error, awaited or not', async t => {
  const { app, log } = await serve(t, { maxEventBytes: 100 })
  const circle: { self?: unknown } = {}
  circle.self = circle
  const failures: Array<[code: string, publish: () => Promise<unknown>]> = [
    ['SSE_ERR_INVALID_EVENT_NAME', () => app.sse.send('sse:mine', 1)],
    ['SSE_ERR_INVALID_DATA', () => app.sse.toChannel('room', 'message', circle)],
    ['SSE_ERR_EVENT_TOO_LARGE', () => app.sse.toChannels(['room'], 'message', 'x'.repeat(100))],
    ['SSE_ERR_INVALID_CHANNEL', () => app.sse.toChannel('', 'message', 1)],
    ['SSE_ERR_INVALID_CLIENT_ID', () => app.sse.toClient('', 'message', 1)],
    ['SSE_ERR_INVALID_OPTION', () => app.sse.send('message', 1, { retry: -1 })]
  ]
  for (const [code, publish] of failures) {
    const count = ofHub(log).length
    await t.rejects(publish(), { code })
    // If it were not handled, this rejection would end the process.
    publish()
    t.match(ofHub(log).slice(count), [{ level: ERROR, err: { code } }, { level: ERROR, err: { code } }])
  }
  await app.close()
  await t.rejects(app.sse.send('message', 1), { code: 'SSE_ERR_CLOSED' })
  t.match(ofHub(log).at(-1), { level: ERROR, err: { code: 'SSE_ERR_CLOSED' } })
})

t.test('a failure of the broker is logged at error, with its message', async t => {
  const { app, log } = await serve(t, {
    broker: {
      start () {},
      publish () { throw new Error('no more room') },
      head: () => '1',
      position: () => -1,
      close () { throw new Error('stuck') }
    }
  })
  await t.rejects(app.sse.send('message', 1), { code: 'SSE_ERR_BROKER_UNAVAILABLE' })
  t.match(ofHub(log), [{ level: ERROR, err: { code: 'SSE_ERR_BROKER_UNAVAILABLE', message: /no more room/ } }])
  await app.close()
  t.match(ofHub(log).at(-1), { level: ERROR, err: { message: 'stuck' } })
})

const listeners: Record<string, (message: string) => () => unknown> = {
  'throws at once': message => () => { throw new Error(message) },
  rejects: message => async () => { throw new Error(message) },
  'rejects later': message => async () => {
    await new Promise(resolve => setImmediate(resolve))
    throw new Error(message)
  }
}

for (const [name, failing] of Object.entries(listeners)) {
  t.test(`a listener that ${name} is logged at error and breaks nothing`, async t => {
    const { app, log, port } = await serve(t)
    const told: string[] = []
    app.sse.on('connect', failing('connect failed'))
    app.sse.on('connect', () => told.push('connect'))
    app.sse.on('disconnect', failing('disconnect failed'))
    app.sse.on('disconnect', (_client, reason) => told.push(reason))
    const client = await openStream(t, port)
    t.match(await log.line(({ level }) => level >= WARN), {
      plugin: 'fastify-sse-hub', level: ERROR, err: { message: 'connect failed' }, msg: /"connect"/
    })
    await checkReceives(t, app.sse, client)
    app.sse.clients()[0]!.close()
    t.match(await log.line(({ err }) => err?.message === 'disconnect failed'), { plugin: 'fastify-sse-hub', level: ERROR, msg: /"disconnect"/ })
    await client.until(() => client.complete)
    t.equal((await responsesAfter(client, '/plain'))[1]!.body.toString(), 'plain')
    t.same(told, ['connect', 'server'])
    t.equal(app.sse.clientCount(), 0)
    t.equal(log.complaints.length, 2)
  })
}

t.test('a failing "disconnect" listener does not stop the other listeners or app.close()', async t => {
  const { app, log, port } = await serve(t)
  app.sse.on('disconnect', () => { throw new Error('disconnect failed') })
  const streams = [await openStream(t, port), await openStream(t, port)]
  await app.close()
  for (const stream of streams) {
    await stream.untilClosed()
    t.ok(stream.complete)
  }
  t.equal(log.complaints.length, 2)
})

t.test('a listener added with once() is called once, and its failure is logged like any other', async t => {
  const { app, log, port } = await serve(t)
  app.sse.once('connect', () => { throw new Error('connect failed') })
  await openStream(t, port)
  await openStream(t, port)
  t.match(log.complaints, [{ level: ERROR, err: { message: 'connect failed' } }])
  t.equal(log.complaints.length, 1)
  t.equal(app.sse.listenerCount('connect'), 0)
})

/** It must be in no log line, whichever way it was published. */
const SECRET = 'hunter2-swordfish'

function holdsSecret ({ text }: MemoryLog): boolean {
  return text.includes(SECRET) || text.includes(Buffer.from(SECRET).toString('base64'))
}

t.test('no payload is ever logged', async t => {
  t.test('whichever way the payload is published', async t => {
    const { app, log, port } = await serve(t)
    const client = await openStream(t, port)
    const own = app.sse.client('a')!
    await app.sse.send('message', SECRET)
    await app.sse.send('message', { [SECRET]: SECRET }, { transient: true, idempotencyKey: 'key' })
    await app.sse.toChannel('room', 'message', [SECRET], { retry: 1 })
    await app.sse.toChannels(['room', 'other'], 'message', SECRET, { raw: true })
    await app.sse.toClient('a', 'message', Buffer.from(SECRET))
    await own.send('message', SECRET)
    await own.stream([SECRET, SECRET], { event: 'message' })
    await client.untilEvents(9)
    t.ok(client.text.includes(SECRET))
    client.destroy()
    await nextDisconnect(app)
    await app.close()
    await t.rejects(app.sse.send('message', SECRET))
    t.equal(ofHub(log).length, 3)
    t.notOk(holdsSecret(log))
  })

  t.test('if the event is refused', async t => {
    const { app, log, port } = await serve(t, { maxEventBytes: 100 })
    await openStream(t, port)
    const own = app.sse.client('a')!
    const circle: Record<string, unknown> = { password: SECRET }
    circle.self = circle
    const refused: unknown[] = [circle, { password: SECRET, n: 1n }, SECRET.repeat(10), { password: SECRET, f: { toJSON () { throw new Error('no') } } }]
    for (const data of refused) {
      await t.rejects(app.sse.send('message', data))
      await t.rejects(app.sse.toChannel('room', 'message', data))
      await t.rejects(app.sse.toChannels(['room', 'other'], 'message', data))
      await t.rejects(app.sse.toClient('a', 'message', data))
      await t.rejects(own.send('message', data))
      await t.rejects(own.stream([data], { event: 'message' }))
    }
    const good = { password: SECRET }
    await t.rejects(app.sse.send('sse:mine', good))
    await t.rejects(app.sse.toChannel('a\nb', 'message', good))
    await t.rejects(app.sse.toClient('', 'message', good))
    await t.rejects(app.sse.send('message', good, { retry: -1 }))
    await t.rejects(app.sse.send('message', good as never, { raw: true }))
    t.ok(ofHub(log).filter(({ level }) => level === ERROR).length >= 4 * refused.length + 5)
    t.notOk(holdsSecret(log))
  })

  t.test('if the data does not fit its schema', async t => {
    const { app, log, port } = await serve(t, {
      events: {
        login: Type.Object({ password: Type.String({ maxLength: 3 }) }, { additionalProperties: false }),
        kind: Type.Union([Type.Literal('a'), Type.Literal('b')]),
        count: Type.Integer(),
        nested: Type.Object({ list: Type.Array(Type.Object({ at: Type.Number() })) }),
        code: Type.RegExp(/^\d+$/),
        text: Type.String()
      }
    })
    await openStream(t, port)
    const own = app.sse.client('a')!
    const refused: Array<[event: string, data: unknown]> = [
      ['login', { password: SECRET }],
      ['login', { password: 'abc', more: SECRET }],
      ['login', SECRET],
      ['kind', SECRET],
      ['count', SECRET],
      ['nested', { list: [{ at: 1 }, { at: SECRET }] }],
      ['code', SECRET],
      ['text', [SECRET]],
      ['unknown', SECRET]
    ]
    for (const [event, data] of refused) {
      await t.rejects(app.sse.send(event, data))
      await t.rejects(own.send(event, data))
    }
    t.equal(ofHub(log).filter(({ level }) => level === ERROR).length, 2 * refused.length, 'one line a call')
    t.notOk(holdsSecret(log))
  })

  t.test('if the broker fails', async t => {
    const { app, log } = await serve(t, {
      broker: { start () {}, publish: () => Promise.reject(new Error('away')), head: () => '1', position: () => -1, close () {} }
    })
    await t.rejects(app.sse.send('message', SECRET))
    t.equal(ofHub(log).length, 1)
    t.notOk(holdsSecret(log))
  })

  for (const slowClient of ['disconnect', 'drop'] as const) {
    t.test(`if a client reads too slowly, with slowClient: '${slowClient}'`, async t => {
      const { app, log, port } = await serve(t, { slowClient, maxBufferedBytes: 300_000, historySize: 1 })
      const client = await openStream(t, port)
      client.pause()
      const own = app.sse.client('a')!
      const logged = log.line(({ level }) => level >= WARN)
      const { slowDisconnects, dropped } = app.sse.stats()
      // How many bytes the kernel takes is not known.
      while (app.sse.stats().slowDisconnects === slowDisconnects && app.sse.stats().dropped === dropped) {
        await app.sse.send('message', SECRET.repeat(10_000))
        own.send('message', SECRET)
      }
      t.match(await logged, { plugin: 'fastify-sse-hub', level: WARN })
      t.equal(app.sse.clientCount(), slowClient === 'drop' ? 1 : 0)
      client.destroy()
      await app.close()
      t.notOk(holdsSecret(log))
    })
  }

  t.test('if a handler fails after it has published', async t => {
    const log = new MemoryLog()
    const app = await buildApp(t, {}, { loggerInstance: log.logger })
    app.get('/events', async (_request, reply) => {
      await reply.sse().send('message', SECRET)
      reply.send(SECRET)
      throw new Error('the handler failed')
    })
    const client = await openStream(t, await listen(app))
    await client.until(() => client.complete)
    t.same(log.complaints.map(({ level }) => level), [WARN, ERROR])
    t.notOk(holdsSecret(log))
  })
})

t.test('the first refused stream is in the log when its answer comes', async t => {
  const log = new MemoryLog()
  const app = await buildApp(t, { maxClients: 0 }, { loggerInstance: log.logger } as object)
  app.get('/events', (_request, reply) => { reply.sse() })
  t.equal((await app.inject('/events')).statusCode, 503)
  t.match(log.complaints, [{ msg: 'streams were refused', aboveMaxClients: 1 }])
})
