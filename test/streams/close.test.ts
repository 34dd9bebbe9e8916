// What happens to streams, requests and publishes when the app closes.
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import sse, { SSE_ERR_CLOSED, type SSEConnectOptions, type SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen, nextClient, portOf } from '../support/app.js'
import { recordDisconnects } from '../support/disconnects.js'
import { Http2Stream } from '../support/http2-stream.js'
import { parseEvents, RawClient, requestText, type RawRequest } from '../support/raw-client.js'
import { parseResponses } from '../support/responses.js'
import { ended, spawnProgram } from '../support/spawn-program.js'

interface Streaming {
  readonly app: FastifyInstance
  readonly port: number
  /** The server's ends of the streams in `stuck`. */
  readonly stuck: ServerResponse[]
}

async function streaming (t: Test, options: SSEPluginOptions = {}, server: object = {}, connect: SSEConnectOptions = {}): Promise<Streaming> {
  const app = await buildApp(t, options, server as FastifyServerOptions)
  const stuck: ServerResponse[] = []
  app.get('/events', (_request, reply) => { reply.sse('room', connect) })
  app.get('/stuck', (_request, reply) => {
    stuck.push(reply.raw)
    reply.sse('stuck', { broadcast: false })
  })
  return { app, port: await listen(app), stuck }
}

function open (t: Test, port: number, request: RawRequest = {}): RawClient {
  const raw = new RawClient(port, { path: '/events', ...request })
  t.teardown(() => raw.destroy())
  return raw
}

/** The last lines of a stream that was shut down. */
const FAREWELL = /\n\nretry: (\d+)\n\n$/

/** The milliseconds in a stream's last `retry` line, or `NaN` if the stream does not end with one. */
function farewell (text: string): number {
  return Number(FAREWELL.exec(text)?.[1])
}

t.test('app.close() ends an open stream with its own retry, and resolves', async t => {
  const { app, port } = await streaming(t, { retry: 1000, reconnectSpread: 500 })
  const disconnects = recordDisconnects(app)
  const raw = open(t, port)
  await raw.untilEvents(1)
  const [client] = app.sse.clients()
  const { signal } = client!
  await app.close()
  await raw.untilClosed()
  t.equal(raw.complete, true)
  const wait = farewell(raw.text)
  t.ok(wait >= 1000 && wait <= 1500, `told to wait ${wait} ms`)
  t.equal(disconnects.length, 1)
  t.equal(disconnects[0]!.client, client)
  t.equal(disconnects[0]!.reason, 'shutdown')
  t.equal(signal.aborted, true)
  t.equal(app.sse.clientCount(), 0)
})

t.test('app.close() with 1,000 open streams, ten of which do not read', async t => {
  const STREAMS = 990
  const { app, port, stuck } = await streaming(t, {
    retry: 2000, reconnectSpread: 4000, closeTimeout: 1500, maxBufferedBytes: 64 * 1024 * 1024, historySize: 0
  })
  const deaf = Array.from({ length: 10 }, () => {
    const raw = open(t, port, { path: '/stuck' })
    raw.pause()
    return raw
  })
  const raws = Array.from({ length: STREAMS }, () => open(t, port))
  while (app.sse.clientCount() < STREAMS + deaf.length) await nextClient(app)
  for (const raw of raws) await raw.untilEvents(1)
  while (!stuck.every(({ socket }) => socket!.writableLength > 0)) {
    await app.sse.toChannel('stuck', 'filling', 'd'.repeat(60_000), { raw: true })
  }
  const stuckSockets = stuck.map(({ socket }) => socket!)
  const disconnects = recordDisconnects(app)
  const published = Array.from({ length: 200 }, (_, number) => app.sse.toChannel('room', 'last', { number }, { transient: true }))
  await app.close()
  t.same((await Promise.all(published)).map(({ recipients }) => recipients), Array(200).fill(STREAMS))
  t.ok(stuckSockets.every(({ destroyed }) => destroyed), 'the sockets that took nothing are destroyed')
  for (const raw of raws) await raw.untilClosed()
  const expected = Array.from({ length: 200 }, (_, number) => JSON.stringify({ number })).join()
  const whole = raws.filter(raw => raw.complete && raw.events.slice(1).map(({ data }) => data).join() === expected)
  t.equal(whole.length, STREAMS, 'every stream that reads got everything, and its end')
  const waits = raws.map(raw => farewell(raw.text))
  t.ok(waits.every(wait => wait >= 2000 && wait <= 6000), 'every stream was told how long to wait')
  // 990 random numbers out of 4,001 have about 870 different values.
  t.ok(new Set(waits).size > 700, `${new Set(waits).size} different waits`)
  t.ok(Math.min(...waits) < 2500 && Math.max(...waits) > 5500, 'they fill the spread')
  t.equal(disconnects.length, STREAMS + deaf.length)
  t.ok(disconnects.every(({ reason }) => reason === 'shutdown'))
  t.match(app.sse.stats(), { clients: 0, channels: 0, bufferedBytes: 0 })
})

