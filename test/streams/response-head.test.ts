// The head of a stream's response: its headers, `Accept`, HEAD, and the limit of clients.
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { buildApp, listen } from '../support/app.js'
import { nextDisconnect } from '../support/disconnects.js'
import { MemoryLog } from '../support/memory-log.js'
import { RawClient, requestText } from '../support/raw-client.js'
import { checkReceives, openStream, request, responsesAfter } from '../support/streams.js'

async function serve (app: FastifyInstance): Promise<number> {
  app.get('/events', (_request, reply) => { reply.sse('room') })
  app.get('/plain', async () => 'plain')
  return await listen(app)
}

/** The headers of a response's head, in lower case and sorted by name. */
function headers (head: string): Record<string, string> {
  const [, ...lines] = head.split('\r\n')
  return Object.fromEntries(lines.map(line => /^(.+?): (.*)$/.exec(line)!).map(([, name, value]) => [name!.toLowerCase(), value!]))
}

t.test('the head is 200 with the headers of an event stream, and no others', async t => {
  const app = await buildApp(t)
  const client = await openStream(t, await serve(app))
  t.match(client.head, /^HTTP\/1\.1 200 OK\r\n/)
  const { date, 'keep-alive': keepAlive, ...rest } = headers(client.head)
  t.ok(date)
  t.ok(keepAlive)
  t.same(rest, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
    connection: 'keep-alive',
    'transfer-encoding': 'chunked'
  })
})

t.test('the head is sent at once, even if no event follows', async t => {
  const app = await buildApp(t, { greeting: false, retry: null })
  const client = await request(t, await serve(app), { path: '/events' })
  t.equal(client.status, 200)
  t.equal(client.header('content-type'), 'text/event-stream')
  t.equal(client.text, '')
  await checkReceives(t, app.sse, client)
})

t.test('headers that the handler sets before reply.sse() stay, except those that the stream sets itself', async t => {
  const app = await buildApp(t)
  app.get('/headers', (_request, reply) => {
    reply.header('x-before', 'yes').header('set-cookie', ['a=1', 'b=2']).type('text/html')
    reply.raw.setHeader('x-raw', 'yes')
    reply.sse()
  })
  const client = await openStream(t, await serve(app), { path: '/headers' })
  t.equal(client.header('x-before'), 'yes')
  t.equal(client.header('x-raw'), 'yes')
  t.match(client.head, /^set-cookie: a=1\r\nset-cookie: b=2$/im)
  t.equal(client.header('content-type'), 'text/event-stream')
  await checkReceives(t, app.sse, client)
})

const admitting: Array<string | undefined> = [
  undefined,
  '',
  '*/*',
  'text/*',
  'text/event-stream',
  'TEXT/Event-Stream',
  'text/event-stream, application/json',
  'application/json, text/event-stream;q=0.1',
  'text/html, */*;q=0.1',
  'text/html;q=0.9, text/*;q=0.2, application/xml',
  '*/*;q=0, text/event-stream',
  'text/event-stream;charset=utf-8',
  'text/event-stream; charset=UTF-8, application/json',
  'text/*;q=0, text/event-stream;q=0.5',
  ' text/event-stream ; q=1 '
]

for (const accept of admitting) {
  t.test(`${accept === undefined ? 'no Accept header' : `Accept: ${JSON.stringify(accept)}`} admits the stream`, async t => {
    const app = await buildApp(t)
    const client = await openStream(t, await serve(app), accept === undefined ? {} : { headers: { accept } })
    t.equal(client.header('content-type'), 'text/event-stream')
    await checkReceives(t, app.sse, client)
  })
}

const excluding = [
  'application/json',
  'text/html, application/xhtml+xml',
  'text/event-stream;q=0',
  'text/event-stream;q=0.0, */*',
  'text/*;q=0, */*',
  '*/*;q=0',
  'text/event-stream;q=0, text/*',
  'event-stream'
]

