// Hooks of the application around a stream: what they may change, and what happens if they fail.
import { PassThrough, pipeline, Readable, Transform } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { buildApp, listen } from '../support/app.js'
import { nextDisconnect, recordDisconnects } from '../support/disconnects.js'
import { withoutFastify } from '../support/fastify-version.js'
import { DEBUG, ERROR, MemoryLog } from '../support/memory-log.js'
import { RawClient, requestText } from '../support/raw-client.js'
import { parseResponses } from '../support/responses.js'
import { checkReceives, openStream, request, responsesAfter } from '../support/streams.js'

/** Adds the stream and a plain route to an app, and makes it listen. */
async function serve (app: FastifyInstance): Promise<number> {
  app.get('/events', (_request, reply) => { reply.sse('room') })
  app.get('/plain', async () => 'plain')
  return await listen(app)
}

/** Whether a payload is the stream, and not that of an error or another route. */
function isStream (payload: unknown): payload is Readable {
  return typeof (payload as Readable | null)?.pipe === 'function'
}

t.test('onRequest and preHandler hooks run before the stream, and their headers are on it', async t => {
  const app = await buildApp(t)
  const ran: string[] = []
  app.addHook('onRequest', (_request, reply, done) => {
    ran.push('onRequest')
    reply.header('x-on-request', 'yes')
    done()
  })
  app.addHook('preHandler', async (_request, reply) => {
    ran.push('preHandler')
    reply.header('x-pre-handler', 'yes')
  })
  app.sse.on('connect', () => ran.push('connect'))
  const client = await openStream(t, await serve(app))
  t.same(ran, ['onRequest', 'preHandler', 'connect'])
  t.equal(client.header('x-on-request'), 'yes')
  t.equal(client.header('x-pre-handler'), 'yes')
  await checkReceives(t, app.sse, client)
})

t.test('if a hook answers by itself, no stream is opened', async t => {
  const app = await buildApp(t)
  app.addHook('preHandler', async (_request, reply) => reply.code(401).send('who are you?'))
  const client = await request(t, await serve(app), { path: '/events' })
  t.equal(client.status, 401)
  t.equal(app.sse.clientCount(), 0)
  t.equal(app.sse.stats().connections, 0)
})

type AddOnSend = (app: FastifyInstance) => void

const passing: Record<string, AddOnSend> = {
  'a sync onSend hook': app => app.addHook('onSend', (_request, _reply, _payload, done) => done()),
  'a sync onSend hook that hands the payload on': app => app.addHook('onSend', (_request, _reply, payload, done) => done(null, payload)),
  'an onSend hook that is done later': app => app.addHook('onSend', (_request, _reply, _payload, done) => { setImmediate(done) }),
  'an async onSend hook': app => app.addHook('onSend', async () => {}),
  'an async onSend hook that returns the payload later': app => app.addHook('onSend', async (_request, _reply, payload) => {
    await new Promise(resolve => setImmediate(resolve))
    return payload
  }),
  'several onSend hooks of both kinds': app => {
    app.addHook('onSend', async (_request, _reply, payload) => payload)
    app.addHook('onSend', (_request, _reply, _payload, done) => done())
    app.addHook('onSend', async () => {})
  }
}

for (const [name, addHook] of Object.entries(passing)) {
  t.test(`${name} lets the stream through`, async t => {
    const log = new MemoryLog()
    const app = await buildApp(t, {}, { loggerInstance: log.logger })
    addHook(app)
    const client = await openStream(t, await serve(app))
    await checkReceives(t, app.sse, client)
    app.sse.clients()[0]!.close()
    await client.until(() => client.complete)
    t.equal((await responsesAfter(client, '/plain'))[1]!.body.toString(), 'plain')
    t.same(log.complaints, [])
  })
}