t.test('a stream that reads late, but before closeTimeout, gets everything', async t => {
  const { app, port, stuck } = await streaming(t, { closeTimeout: 60_000, maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 })
  const raw = open(t, port, { path: '/stuck' })
  await raw.untilEvents(1)
  raw.pause()
  let published = 0
  while (stuck[0]!.socket!.writableLength === 0) {
    await app.sse.toChannel('stuck', 'filling', 'd'.repeat(60_000), { raw: true })
    published++
  }
  for (let more = 0; more < 3; more++, published++) app.sse.toChannel('stuck', 'filling', 'd'.repeat(60_000), { raw: true })
  const disconnected = once(app.sse as never, 'disconnect')
  const closed = app.close()
  await disconnected
  const parts = [raw.received]
  raw.socket.removeAllListeners('data')
  raw.socket.on('data', data => parts.push(data))
  raw.resume()
  await closed
  await raw.untilClosed()
  const [response] = parseResponses(Buffer.concat(parts))
  const text = response!.body.toString()
  t.equal(parseEvents(text).length, 1 + published)
  t.ok(farewell(text) >= 3000)
})

t.test('the retry at the end starts from the stream\'s own', async t => {
  const { app, port } = await streaming(t, { retry: 1000, reconnectSpread: 100 }, {}, { retry: 50_000 })
  const raw = open(t, port)
  await raw.untilEvents(1)
  await app.close()
  await raw.untilClosed()
  const wait = farewell(raw.text)
  t.ok(wait >= 50_000 && wait <= 50_100, `told to wait ${wait} ms`)
})

t.test('a stream without a retry gets one at the end, so that not all clients come back at once', async t => {
  const { app, port } = await streaming(t, { retry: null, reconnectSpread: 100 })
  const raw = open(t, port)
  await raw.untilEvents(1)
  t.notMatch(raw.text, /^retry:/m)
  await app.close()
  await raw.untilClosed()
  t.ok(farewell(raw.text) >= 0)
})

t.test('a stream whose replay is not complete gets the rest of it before the end', async t => {
  const app = await buildApp(t, { historySize: 400 })
  app.get('/events', (_request, reply) => { reply.sse('room') })
  for (let number = 0; number < 300; number++) await app.sse.toChannel('room', 'kept', `${number}`.padEnd(1000))
  const port = await listen(app)
  const connected = nextClient(app)
  const raw = open(t, port)
  await connected
  await app.close()
  await raw.untilClosed()
  t.equal(raw.complete, true)
  t.equal(raw.events.length, 301)
  t.ok(farewell(raw.text) >= 3000)
})