for (const accept of excluding) {
  t.test(`Accept: ${JSON.stringify(accept)} excludes it: the app's error handler answers 406`, async t => {
    const app = await buildApp(t)
    app.setErrorHandler((error: Error & { code: string, statusCode: number }, _request, reply) => {
      reply.code(error.statusCode).send({ handled: error.code })
    })
    const client = await request(t, await serve(app), { path: '/events', headers: { accept } })
    const responses = await responsesAfter(client, '/plain')
    t.same(responses.map(({ status, body }) => [status, body.toString()]), [[406, '{"handled":"SSE_ERR_NOT_ACCEPTABLE"}'], [200, 'plain']])
    t.notMatch(client.head, /event-stream|x-accel-buffering|no-transform/)
    t.equal(app.sse.clientCount(), 0)
    t.equal(app.sse.stats().connections, 0)
  })
}

t.test('without an error handler of the app, the body of 406 gives the reason', async t => {
  const app = await buildApp(t)
  const client = await request(t, await serve(app), { path: '/events', headers: { accept: 'application/json' } })
  const [response] = await responsesAfter(client, '/plain')
  t.match(JSON.parse(response!.body.toString()), { statusCode: 406, code: 'SSE_ERR_NOT_ACCEPTABLE', error: 'Not Acceptable', message: /text\/event-stream/ })
})

const headRoutes: Record<string, { options: { exposeHeadRoutes: boolean }, add: (app: FastifyInstance) => void }> = {
  'the HEAD route that Fastify adds': {
    options: { exposeHeadRoutes: true },
    add: app => app.get('/events', (_request, reply) => { reply.sse('room') })
  },
  'the HEAD route that Fastify adds, with an async handler and async hooks': {
    options: { exposeHeadRoutes: true },
    add: app => {
      app.addHook('onSend', async (_request, _reply, payload) => payload)
      app.get('/events', async (_request, reply) => reply.sse('room'))
    }
  },
  'a HEAD route of the app\'s own': {
    options: { exposeHeadRoutes: false },
    add: app => app.head('/events', (_request, reply) => { reply.sse('room') })
  },
  'an async HEAD route of the app\'s own': {
    options: { exposeHeadRoutes: false },
    add: app => app.head('/events', async (_request, reply) => reply.sse('room'))
  },
  'a route for GET and HEAD': {
    options: { exposeHeadRoutes: false },
    add: app => app.route({ method: ['GET', 'HEAD'], url: '/events', handler: (_request, reply) => { reply.sse('room') } })
  }
}

for (const [name, { options, add }] of Object.entries(headRoutes)) {
  t.test(`${name} answers with only the head and registers no client`, async t => {
    const app = await buildApp(t, { maxClients: 1 }, options)
    await app.sse.send('message', 'kept')
    const told: string[] = []
    app.sse.on('connect', () => told.push('connect'))
    app.sse.on('disconnect', () => told.push('disconnect'))
    add(app)
    app.get('/plain', async () => 'plain')
    const port = await listen(app)
    const client = await request(t, port, { path: '/events', method: 'HEAD' })
    const begin = client.head.length + 4
    client.socket.write(requestText({ path: '/plain' }))
    await client.until(() => client.received.toString().endsWith('plain'))
    t.equal(client.status, 200)
    t.equal(client.header('content-type'), 'text/event-stream')
    t.equal(client.header('cache-control'), 'no-cache, no-transform')
    t.equal(client.header('x-accel-buffering'), 'no')
    // The next response follows the head directly.
    t.match(client.received.subarray(begin).toString(), /^HTTP\/1\.1 200 OK\r\n/)
    t.equal(app.sse.clientCount(), 0)
    t.equal(app.sse.stats().connections, 0)
    t.same(told, [])
    t.equal((await app.sse.toChannel('room', 'message', 1)).recipients, 0)
  })
}