t.test('events that are published while an async onSend hook runs arrive in order after it', async t => {
  const app = await buildApp(t)
  app.addHook('onSend', async () => {
    for (let n = 0; n < 3; n++) await app.sse.toChannel('room', 'message', n)
  })
  const client = await openStream(t, await serve(app))
  const events = await client.untilEvents(4)
  t.same(events.slice(1).map(({ data }) => data), ['0', '1', '2'])
})

t.test('an onSend hook can set, replace and remove headers', async t => {
  const app = await buildApp(t)
  app.addHook('onSend', async (_request, reply) => {
    reply.header('x-on-send', 'yes')
    reply.header('cache-control', 'private, no-cache, no-transform')
    reply.removeHeader('x-accel-buffering')
  })
  const client = await openStream(t, await serve(app))
  t.equal(client.header('x-on-send'), 'yes')
  t.equal(client.header('cache-control'), 'private, no-cache, no-transform')
  t.equal(client.header('x-accel-buffering'), undefined)
  await checkReceives(t, app.sse, client)
})

t.test('an onSend hook can replace the stream with a string, and the client is disconnected with the response', async t => {
  const app = await buildApp(t)
  app.addHook('onSend', async (_request, reply, payload) => {
    if (!isStream(payload)) return payload
    reply.type('text/plain')
    return 'no stream today'
  })
  const disconnects = recordDisconnects(app)
  const port = await serve(app)
  const disconnected = nextDisconnect(app)
  const client = await request(t, port, { path: '/events' })
  await disconnected
  t.equal(app.sse.clientCount(), 0)
  t.equal(disconnects.length, 1)
  await app.sse.send('message', 'for nobody')
  const responses = await responsesAfter(client, '/plain')
  t.same(responses.map(({ status, body }) => [status, body.toString()]), [[200, 'no stream today'], [200, 'plain']])
})

t.test('an onSend hook can replace the stream with another stream, and the client is disconnected with the response', async t => {
  const app = await buildApp(t)
  const other = new Readable({ read () {} })
  app.addHook('onSend', async (_request, _reply, payload) => isStream(payload) ? other : payload)
  const disconnects = recordDisconnects(app)
  const port = await serve(app)
  const disconnected = nextDisconnect(app)
  other.push('one ')
  const client = await request(t, port, { path: '/events' })
  await client.until(() => client.text === 'one ')
  await app.sse.send('message', 'for nobody')
  other.push('two')
  other.push(null)
  await client.until(() => client.complete)
  await disconnected
  t.equal(app.sse.clientCount(), 0)
  t.equal(disconnects.length, 1)
  const responses = await responsesAfter(client, '/plain')
  t.same(responses.map(({ status, body }) => [status, body.toString()]), [[200, 'one two'], [200, 'plain']])
})

const lettingGo: Record<string, (payload: Readable) => unknown> = {
  'destroys the stream': payload => { payload.destroy() },
  'destroys the stream with an error': payload => { payload.destroy(new Error('not today')) },
  'destroys the stream later': payload => setImmediate(() => payload.destroy()),
  'destroys the stream and hears of it': payload => payload.on('error', () => {}).on('close', () => {}).destroy(),
  'reads the stream and destroys it': payload => payload.on('data', () => {}).destroy(),
  'pipes the stream and destroys it': payload => {
    payload.pipe(new Loud())
    payload.destroy()
  },
  'leaves an iterator of the stream': async payload => {
    // The greeting may come before or after the hook's end.
    for await (const chunk of payload) if (String(chunk) !== '') break
  }
}