t.test('while the hub closes', async t => {
  /** An app with a stream that delays the close until `proceed` is called. */
  async function closing (t: Test, server: object = {}): Promise<Streaming & { proceed: () => Promise<void> }> {
    const built = await streaming(t, { closeTimeout: 60_000, maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 }, server)
    const { app, port, stuck } = built
    const raw = open(t, port, { path: '/stuck' })
    await raw.untilEvents(1)
    raw.pause()
    while (stuck[0]!.socket!.writableLength === 0) await app.sse.toChannel('stuck', 'filling', 'd'.repeat(60_000), { raw: true })
    const disconnected = once(app.sse as never, 'disconnect')
    const closed = app.close()
    await disconnected
    return {
      ...built,
      proceed: async () => {
        raw.destroy()
        await closed
      }
    }
  }

  t.test('new requests get 503', async t => {
    const { port, proceed } = await closing(t)
    const raw = open(t, port)
    await raw.until(() => raw.head !== '')
    t.equal(raw.status, 503)
    await proceed()
  })

  t.test('reply.sse() throws SSE_ERR_CLOSED, answered with 503 and Retry-After', async t => {
    const { port, proceed } = await closing(t, { return503OnClosing: false })
    const raw = open(t, port)
    await raw.until(() => raw.head !== '' && raw.received.toString().includes('SSE_ERR_CLOSED'))
    t.equal(raw.status, 503)
    t.equal(raw.header('retry-after'), '3')
    await proceed()
  })

  t.test('a handler that was busy when the close began gets the same error', async t => {
    const app = await buildApp(t)
    let proceed = (): void => {}
    const busy = new Promise<void>(resolve => { proceed = resolve })
    let failure: unknown
    app.get('/busy', async (_request, reply) => {
      await busy
      try {
        reply.sse()
      } catch (error) {
        failure = error
        throw error
      }
    })
    app.get('/open', (_request, reply) => { reply.sse() })
    const port = await listen(app)
    const raw = open(t, port, { path: '/busy' })
    await once(app.server, 'request')
    const other = open(t, port, { path: '/open' })
    await other.untilEvents(1)
    app.sse.on('disconnect', () => proceed())
    await app.close()
    await raw.untilClosed()
    t.equal(raw.status, 503)
    t.ok(failure instanceof SSE_ERR_CLOSED)
  })
})

t.test('after the close', async t => {
  const { app, port } = await streaming(t)
  const raw = open(t, port)
  await raw.untilEvents(1)
  const [client] = app.sse.clients()
  await app.close()

  t.test('every publish rejects with SSE_ERR_CLOSED', async t => {
    await t.rejects(app.sse.send('late', 1), { code: 'SSE_ERR_CLOSED' })
    await t.rejects(app.sse.toChannel('room', 'late', 1), { code: 'SSE_ERR_CLOSED' })
    await t.rejects(app.sse.toChannels(['room', 'hall'], 'late', 1), { code: 'SSE_ERR_CLOSED' })
    await t.rejects(app.sse.toClient(client!.id, 'late', 1, { transient: true }), { code: 'SSE_ERR_CLOSED' })
    // It is not awaited: an unhandled rejection would fail the test.
    app.sse.send('late', 2)
    await new Promise(resolve => setImmediate(resolve))
  })

  t.test('a client from before the close sends nothing', async t => {
    t.equal(await client!.send('late', 1), false)
    client!.close()
  })
})

t.test('a disconnect listener may publish during the shutdown', async t => {
  const { app, port } = await streaming(t)
  const raws = Array.from({ length: 5 }, () => open(t, port))
  for (const raw of raws) await raw.untilEvents(1)
  const published: Array<Promise<{ recipients: number }>> = []
  app.sse.on('disconnect', client => { published.push(app.sse.toChannel('room', 'left', client.id, { transient: true })) })
  await app.close()
  // All clients were removed before the first listener heard of it. So closing n streams costs at most n deliveries, not n².
  t.same((await Promise.all(published)).map(({ recipients }) => recipients), [0, 0, 0, 0, 0])
  t.equal(app.sse.stats().published, 5)
  for (const raw of raws) {
    await raw.untilClosed()
    t.equal(raw.events.length, 1)
    t.ok(farewell(raw.text) >= 3000)
  }
})

t.test('a disconnect listener that throws or rejects does not keep the close from ending', async t => {
  const { app, port } = await streaming(t)
  const raws = [open(t, port), open(t, port)]
  for (const raw of raws) await raw.untilEvents(1)
  app.sse.on('disconnect', () => { throw new Error('of the application') })
  app.sse.on('disconnect', async () => { throw new Error('of the application, later') })
  await app.close()
  for (const raw of raws) {
    await raw.untilClosed()
    t.equal(raw.complete, true)
  }
})

t.test('a reply whose onSend hook never ends does not keep the close from ending', async t => {
  const app = await buildApp(t, { closeTimeout: 50 })
  app.addHook('onSend', async (_request, _reply, payload) => {
    await new Promise(() => {})
    return payload
  })
  app.get('/events', (_request, reply) => { reply.sse('room') })
  const port = await listen(app)
  const connected = nextClient(app)
  const raw = open(t, port)
  const client = await connected
  const sent = client.send('own', 1)
  const disconnects = recordDisconnects(app)
  await app.close()
  await raw.untilClosed()
  t.equal(raw.received.length, 0)
  t.equal(await sent, false)
  t.same(disconnects.map(({ reason }) => reason), ['shutdown'])
})

