// The time limits of the HTTP server. None of them cuts a healthy stream, and each works again after the stream. To see that a
// limit has passed, a test opens another connection after the stream and waits until the limit cuts it.
import { once } from 'node:events'
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import { Transform, type Readable } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import type { SSEClient, SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen, nextClient } from '../support/app.js'
import { selfSigned } from '../support/certificate.js'
import { nextDisconnect, recordDisconnects } from '../support/disconnects.js'
import { Http2Stream } from '../support/http2-stream.js'
import { parseEvents, RawClient, requestText, type RawRequest } from '../support/raw-client.js'
import { parseResponses } from '../support/responses.js'
import { checkReceives, openStream } from '../support/streams.js'

interface Served {
  readonly app: FastifyInstance
  readonly port: number
}

/** There are no heartbeats unless a test asks for them. Otherwise they might keep the stream open. */
async function serve (t: Test, server: object, options: SSEPluginOptions = {}, prepare = (_app: FastifyInstance): void => {}): Promise<Served> {
  const app = await buildApp(t, { heartbeatInterval: 0, ...options }, server as FastifyServerOptions)
  prepare(app)
  app.get('/events', (_request, reply) => { reply.sse('room') })
  app.route({ method: ['GET', 'POST'], url: '/plain', handler: async () => 'plain' })
  // It never answers, so only a limit ends its connection.
  app.get('/never', (_request, reply) => { reply.hijack() })
  return { app, port: await listen(app) }
}

/** Resolves when the server has cut a connection that is silent after a request. */
async function untilCut (t: Test, port: number, request: RawRequest): Promise<void> {
  const client = new RawClient(port, request)
  t.teardown(() => client.destroy())
  await client.untilClosed()
}

const NEVER = { path: '/never' }

/** For each limit, a request after which the limit cuts the connection. */
const LIMITS: Record<string, readonly [server: object, request: RawRequest]> = {
  // The body of this request never comes.
  requestTimeout: [{ requestTimeout: 100, http: { headersTimeout: 100, connectionsCheckingInterval: 20 } }, { method: 'POST', path: '/plain', headers: { 'content-type': 'text/plain', 'content-length': '5' } }],
  keepAliveTimeout: [{ keepAliveTimeout: 50 }, { path: '/plain' }],
  connectionTimeout: [{ connectionTimeout: 100 }, NEVER],
  'all limits at once': [
    { connectionTimeout: 100, requestTimeout: 100, keepAliveTimeout: 50, handlerTimeout: 100, http: { headersTimeout: 100, connectionsCheckingInterval: 20 } }, NEVER
  ]
}

for (const [name, [server, request]] of Object.entries(LIMITS)) {
  t.test(`${name} does not cut a stream that is silent for longer`, async t => {
    const { app, port } = await serve(t, server)
    const disconnects = recordDisconnects(app)
    const stream = await openStream(t, port)
    await untilCut(t, port, request)
    await checkReceives(t, app.sse, stream)
    await untilCut(t, port, request)
    await checkReceives(t, app.sse, stream)
    t.same(disconnects, [])
  })
}