for (const [name, letGo] of Object.entries(lettingGo)) {
  for (const [kind, replacement] of Object.entries({ string: (): unknown => 'maintenance', stream: (): unknown => Readable.from(['main', 'tenance']) })) {
    t.test(`an onSend hook that ${name} may send a ${kind} instead`, async t => {
      const log = new MemoryLog()
      const app = await buildApp(t, {}, { loggerInstance: log.logger })
      app.addHook('onSend', async (_request, reply, payload) => {
        if (!isStream(payload) || reply.getHeader('content-type') !== 'text/event-stream') return payload
        reply.header('content-type', 'text/plain')
        await letGo(payload)
        return replacement()
      })
      const disconnects = recordDisconnects(app)
      const client = await request(t, await serve(app), { path: '/events' })
      const responses = await responsesAfter(client, '/plain')
      t.same(responses.map(({ status, body }) => [status, body.toString()]), [[200, 'maintenance'], [200, 'plain']])
      t.match(app.sse.stats(), { clients: 0, bufferedBytes: 0 })
      // The response may have ended before the hook lets go of the stream.
      t.same(disconnects.map(({ reason }) => reason), [name.endsWith('later') ? disconnects[0]!.reason : 'error'])
      t.same(log.complaints, [])
    })
  }
}

t.test('an onSend hook that destroys the stream and sends it nevertheless gets the app\'s error handler', async t => {
  const app = await buildApp(t)
  app.addHook('onSend', async (_request, _reply, payload) => {
    if (isStream(payload)) payload.destroy()
    return payload
  })
  const disconnects = recordDisconnects(app)
  const client = await request(t, await serve(app), { path: '/events' })
  const responses = await responsesAfter(client, '/plain')
  t.same(responses.map(({ status }) => status), [500, 200])
  t.same(disconnects.map(({ reason }) => reason), ['error'])
})

const closing: Record<string, (response: { destroy (): unknown }) => unknown> = {
  'the hook has sent something else': () => {},
  'the application has destroyed the response': response => { setImmediate(() => response.destroy()) }
}

for (const [how, close] of Object.entries(closing)) {
  t.test(`what a hook reads is destroyed when the response closes before the stream has ended, because ${how}`, async t => {
    const app = await buildApp(t)
    let closed: Promise<unknown> | undefined
    app.addHook('onSend', async (_request, reply, payload) => {
      if (!isStream(payload)) return payload
      // A reader that is not told of the response's end would wait for ever.
      payload.on('data', () => {})
      closed = new Promise(resolve => payload.on('close', resolve))
      reply.header('content-type', 'text/plain')
      close(reply.raw)
      return how.startsWith('the hook') ? 'something else' : new Readable({ read () {} })
    })
    const client = new RawClient(await serve(app), { path: '/events' })
    t.teardown(() => client.destroy())
    if (how.startsWith('the hook')) await client.until(() => client.text === 'something else')
    else await client.untilClosed()
    await closed
    t.match(app.sse.stats(), { clients: 0, bufferedBytes: 0 })
  })
}

/** Makes lower case letters upper case. This shows which bytes went through it. */
class Loud extends Transform {
  override _transform (chunk: Buffer, _encoding: string, done: (error: null, chunk: string) => void): void {
    done(null, chunk.toString().replaceAll('quiet', 'LOUD'))
  }
}

const readers: Record<string, (payload: Readable) => Readable> = {
  'pipes the stream through a Transform': payload => payload.pipe(new Loud()),
  'puts the stream at the head of a pipeline': payload => pipeline(payload, new Loud(), () => {}),
  'reads the stream as an async iterable': payload => Readable.from((async function * () {
    for await (const chunk of payload) yield String(chunk).replaceAll('quiet', 'LOUD')
  })()),
  'reads the stream by its data events': payload => {
    const loud = new Loud()
    payload.on('end', () => loud.end())
    payload.on('data', chunk => { loud.write(chunk) })
    return loud
  }
}