t.test('a pipelined stream whose turn never comes does not keep the close from ending', async t => {
  const app = await buildApp(t, { closeTimeout: 50 })
  app.get('/never', (_request, reply) => { reply.hijack() })
  app.get('/events', (_request, reply) => { reply.sse('room') })
  const port = await listen(app)
  const connected = nextClient(app)
  const raw = open(t, port, { path: '/never' })
  raw.socket.write(requestText({ path: '/events' }))
  await connected
  const disconnects = recordDisconnects(app)
  await app.close()
  await raw.untilClosed()
  t.equal(raw.received.length, 0)
  t.same(disconnects.map(({ reason }) => reason), ['shutdown'])
})

t.test('HTTP/2', async t => {
  interface Session extends Streaming {
    readonly streams: [Http2Stream, Http2Stream]
    readonly deaf: Http2Stream | null
  }

  /** Two streams on one session. With `deaf`, there is also one that does not read. */
  async function session (t: Test, server: object, { deaf }: { deaf: boolean }): Promise<Session> {
    const built = await streaming(t, { closeTimeout: 300, maxBufferedBytes: 64 * 1024 * 1024 }, { http2: true, ...server })
    const { app, port } = built
    const session = connectHttp2(`http://127.0.0.1:${port}`)
    session.on('error', () => {})
    t.teardown(() => session.destroy())
    await once(session, 'connect')
    session.setLocalWindowSize(16 * 1024 * 1024)
    const streams = [new Http2Stream(session, '/events'), new Http2Stream(session, '/events')] as Session['streams']
    for (const stream of streams) await stream.untilEvents(1)
    if (!deaf) return { ...built, streams, deaf: null }
    const stuck = new Http2Stream(session, '/stuck')
    await stuck.untilEvents(1)
    stuck.stream.pause()
    while (app.sse.stats().bufferedBytes < 100_000) await app.sse.toChannel('stuck', 'filling', 'd'.repeat(60_000), { raw: true })
    return { ...built, streams, deaf: stuck }
  }

  async function checkCloses (t: Test, { app, streams }: Session): Promise<void> {
    const open = app.sse.clientCount()
    const disconnects = recordDisconnects(app)
    for (let number = 0; number < 20; number++) app.sse.toChannel('room', 'last', number)
    await app.close()
    for (const stream of streams) {
      await stream.untilClosed()
      t.equal(stream.ended, true)
      t.same(stream.events.slice(1).map(({ data }) => data), Array.from({ length: 20 }, (_, number) => String(number)))
      t.ok(farewell(stream.text) >= 3000)
    }
    t.same(disconnects.map(({ reason }) => reason), Array(open).fill('shutdown'))
    t.equal(app.sse.stats().bufferedBytes, 0)
  }

  // A close that hangs would delay the rest of the file, so these tests have short timeouts.
  t.test('streams end complete', { timeout: 5000 }, async t => {
    await checkCloses(t, await session(t, { forceCloseConnections: true }, { deaf: false }))
  })

  t.test('a stream whose window is used up gets the rest and one last retry when it reads again', { timeout: 5000 }, async t => {
    const { app, streams: [stream, other] } = await session(t, { forceCloseConnections: true }, { deaf: false })
    stream.stream.pause()
    // The writes are small, so that the stream seems to take all of them while its window holds some back.
    const [client] = app.sse.clients().filter(({ id }) => stream.text.includes(id))
    const data = 'd'.repeat(10_000)
    for (let number = 0; number < 7; number++) await client!.send('filling', data, { raw: true })
    const closed = app.close()
    await other.untilClosed()
    stream.stream.resume()
    await closed
    await stream.untilClosed()
    t.equal(stream.ended, true)
    t.equal(stream.events.length, 8)
    t.ok(farewell(stream.text) >= 3000)
    t.equal(stream.text.match(/^retry: /gm)!.length, 2, 'one at the start, one at the end')
  })

  t.test('a session that outlives its streams does not keep the close from ending', { timeout: 5000 }, async t => {
    await checkCloses(t, await session(t, {}, { deaf: false }))
  })

  t.test('a stream that does not read does not keep the close from ending', { timeout: 5000 }, async t => {
    await checkCloses(t, await session(t, {}, { deaf: true }))
  })
})