t.test('connectionTimeout', async t => {
  const LIMITED = { connectionTimeout: 100 }

  t.test('does not cut a stream over TLS', async t => {
    const { key, cert } = selfSigned()
    const { app, port } = await serve(t, { ...LIMITED, https: { key, cert } })
    const open = (path: string): RawClient => {
      const raw = new RawClient(connectTls({ port, host: '127.0.0.1', ca: cert }), { path })
      t.teardown(() => raw.destroy())
      return raw
    }
    const stream = open('/events')
    await stream.untilEvents(1)
    await open('/never').untilClosed()
    await checkReceives(t, app.sse, stream)
  })

  t.test('does not cut a stream that an onSend hook pipes into another one', async t => {
    const { app, port } = await serve(t, LIMITED, {}, app => app.addHook('onSend', async (_request, _reply, payload) => {
      return (payload as Readable).pipe(new Transform({ transform: (chunk, _encoding, done) => done(null, chunk) }))
    }))
    const stream = await openStream(t, port)
    await untilCut(t, port, NEVER)
    await checkReceives(t, app.sse, stream)
  })

  t.test('is back while an error is answered, if a hook has read the stream and failed', async t => {
    let limits: Array<number | undefined> = []
    const { port } = await serve(t, LIMITED, {}, app => {
      app.addHook('onSend', async (request, _reply, payload) => {
        if (typeof (payload as Readable).pipe !== 'function') return payload
        const { socket } = request.raw
        limits = [socket.timeout]
        // The stream opens when it is read, and lifts the limit.
        await new Promise(resolve => (payload as Readable).once('data', resolve))
        limits.push(socket.timeout)
        throw new Error('the hook failed')
      })
      app.setErrorHandler((_error, request, reply) => {
        limits.push(request.raw.socket.timeout)
        reply.code(500).send('failed')
      })
    })
    const raw = new RawClient(port, { path: '/events' })
    t.teardown(() => raw.destroy())
    await raw.until(() => raw.text === 'failed')
    t.same(limits, [100, 0, 100])
  })

  t.test('does not cut two pipelined streams', async t => {
    const { app, port } = await serve(t, LIMITED)
    const raw = await openStream(t, port)
    const connected = nextClient(app)
    raw.socket.write(requestText({ path: '/events' }))
    const second = await connected
    const [first] = app.sse.clients() as [SSEClient]
    await untilCut(t, port, NEVER)
    const { id } = await app.sse.send('both', 1)
    first.close()
    await second.send('begun', 1)
    await untilCut(t, port, NEVER)
    const { id: late } = await app.sse.send('late', 1)
    second.close()
    await raw.until(() => parseResponses(raw.received).length === 2)
    const ids = parseResponses(raw.received).map(({ body }) => parseEvents(body.toString()).map(({ id }) => id))
    t.equal(ids[0]!.at(-1), id)
    t.equal(ids[1]!.at(-1), late)
  })

  // Each of these tests would hang if the limit was not restored.
  t.test('works again for a request that was pipelined after a stream', { timeout: 20_000 }, async t => {
    const { app, port } = await serve(t, LIMITED)
    const raw = await openStream(t, port)
    raw.socket.write(requestText(NEVER))
    await untilCut(t, port, NEVER)
    t.equal(raw.closed, false)
    app.sse.clients()[0]!.close()
    await raw.untilClosed()
    t.equal(raw.complete, true)
  })

  t.test('works again for the next request', { timeout: 20_000 }, async t => {
    const { app, port } = await serve(t, LIMITED)
    const raw = await openStream(t, port)
    app.sse.clients()[0]!.close()
    await raw.until(() => raw.complete)
    raw.socket.write(requestText(NEVER))
    await raw.untilClosed()
  })

  t.test('works again between requests if keepAliveTimeout is off', { timeout: 20_000 }, async t => {
    const { app, port } = await serve(t, LIMITED)
    app.server.keepAliveTimeout = 0
    const raw = await openStream(t, port)
    app.sse.clients()[0]!.close()
    await raw.until(() => raw.complete)
    await raw.untilClosed()
  })

  t.test('does not apply between requests if keepAliveTimeout does', async t => {
    const { app, port } = await serve(t, LIMITED)
    const raw = await openStream(t, port)
    app.sse.clients()[0]!.close()
    await raw.until(() => raw.complete)
    await untilCut(t, port, NEVER)
    raw.socket.write(requestText({ path: '/plain' }))
    await raw.until(() => parseResponses(raw.received).length === 2)
    t.equal(parseResponses(raw.received)[1]!.body.toString(), 'plain')
  })

  t.test('does not change that a client that does not read is stalled', async t => {
    const { app, port } = await serve(t, LIMITED, { stallTimeout: 300, maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 })
    const raw = await openStream(t, port)
    raw.pause()
    const gone = nextDisconnect(app)
    while (app.sse.stats().bufferedBytes < 200_000) await app.sse.send('filling', 'd'.repeat(60_000), { raw: true })
    t.equal((await gone).reason, 'stalled')
  })
})

t.test('HTTP/2', async t => {
  async function session (t: Test, port: number): Promise<ClientHttp2Session> {
    const session = connectHttp2(`http://127.0.0.1:${port}`)
    t.teardown(() => session.destroy())
    session.on('error', () => {})
    await once(session, 'connect')
    return session
  }

  async function checkAlive (t: Test, { app }: Served, stream: Http2Stream): Promise<void> {
    const { id } = await app.sse.send('late', 1)
    await stream.until(() => stream.events.at(-1)!.id === id)
    t.equal(stream.closed, false)
  }

  // Fastify calls `session.close()`: there are no new streams, and open streams go on.
  t.test('http2SessionTimeout: a silent session takes no more streams, and its open streams go on', async t => {
    const served = await serve(t, { http2: true, http2SessionTimeout: 100 })
    const connection = await session(t, served.port)
    const told = once(connection, 'goaway')
    const streams = [new Http2Stream(connection, '/events'), new Http2Stream(connection, '/events')]
    for (const stream of streams) await stream.untilEvents(1)
    await told
    for (const stream of streams) await checkAlive(t, served, stream)
    // In versions up to Node 24 the call throws. From Node 26 on, its stream emits the error.
    await t.rejects(async () => { await once(connection.request({ ':path': '/events' }), 'response') }, { code: 'ERR_HTTP2_GOAWAY_SESSION' })
    const another = new Http2Stream(await session(t, served.port), '/events')
    await another.untilEvents(1)
    await checkAlive(t, served, streams[0]!)
    for (const stream of streams) stream.stream.close()
    await once(connection, 'close')
  })

  // With this limit, Node destroys the session with all its streams. Fastify sets it to the value of http2SessionTimeout.
  t.test('connectionTimeout: heartbeats keep a session open whose streams have no events for longer', async t => {
    const served = await serve(t, { http2: true, connectionTimeout: 2000, http2SessionTimeout: 2000 }, { heartbeatInterval: 50 })
    const disconnects = recordDisconnects(served.app)
    const stream = new Http2Stream(await session(t, served.port), '/events')
    await stream.untilEvents(1)
    const silent = await session(t, served.port)
    new Http2Stream(silent, '/never').stream.resume()
    await once(silent, 'close')
    await checkAlive(t, served, stream)
    t.same(disconnects, [])
  })
})