for (const [name, read] of Object.entries(readers)) {
  t.test(`with an onSend hook that ${name}`, async t => {
    async function build (t: Test): Promise<{ app: FastifyInstance, log: MemoryLog, port: number }> {
      const log = new MemoryLog()
      const app = await buildApp(t, {}, { loggerInstance: log.logger })
      app.addHook('onSend', async (_request, _reply, payload) => isStream(payload) ? read(payload) : payload)
      return { app, log, port: await serve(app) }
    }

    t.test('events arrive through the hook, and the stream ends completely', async t => {
      const { app, log, port } = await build(t)
      const client = await openStream(t, port)
      await app.sse.toChannel('room', 'message', 'quiet')
      await client.untilEvents(2)
      await checkReceives(t, app.sse, client)
      t.equal(client.events[1]!.data, '"LOUD"')
      const disconnected = nextDisconnect(app)
      app.sse.toChannel('room', 'message', 'the last')
      app.sse.clients()[0]!.close()
      t.equal((await disconnected).reason, 'server')
      await client.until(() => client.complete)
      t.equal(client.events.at(-1)!.data, '"the last"')
      t.equal((await responsesAfter(client, '/plain'))[1]!.body.toString(), 'plain')
      t.same(log.complaints, [])
    })

    t.test('the client is removed from the hub when its connection is closed', async t => {
      const { app, port } = await build(t)
      const client = await openStream(t, port)
      const disconnected = nextDisconnect(app)
      client.destroy()
      t.equal((await disconnected).reason, 'client')
      t.equal(app.sse.clientCount(), 0)
    })

    t.test('the last events are sent when the app closes', async t => {
      const { app, port } = await build(t)
      const client = await openStream(t, port)
      app.sse.toChannel('room', 'message', 'the last')
      await app.close()
      await client.untilClosed()
      t.ok(client.complete)
      t.equal(client.events.at(-1)!.data, '"the last"')
    })
  })
}

t.test('onResponse runs once the server has ended the stream, and not before', async t => {
  const app = await buildApp(t)
  const ran: string[] = []
  const responded = new Promise<void>(resolve => app.addHook('onResponse', async request => {
    ran.push(request.url)
    if (request.url === '/events') resolve()
  }))
  app.addHook('onRequestAbort', async _request => { ran.push('abort') })
  const port = await serve(app)
  const client = await openStream(t, port)
  await checkReceives(t, app.sse, client)
  await responsesAfter(await request(t, port, { path: '/plain' }), '/plain')
  t.same(ran, ['/plain', '/plain'])
  app.sse.clients()[0]!.close()
  await responded
  await client.until(() => client.complete)
  // If a hook ran late, it would have run by the end of this request.
  await responsesAfter(client, '/plain')
  t.same(ran, ['/plain', '/plain', '/events', '/plain'])
})

t.test('onRequestAbort runs when the client leaves', async t => {
  const app = await buildApp(t)
  const aborted = new Promise<string>(resolve => app.addHook('onRequestAbort', async request => resolve(request.url)))
  const client = await openStream(t, await serve(app))
  const disconnected = nextDisconnect(app)
  client.destroy()
  t.equal(await aborted, '/events')
  t.equal((await disconnected).reason, 'client')
})

t.test('a pipelined stream is removed from the hub if its connection is closed before its turn, after async hooks', async t => {
  const app = await buildApp(t)
  app.addHook('onSend', async (_request, _reply, payload) => payload)
  const port = await serve(app)
  const client = await openStream(t, port)
  const connected = new Promise(resolve => app.sse.once('connect', resolve))
  client.socket.write(requestText({ path: '/events' }))
  await connected
  t.equal(app.sse.clientCount(), 2)
  const gone = new Promise<void>(resolve => app.sse.on('disconnect', () => { if (app.sse.clientCount() === 0) resolve() }))
  client.destroy()
  await gone
  t.equal(app.sse.clientCount(), 0)
})

/** Replies of error handlers that look like the stream. */
const failed = new WeakSet<FastifyReply>()

/** Whether a reply's payload is the stream, and not an error's. */
function isEventStream (reply: FastifyReply): boolean {
  return reply.getHeader('content-type') === 'text/event-stream' && !failed.has(reply)
}