t.test('HEAD is refused in the same cases as GET', async t => {
  const [app, full] = [await buildApp(t), await buildApp(t, { maxClients: 0 })]
  const [port, portOfFull] = [await serve(app), await serve(full)]
  for (const method of ['HEAD', 'GET']) {
    t.equal((await request(t, port, { path: '/events', method, headers: { accept: 'image/png' } })).status, 406)
    t.equal((await request(t, portOfFull, { path: '/events', method })).status, 503)
    t.equal((await request(t, portOfFull, { path: '/events', method, headers: { accept: 'image/png' } })).status, 503, 'the limits come first')
  }
})

t.test('above maxClients the app\'s error handler answers 503 with Retry-After, and a client that leaves makes room', async t => {
  const app = await buildApp(t, { maxClients: 2, retry: 2001 })
  app.setErrorHandler((error: Error & { code: string, statusCode: number }, _request, reply) => {
    reply.code(error.statusCode).send({ handled: error.code })
  })
  const port = await serve(app)
  const first = await openStream(t, port)
  const second = await openStream(t, port)
  const third = await request(t, port, { path: '/events' })
  t.equal(third.header('retry-after'), '3')
  const responses = await responsesAfter(third, '/plain')
  t.same(responses.map(({ status, body }) => [status, body.toString()]), [[503, '{"handled":"SSE_ERR_TOO_MANY_CLIENTS"}'], [200, 'plain']])
  t.notMatch(responses[1]!.head, /retry-after/i)
  t.equal(app.sse.clientCount(), 2)
  await checkReceives(t, app.sse, second)

  let disconnected = nextDisconnect(app)
  first.destroy()
  await disconnected
  const fourth = await openStream(t, port)
  await checkReceives(t, app.sse, fourth)
  t.equal((await request(t, port, { path: '/events' })).status, 503)

  disconnected = nextDisconnect(app)
  app.sse.clients()[0]!.close()
  await disconnected
  await openStream(t, port)
  t.equal(app.sse.clientCount(), 2)
})

t.test('a stream that could not be opened does not count', async t => {
  const app = await buildApp(t, { maxClients: 1, maxChannelsPerClient: 1 })
  let fails = true
  app.addHook('onSend', async (_request, reply) => {
    if (fails && reply.getHeader('content-type') === 'text/event-stream') throw new Error('the hook failed')
  })
  app.get('/crowded', (_request, reply) => { reply.sse(['a', 'b']) })
  const port = await serve(app)
  t.equal((await request(t, port, { path: '/crowded' })).status, 400)
  t.equal((await request(t, port, { path: '/events' })).status, 500)
  t.equal((await request(t, port, { path: '/events', headers: { accept: 'image/png' } })).status, 406)
  fails = false
  await openStream(t, port)
})

t.test('Retry-After has whole seconds, and a browser\'s own delay if there is no retry', async t => {
  for (const [retry, told] of [[null, '3'], [3000, '3'], [1, '1'], [0, '0']] as const) {
    const app = await buildApp(t, { maxClients: 0, retry })
    const client = await request(t, await serve(app), { path: '/events' })
    t.equal(client.status, 503)
    t.equal(client.header('retry-after'), told)
  }
})

t.test('a closing hub answers 503 with Retry-After to requests that still arrive', async t => {
  const app = await buildApp(t)
  const codes: unknown[] = []
  app.setErrorHandler((error: Error & { code: string, statusCode: number }, _request, reply) => {
    codes.push(error.code)
    reply.code(error.statusCode).send('later')
  })
  let proceed = (): void => {}
  const closing = new Promise<void>(resolve => { proceed = resolve })
  let entered = (): void => {}
  const inHandler = new Promise<void>(resolve => { entered = resolve })
  app.get('/slow', async (_request, reply) => {
    entered()
    await closing
    return reply.sse()
  })
  // This hook runs after the hub's own.
  app.addHook('preClose', async () => proceed())
  const client = new RawClient(await serve(app), { path: '/slow' })
  t.teardown(() => client.destroy())
  await inHandler
  const closed = app.close()
  await client.until(() => client.head !== '')
  t.equal(client.status, 503)
  t.equal(client.header('retry-after'), '3')
  t.same(codes, ['SSE_ERR_CLOSED'])
  await closed
})