t.test('an injected stream ends', async t => {
  const app = await buildApp(t)
  app.get('/events', (_request, reply) => { reply.sse('room') })
  const connected = nextClient(app)
  const answered = app.inject('/events')
  await connected
  await app.sse.toChannel('room', 'message', 1)
  await app.close()
  const { payload } = await answered
  t.same(parseEvents(payload).map(({ event }) => event), ['sse:open', 'message'])
  t.ok(farewell(payload) >= 3000)
})

t.test('the streams of a child context with its own hub end as well', async t => {
  const app = await buildApp(t, { retry: 1000, reconnectSpread: 10 })
  app.get('/outer', (_request, reply) => { reply.sse() })
  await app.register(async child => {
    await child.register(sse, { retry: 9000, reconnectSpread: 10 })
    child.get('/inner', (_request, reply) => { reply.sse() })
  })
  const port = await listen(app)
  const raws = [open(t, port, { path: '/outer' }), open(t, port, { path: '/inner' })]
  for (const raw of raws) await raw.untilEvents(1)
  await app.close()
  for (const raw of raws) await raw.untilClosed()
  const [outer, inner] = raws.map(raw => farewell(raw.text))
  t.ok(outer! >= 1000 && outer! <= 1010)
  t.ok(inner! >= 9000 && inner! <= 9010)
})

t.test('an app that never listened, or was never ready, closes', async t => {
  const ready = Fastify()
  await ready.register(sse)
  await ready.ready()
  await ready.sse.send('kept', 1)
  await ready.close()
  await t.rejects(ready.sse.send('late', 1), { code: 'SSE_ERR_CLOSED' })

  const registered = Fastify()
  await registered.register(sse)
  await registered.close()
  await t.rejects(registered.sse.send('late', 1), { code: 'SSE_ERR_CLOSED' })

  const untouched = Fastify()
  untouched.register(sse)
  await untouched.close()
})

t.test('closing twice does the same as closing once', async t => {
  const { app, port } = await streaming(t)
  const raw = open(t, port)
  await raw.untilEvents(1)
  const disconnects = recordDisconnects(app)
  await Promise.all([app.close(), app.close()])
  await app.close()
  t.equal(disconnects.length, 1)
})

t.test('a client that leaves during the shutdown does not delay it', async t => {
  const { app, port, stuck } = await streaming(t, { closeTimeout: 600_000, maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 })
  const raw = open(t, port, { path: '/stuck' })
  await raw.untilEvents(1)
  raw.pause()
  while (stuck[0]!.socket!.writableLength === 0) await app.sse.toChannel('stuck', 'filling', 'd'.repeat(60_000), { raw: true })
  const disconnects = recordDisconnects(app)
  const disconnected = once(app.sse as never, 'disconnect')
  const closed = app.close()
  await disconnected
  raw.socket.resetAndDestroy()
  await closed
  t.same(disconnects.map(({ reason }) => reason), ['shutdown'])
})

t.test('a keep-alive connection whose stream has ended is closed like any idle connection', async t => {
  const { app, port } = await streaming(t)
  const raw = open(t, port)
  await raw.untilEvents(1)
  app.sse.clients()[0]!.close()
  await raw.until(() => raw.complete)
  t.equal(raw.closed, false)
  await app.close()
  await raw.untilClosed()
  t.notMatch(raw.text, FAREWELL)
})

for (const [name, what] of [
  ['exits-after-close', 'a process that closed its app ends by itself'],
  ['exits-without-close', 'the hub\'s timers alone keep no process alive']
] as const) {
  t.test(what, async t => {
    const { code, stdout, stderr } = await ended(spawnProgram(t, `test/support/processes/${name}.ts`))
    t.equal(code, 0, stderr)
    t.match(stdout, /^(?:closed|ready)\n/)
  })
}

t.test('the heartbeats of an open stream stop when the app has closed', async t => {
  const { app, port } = await streaming(t, { heartbeatInterval: 40 })
  const raw = open(t, port)
  await raw.until(() => raw.text.includes('\n:\n'))
  t.equal(portOf(app), port)
  await app.close()
  await raw.untilClosed()
  t.ok(farewell(raw.text) >= 3000, 'nothing comes behind the farewell')
})