const failing: Record<string, AddOnSend> = {
  'throws at once': app => app.addHook('onSend', (_request, reply, _payload, done) => {
    if (isEventStream(reply)) throw new Error('the hook failed')
    done()
  }),
  'hands on an error at once': app => app.addHook('onSend', (_request, reply, _payload, done) => {
    if (isEventStream(reply)) done(new Error('the hook failed'))
    else done()
  }),
  'hands on an error later': app => app.addHook('onSend', (_request, reply, _payload, done) => {
    setImmediate(() => {
      if (isEventStream(reply)) done(new Error('the hook failed'))
      else done()
    })
  }),
  rejects: app => app.addHook('onSend', async (_request, reply, payload) => {
    if (isEventStream(reply)) throw new Error('the hook failed')
    return payload
  })
}

type ErrorHandler = (error: Error, request: FastifyRequest, reply: FastifyReply) => unknown

const errorHandlers: Record<string, { handler?: ErrorHandler, body: string }> = {
  'Fastify\'s own error handler': {
    body: '{"statusCode":500,"error":"Internal Server Error","message":"the hook failed"}'
  },
  'an error handler that sends': {
    handler: (error, _request, reply) => { reply.code(500).send(`sent: ${error.message}`) },
    body: 'sent: the hook failed'
  },
  'an error handler that returns its payload': {
    handler: (error, _request, reply) => {
      reply.code(500)
      return `returned: ${error.message}`
    },
    body: 'returned: the hook failed'
  },
  'an async error handler that returns its payload': {
    handler: async (error, _request, reply) => {
      await new Promise(resolve => setImmediate(resolve))
      reply.code(500)
      return { async: error.message }
    },
    body: '{"async":"the hook failed"}'
  },
  'an async error handler that sends undefined': {
    handler: async (_error, _request, reply) => {
      await new Promise(resolve => setImmediate(resolve))
      reply.code(500).send(undefined)
      return reply
    },
    body: ''
  },
  'an async error handler that returns nothing': {
    handler: async (_error, _request, reply) => { reply.code(500) },
    body: ''
  },
  'an error handler that sends a stream': {
    handler: (error, _request, reply) => {
      reply.code(500).send(Readable.from([`streamed: ${error.message}`]))
    },
    body: 'streamed: the hook failed'
  }
}

for (const [failure, addHook] of Object.entries(failing)) {
  for (const [name, { handler, body }] of Object.entries(errorHandlers)) {
    t.test(`if an onSend hook ${failure}, ${name} answers, and no client is left`, async t => {
      const log = new MemoryLog()
      const app = await buildApp(t, {}, { loggerInstance: log.logger })
      addHook(app)
      if (handler !== undefined) app.setErrorHandler(handler)
      const disconnects = recordDisconnects(app)
      const errors: string[] = []
      app.addHook('onError', async (_request, _reply, error) => { errors.push(error.message) })
      const client = await request(t, await serve(app), { path: '/events' })
      const responses = await responsesAfter(client, '/plain')
      t.same(responses.map(({ status, body }) => [status, body.toString()]), [[500, body], [200, 'plain']])
      t.notMatch(client.head, /event-stream|x-accel-buffering|no-transform/)
      t.same(errors, ['the hook failed'])
      t.equal(app.sse.clientCount(), 0)
      t.same(app.sse.channels(), [])
      t.same(disconnects.map(({ reason }) => reason), ['error'])
      t.ok(disconnects[0]!.client.closed)
      t.same(log.complaints.map(({ err, msg }) => [err?.message, msg]), handler === undefined ? [['the hook failed', 'the hook failed']] : [])
    })
  }
}