t.test('a refused stream that the application answers otherwise has no Retry-After, and is logged as any request', async t => {
  const ways: Record<string, (app: FastifyInstance) => void> = {
    '/caught': app => app.get('/caught', async (_request, reply) => {
      try {
        return reply.sse()
      } catch {
        reply.log.error('the application\'s own line')
        return { poll: true }
      }
    }),
    '/caught-later': app => app.get('/caught-later', (_request, reply) => {
      try {
        reply.sse()
      } catch {
        setImmediate(() => {
          reply.log.error('the application\'s own line')
          reply.send({ poll: true })
        })
      }
    }),
    '/handled': app => app.get('/handled', {
      errorHandler: (_error, _request, reply) => {
        reply.log.error('the application\'s own line')
        reply.send({ poll: true })
      }
    }, (_request, reply) => { reply.sse() })
  }
  for (const [path, add] of Object.entries(ways)) {
    const log = new MemoryLog()
    const app = await buildApp(t, { maxClients: 0 }, { loggerInstance: log.logger })
    add(app)
    const client = await request(t, await listen(app), { path })
    await client.until(() => client.text === '{"poll":true}')
    t.equal(client.status, 200, path)
    t.equal(client.header('retry-after'), undefined)
    await log.line(({ msg }) => msg === 'request completed')
    t.same(log.lines.filter(({ plugin }) => plugin === undefined).map(({ msg }) => msg).filter(msg => !msg?.startsWith('Server listening')),
      ['incoming request', 'the application\'s own line', 'request completed'])
  }
})

t.test('a refused stream has Retry-After and no line of Fastify\'s, whoever gives Fastify the error, and with any logger', async t => {
  const ways: Record<string, (app: FastifyInstance) => void> = {
    '/thrown': app => app.get('/thrown', (_request, reply) => { reply.sse() }),
    '/rejected': app => app.get('/rejected', async (_request, reply) => reply.sse()),
    '/sent': app => app.get('/sent', (_request, reply) => {
      try {
        reply.sse()
      } catch (error) {
        reply.send(error)
      }
    }),
    '/handed-on': app => app.get('/handed-on', { errorHandler: (error, _request, reply) => { reply.send(error) } }, (_request, reply) => { reply.sse() })
  }
  for (const [path, add] of Object.entries(ways)) {
    const logger = new PrivateLogger()
    const app = await buildApp(t, { maxClients: 0 }, { loggerInstance: logger as never })
    add(app)
    const client = await request(t, await listen(app), { path })
    t.equal(client.status, 503, path)
    t.equal(client.header('retry-after'), '3')
    await client.until(() => client.text.includes('SSE_ERR_TOO_MANY_CLIENTS'))
    await app.close()
    t.same(logger.lines.filter(line => /request completed|streams are taken/.test(line)), [])
    t.ok(logger.lines.includes('incoming request'))
  }
})

/** A logger whose methods need it as their `this`. */
class PrivateLogger {
  readonly #lines: string[] = []
  level = 'info'

  get lines (): readonly string[] {
    return this.#lines
  }

  #add (...entry: unknown[]): void {
    this.#lines.push(String(entry.at(-1)))
  }

  fatal (...entry: unknown[]): void { this.#add(...entry) }
  error (...entry: unknown[]): void { this.#add(...entry) }
  warn (...entry: unknown[]): void { this.#add(...entry) }
  info (...entry: unknown[]): void { this.#add(...entry) }
  debug (...entry: unknown[]): void { this.#add(...entry) }
  trace (...entry: unknown[]): void { this.#add(...entry) }
  silent (): void {}
  child (): this { return this }
}