for (const [failure, addHook] of Object.entries(failing)) {
  t.test(`if an onSend hook ${failure}, every 'disconnect' comes after its 'connect'`, async t => {
    const app = await buildApp(t)
    addHook(app)
    const told: string[] = []
    app.sse.on('connect', client => told.push(`connect ${client.id}`))
    app.sse.on('disconnect', client => told.push(`disconnect ${client.id}`))
    app.get('/named', (_request, reply) => { reply.sse([], { id: 'a' }) })
    const client = await request(t, await serve(app), { path: '/named' })
    t.equal(client.status, 500)
    t.same(told, ['connect a', 'disconnect a'])
  })

  t.test(`if an onSend hook ${failure}, an onError hook that fails as well does not prevent the answer`, async t => {
    const log = new MemoryLog()
    const app = await buildApp(t, {}, { loggerInstance: log.logger })
    addHook(app)
    app.addHook('onError', async () => { throw new Error('onError failed as well') })
    app.setErrorHandler(async (error: Error, _request, reply) => {
      reply.code(500)
      return error.message
    })
    const client = await request(t, await serve(app), { path: '/events' })
    const responses = await responsesAfter(client, '/plain')
    t.same(responses.map(({ status, body }) => [status, body.toString()]), [[500, 'the hook failed'], [200, 'plain']])
    t.equal(app.sse.clientCount(), 0)
  })
}

for (const [kind, addHook] of Object.entries({
  sync: app => app.addHook('onSend', (_request, reply, _payload, done) => {
    if (isEventStream(reply)) reply.header('x-bad', 'a\nb')
    done()
  }),
  async: app => app.addHook('onSend', async (_request, reply) => {
    if (isEventStream(reply)) reply.header('x-bad', 'a\nb')
  })
} satisfies Record<string, AddOnSend>)) {
  // In older versions, such a header of an async hook is an unhandled rejection that ends the process, whatever is sent.
  const skip = kind === 'async' && withoutFastify('5.11.0', 'catches what can\'t be sent behind an async hook')
  t.test(`if ${kind} onSend hooks set a header that can't be sent, the error handler answers, and no client is left`, { skip }, async t => {
    const app = await buildApp(t)
    addHook(app)
    app.setErrorHandler((error: Error & { code: string }, _request, reply) => {
      reply.removeHeader('x-bad').code(500).send(error.code)
    })
    const disconnects = recordDisconnects(app)
    const client = await request(t, await serve(app), { path: '/events' })
    const responses = await responsesAfter(client, '/plain')
    t.same(responses.map(({ status, body }) => [status, body.toString()]), [[500, 'ERR_INVALID_CHAR'], [200, 'plain']])
    t.notMatch(client.head, /event-stream|x-accel-buffering|no-transform/)
    t.equal(app.sse.clientCount(), 0)
    t.same(disconnects.map(({ reason }) => reason), ['error'])
  })
}

t.test('a connection that serves many streams has no additional listeners afterwards, however they end', async t => {
  const app = await buildApp(t)
  app.addHook('onSend', async (request, reply, payload) => {
    if (!isEventStream(reply)) return payload
    if (request.url === '/fails') throw new Error('the hook failed')
    if (request.url === '/replaced') return 'no stream today'
    return request.url === '/read' ? (payload as Readable).pipe(new Loud()) : payload
  })
  for (const path of ['/fails', '/replaced', '/read', '/ends']) {
    app.get(path, async (_request, reply) => { reply.sse().close() })
  }
  app.get('/listeners', async ({ raw: { socket } }) => socket.eventNames().map(name => [String(name), socket.listenerCount(name)]))
  const port = await serve(app)
  const client = await request(t, port, { path: '/listeners' })
  const before = (await responsesAfter(client, '/listeners'))[1]!.body.toString()
  for (const path of ['/fails', '/replaced', '/read', '/ends']) {
    for (let n = 0; n < 3; n++) await responsesAfter(client, path)
  }
  const responses = await responsesAfter(client, '/listeners')
  t.same(responses.map(({ status }) => status), [200, 200, ...Array(3).fill(500), ...Array(9).fill(200), 200])
  t.equal(responses.at(-1)!.body.toString(), before)
})

const asyncHandlers: Record<string, (reply: FastifyReply) => Promise<unknown>> = {
  'returns nothing': async reply => { reply.sse('room') },
  'returns the client': async reply => reply.sse('room'),
  'sends an event': async reply => { await reply.sse('room').send('hello', 1) },
  'returns the reply': async reply => {
    reply.sse('room')
    return reply
  }
}

for (const [failure, addHook] of Object.entries(failing)) {
  for (const [name, handler] of Object.entries(asyncHandlers)) {
    t.test(`if an onSend hook ${failure} and an async handler ${name}, only the error handler answers`, async t => {
      const app = await buildApp(t)
      addHook(app)
      // The handler ends before this hook does.
      app.addHook('onError', async () => { await new Promise(resolve => setImmediate(resolve)) })
      app.setErrorHandler((error: Error, _request, reply) => { reply.code(500).send(error.message) })
      app.get('/async', async (_request, reply) => handler(reply))
      const client = await request(t, await serve(app), { path: '/async' })
      const responses = await responsesAfter(client, '/plain')
      t.same(responses.map(({ status, body }) => [status, body.toString()]), [[500, 'the hook failed'], [200, 'plain']])
      t.equal(app.sse.clientCount(), 0)
    })
  }
}

for (const [failure, addHook] of Object.entries(failing)) {
  t.test(`if an onSend hook ${failure}, an error handler may answer in the format of event streams`, async t => {
    const app = await buildApp(t)
    app.setErrorHandler((error: Error, _request, reply) => {
      failed.add(reply)
      reply.code(500).type('text/event-stream').send(`data: ${error.message}\n\n`)
    })
    addHook(app)
    const client = await request(t, await serve(app), { path: '/events' })
    const responses = await responsesAfter(client, '/plain')
    t.same(responses.map(({ status, body }) => [status, body.toString()]), [[500, 'data: the hook failed\n\n'], [200, 'plain']])
  })
}

t.test('after an onSend hook has failed, an error handler may still open a stream', async t => {
  for (const [kind, addHook] of Object.entries({
    sync: (app, fail) => app.addHook('onSend', (_request, _reply, _payload, done) => {
      if (fail()) throw new Error('the hook failed')
      done()
    }),
    async: (app, fail) => app.addHook('onSend', async () => {
      if (fail()) throw new Error('the hook failed')
    })
  } satisfies Record<string, (app: FastifyInstance, fail: () => boolean) => unknown>)) {
    t.test(`with ${kind} hooks`, async t => {
      const app = await buildApp(t)
      let calls = 0
      addHook(app, () => ++calls === 1)
      app.setErrorHandler((_error, _request, reply) => { reply.sse('fallback') })
      const disconnects = recordDisconnects(app)
      const client = await openStream(t, await serve(app))
      t.same(app.sse.channels(), [{ name: 'fallback', count: 1 }])
      t.same(disconnects.map(({ reason }) => reason), ['error'])
      await checkReceives(t, app.sse, client)
      app.sse.clients()[0]!.close()
      await client.until(() => client.complete)
      t.equal((await responsesAfter(client, '/plain'))[1]!.body.toString(), 'plain')
    })
  }
})

t.test('if an onSend hook fails on the error\'s reply too, Fastify answers, and no client is left', async t => {
  for (const addHook of [
    (app: FastifyInstance) => app.addHook('onSend', async () => { throw new Error('always') }),
    (app: FastifyInstance) => app.addHook('onSend', () => { throw new Error('always') })
  ]) {
    const app = await buildApp(t)
    addHook(app)
    const disconnects = recordDisconnects(app)
    const client = await request(t, await serve(app), { path: '/events' })
    await client.until(() => parseResponses(client.received).length === 1)
    t.equal(client.status, 500)
    t.equal(app.sse.clientCount(), 0)
    t.same(disconnects.map(({ reason }) => reason), ['error'])
  }
})

t.test('a client that leaves while an async onSend hook runs is removed from the hub, however the hook ends', async t => {
  for (const fails of [false, true]) {
    const log = new MemoryLog()
    const app = await buildApp(t, {}, { loggerInstance: log.logger })
    let proceed = (): void => {}
    let ended = Promise.resolve()
    app.addHook('onSend', async (_request, _reply, payload) => {
      if (!isStream(payload)) return payload
      await new Promise<void>(resolve => { proceed = resolve })
      ended = new Promise(resolve => setImmediate(resolve))
      if (fails) throw new Error('the hook failed')
    })
    const port = await serve(app)
    const connected = new Promise(resolve => app.sse.once('connect', resolve))
    const disconnects = recordDisconnects(app)
    const disconnected = nextDisconnect(app)
    const client = new RawClient(port, { path: '/events' })
    await connected
    client.destroy()
    t.equal((await disconnected).reason, 'client')
    proceed()
    // This request is served after everything that the end of the hook causes.
    await ended
    const other = await request(t, port, { path: '/plain' })
    t.equal(other.status, 200)
    t.equal(app.sse.clientCount(), 0)
    t.equal(disconnects.length, 1)
    t.same(log.lines.filter(({ level, err }) => level >= ERROR && err?.message !== 'the hook failed'), [])
    t.ok(log.lines.some(({ level, reason }) => level === DEBUG && reason === 'client'))
  }
})

t.test('reply.sse() in an onError hook is refused like any other reply there, and leaves no client', async t => {
  const app = await buildApp(t)
  const refused: unknown[] = []
  app.get('/fails', {
    onError: async (_request, reply) => {
      try {
        reply.sse('room')
      } catch (error) {
        refused.push((error as { code?: string }).code, app.sse.clientCount())
      }
    }
  }, async () => { throw new Error('the handler failed') })
  const client = await request(t, await serve(app), { path: '/fails' })
  const responses = await responsesAfter(client, '/plain')
  t.same(responses.map(({ status, body }) => [status, body.includes('the handler failed') || body.toString()]), [[500, true], [200, 'plain']])
  t.same(refused, ['FST_ERR_SEND_INSIDE_ONERR', 0], 'it is gone at once, not only with the response')
})

t.test('a hook may add listeners to the payload with every method of an emitter, and remove them', async t => {
  const app = await buildApp(t)
  const heard: string[] = []
  app.addHook('onSend', async (_request, reply, payload) => {
    if (!isEventStream(reply)) return payload
    const stream = payload as Readable
    const never = (): void => { heard.push('never') }
    stream.on('end', () => heard.push('kept'))
    stream.addListener('end', never)
    stream.removeListener('end', never)
    stream.once('end', never)
    stream.off('end', never)
    stream.once('end', () => heard.push('end'))
    return payload
  })
  const client = await openStream(t, await serve(app))
  await checkReceives(t, app.sse, client)
  app.sse.clients()[0]!.close()
  await client.until(() => client.complete)
  t.same(heard, ['kept', 'end'])
})

t.test('a hook that reads the payload may remove what it has added with once(), before it reads or after', async t => {
  const app = await buildApp(t)
  const heard: string[] = []
  app.addHook('onSend', async (_request, reply, payload) => {
    if (!isEventStream(reply)) return payload
    const stream = payload as Readable
    const before = (): void => { heard.push('before') }
    const after = (): void => { heard.push('after') }
    stream.once('end', before)
    stream.once('end', () => heard.push('end'))
    const through = stream.pipe(new PassThrough())
    stream.once('end', after)
    stream.off('end', before)
    stream.off('end', after)
    return through
  })
  const client = await openStream(t, await serve(app))
  await checkReceives(t, app.sse, client)
  app.sse.clients()[0]!.close()
  await client.until(() => client.complete)
  t.same(heard, ['end'])
})
