// How streams end: the client leaves, the server closes the stream, or the connection vanishes.
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import type { SSEClient, SSEConnectOptions, SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen, nextClient } from '../support/app.js'
import { nextDisconnect, recordDisconnects, type Disconnect } from '../support/disconnects.js'
import { Http2Stream } from '../support/http2-stream.js'
import { ERROR, MemoryLog } from '../support/memory-log.js'
import { parseEvents, RawClient, requestText, type RawRequest } from '../support/raw-client.js'
import { parseResponses } from '../support/responses.js'

interface Streaming {
  readonly app: FastifyInstance
  readonly port: number
  readonly disconnects: Disconnect[]
  /** The server's ends of the streams, newest last. */
  readonly responses: ServerResponse[]
}

async function streaming (t: Test, options: SSEPluginOptions = {}, server: object = {}, connect: SSEConnectOptions = {}): Promise<Streaming> {
  const app = await buildApp(t, options, server as FastifyServerOptions)
  const responses: ServerResponse[] = []
  app.get('/events', (_request, reply) => {
    responses.push(reply.raw)
    reply.sse(['room', 'hall'], connect)
  })
  app.get('/plain', async () => ({ plain: 'text' }))
  const port = await listen(app)
  return { app, port, disconnects: recordDisconnects(app), responses }
}

function open (t: Test, port: number, request: RawRequest = {}): RawClient {
  const raw = new RawClient(port, { path: '/events', ...request })
  t.teardown(() => raw.destroy())
  return raw
}

/** Sends another request. The server answers it after everything that came before. */
async function checkServes (t: Test, port: number): Promise<void> {
  const raw = open(t, port, { path: '/plain' })
  await raw.until(() => parseResponses(raw.received).length === 1)
  t.equal(raw.status, 200)
}

function checkNobody (t: Test, app: FastifyInstance): void {
  t.equal(app.sse.clientCount(), 0)
  t.equal(app.sse.clientCount('room'), 0)
  t.equal(app.sse.clients().length, 0)
  t.equal(app.sse.channelClients('hall').length, 0)
  t.same(app.sse.channels(), [])
  t.match(app.sse.stats(), { clients: 0, channels: 0, bufferedBytes: 0 })
}

/** Publishes until the server holds bytes back for a client that does not read. */
async function fill (app: FastifyInstance, refuses: () => boolean): Promise<number> {
  let published = 0
  while (!refuses()) {
    await app.sse.toChannel('room', 'filling', 'd'.repeat(60_000), { raw: true })
    published++
  }
  return published
}

/** Ways to leave, and the errors that Node reports for them on any server. */
const LEAVING: Array<[how: string, leave: (raw: RawClient) => void, resets: string[]]> = [
  ['closes its socket', raw => raw.destroy(), ['ECONNRESET', 'EPIPE']],
  ['resets its connection', raw => raw.socket.resetAndDestroy(), ['ECONNRESET', 'EPIPE']],
  ['half-closes its connection', raw => raw.socket.end(), []]
]

/** A list of the codes of the server's client errors. */
function recordClientErrors (app: FastifyInstance): string[] {
  const codes: string[] = []
  app.server.on('clientError', (error: NodeJS.ErrnoException) => codes.push(error.code ?? error.message))
  return codes
}

for (const [how, leave, resets] of LEAVING) {
  t.test(`a client that ${how} is removed, and listeners hear of it once`, async t => {
    const { app, port, disconnects } = await streaming(t)
    const clientErrors = recordClientErrors(app)
    const raw = open(t, port)
    await raw.untilEvents(1)
    const [client] = app.sse.clients() as [SSEClient]
    const { signal } = client
    t.same([client.closed, signal.aborted, app.sse.clientCount('room')], [false, false, 1])
    const gone = nextDisconnect(app)
    leave(raw)
    t.same(await gone, { client, reason: 'client' })
    t.equal(client.closed, true)
    t.equal(signal.aborted, true)
    checkNobody(t, app)
    t.equal((await app.sse.toChannel('room', 'late', 1)).recipients, 0)
    t.equal(await client.send('late', 2), false)
    t.equal(await client.stream(['late'], { event: 'late' }), false)
    client.join('later')
    t.same(app.sse.channels(), [], 'one that is gone joins nothing')
    client.close()
    await raw.untilClosed()
    await checkServes(t, port)
    t.equal(disconnects.length, 1)
    t.same(clientErrors.filter(code => !resets.includes(code)), [])
  })

  t.test(`an event that is published while a client ${how} causes no error of the server`, async t => {
    const { app, port, disconnects } = await streaming(t)
    const clientErrors = recordClientErrors(app)
    const raw = open(t, port)
    await raw.untilEvents(1)
    await app.sse.toChannel('room', 'first', 1)
    await raw.untilEvents(2)
    const gone = nextDisconnect(app)
    leave(raw)
    // It publishes in every turn of the event loop until the server has noticed. One publish comes between the FIN and its event.
    while (app.sse.clientCount() > 0) {
      app.sse.toChannel('room', 'meanwhile', 2)
      await new Promise(resolve => setImmediate(resolve))
    }
    t.equal((await gone).reason, 'client')
    await raw.untilClosed()
    await checkServes(t, port)
    t.equal(disconnects.length, 1)
    t.same(clientErrors.filter(code => !resets.includes(code)), [])
    checkNobody(t, app)
  })

  t.test(`pending calls of send() and stream() resolve to false when a client that does not read ${how}`, async t => {
    const { app, port, responses, disconnects } = await streaming(t, { maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 })
    const raw = open(t, port)
    await raw.untilEvents(1)
    const [client] = app.sse.clients() as [SSEClient]
    raw.pause()
    await fill(app, () => responses[0]!.socket!.writableLength > 0)
    let stopped = false
    async function * endless (): AsyncGenerator<string> {
      try {
        for (;;) yield 'token'.repeat(10_000)
      } finally {
        stopped = true
      }
    }
    const pending = [client.send('own', 1), client.send('own', 2), client.stream(endless(), { event: 'token' }), client.stream(endless(), { event: 'token' })]
    let settled = 0
    for (const promise of pending) promise.then(() => settled++)
    await checkServes(t, port)
    t.equal(settled, 0)
    leave(raw)
    // If there is a FIN, it comes after the bytes that are not read.
    t.same(await Promise.all(pending), [false, false, false, false])
    await checkServes(t, port)
    t.equal(stopped, true)
    t.same(disconnects.map(({ reason }) => reason), ['client'])
    checkNobody(t, app)
  })
}

t.test('a client whose FIN came with its request, or while its handler was busy, is never registered', async t => {
  const app = await buildApp(t)
  let connected = 0
  app.sse.on('connect', () => connected++)
  const disconnects = recordDisconnects(app)
  let proceed = (): void => {}
  let busy = new Promise<void>(resolve => { proceed = resolve })
  const clients: SSEClient[] = []
  app.get('/busy', async (_request, reply) => {
    await busy
    clients.push(reply.sse('room'))
  })
  app.get('/plain', async () => ({ plain: 'text' }))
  const port = await listen(app)
  for (const [, leave] of LEAVING) {
    const sockets = once(app.server, 'connection')
    const raw = open(t, port, { path: '/busy' })
    const [socket] = await sockets as [Socket]
    await once(app.server, 'request')
    leave(raw)
    // After a FIN, the server's socket emits 'end'. After the other ways to leave, it emits 'close'.
    await new Promise(resolve => socket.once('end', resolve).once('close', resolve))
    proceed()
    busy = new Promise<void>(resolve => { proceed = resolve })
    await raw.untilClosed()
    await checkServes(t, port)
  }
  t.equal(clients.length, 3)
  t.equal(connected, 0)
  t.equal(disconnects.length, 0)
  for (const client of clients) {
    t.equal(client.closed, true)
    t.equal(client.signal.aborted, true)
    t.equal(await client.send('late', 1), false)
  }
  checkNobody(t, app)
})

t.test('a write after a FIN and before the disconnect causes no client error', async t => {
  const { app, port, disconnects } = await streaming(t)
  const clientErrors = recordClientErrors(app)
  // This listener of the application runs before the plugin's. The events are so large that they are written at once.
  app.server.on('connection', (socket: Socket) => socket.on('end', () => {
    for (let number = 0; number < 4; number++) app.sse.toChannel('room', 'burst', 'b'.repeat(60_000), { transient: true })
  }))
  const raw = open(t, port)
  await raw.untilEvents(1)
  const gone = nextDisconnect(app)
  raw.socket.end()
  t.equal((await gone).reason, 'client')
  await raw.untilClosed()
  await checkServes(t, port)
  t.equal(disconnects.length, 1)
  t.same(clientErrors, [])
  checkNobody(t, app)
})

t.test('a FIN disconnects the client when it comes, not when everything is read or at the next sweep', async t => {
  const { app, port, responses } = await streaming(t, { maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 })
  for (const reads of [true, false]) {
    const raw = open(t, port)
    await raw.untilEvents(1)
    const { socket } = responses.at(-1)!
    if (!reads) {
      raw.pause()
      await fill(app, () => socket!.writableLength > 0)
    }
    const ended = once(socket!, 'end')
    raw.socket.end()
    await ended
    // A destroyed socket needs some turns of the event loop until it emits 'close'.
    for (let turn = 0; turn < 3; turn++) await new Promise(resolve => setImmediate(resolve))
    t.equal(app.sse.clientCount(), 0)
  }
})

t.test('if many clients leave at once, listeners hear of each once', async t => {
  const { app, port, disconnects } = await streaming(t)
  const raws = Array.from({ length: 60 }, () => open(t, port))
  for (const raw of raws) await raw.untilEvents(1)
  const clients = app.sse.clients()
  raws.forEach((raw, at) => LEAVING[at % LEAVING.length]![1](raw))
  while (disconnects.length < raws.length) await nextDisconnect(app)
  await checkServes(t, port)
  t.equal(disconnects.length, raws.length)
  t.same(new Set(disconnects.map(({ client }) => client)), new Set(clients))
  t.ok(disconnects.every(({ reason }) => reason === 'client'))
  checkNobody(t, app)
})

t.test('onRequestAbort runs if the client leaves, and onResponse if the server ends the stream', async t => {
  const app = await buildApp(t)
  const hooks: string[] = []
  app.addHook('onRequestAbort', async request => { hooks.push(`abort ${request.url}`) })
  app.addHook('onResponse', async request => { hooks.push(`response ${request.url}`) })
  app.get('/:name', (_request, reply) => { reply.sse() })
  const port = await listen(app)
  const leaves = open(t, port, { path: '/leaves' })
  await leaves.untilEvents(1)
  const gone = nextDisconnect(app)
  leaves.destroy()
  await gone
  const ended = open(t, port, { path: '/ended' })
  await ended.untilEvents(1)
  app.sse.clients()[0]!.close()
  await ended.until(() => ended.complete)
  const last = open(t, port, { path: '/last' })
  await last.untilEvents(1)
  t.same(hooks.filter(hook => !hook.endsWith('/last')).sort(), ['abort /leaves', 'response /ended'])
})

t.test('nothing is left of a client that leaves while an async onSend hook is pending', async t => {
  const app = await buildApp(t)
  let proceed = (): void => {}
  const pending = new Promise<void>(resolve => { proceed = resolve })
  let passed = 0
  app.addHook('onSend', async (request, _reply, payload) => {
    if (request.url === '/events') await pending
    passed++
    return payload
  })
  app.get('/events', (_request, reply) => { reply.sse(['room', 'hall']) })
  app.get('/plain', async () => ({ plain: 'text' }))
  const port = await listen(app)
  const disconnects = recordDisconnects(app)
  let sent: Promise<boolean> | undefined
  for (const [, leave] of LEAVING) {
    const connected = nextClient(app)
    const raw = open(t, port)
    const client = await connected
    sent = client.send('own', 1)
    const gone = nextDisconnect(app)
    leave(raw)
    t.same(await gone, { client, reason: 'client' })
    t.equal(await sent, false)
    checkNobody(t, app)
    await raw.untilClosed()
  }
  proceed()
  await checkServes(t, port)
  t.equal(passed, LEAVING.length + 1)
  t.equal(disconnects.length, LEAVING.length)
  t.equal((await app.sse.toChannel('room', 'late', 1)).recipients, 0)
})

t.test('close()', async t => {
  t.test('sends the waiting events and ends the stream completely', async t => {
    const { app, port, disconnects } = await streaming(t)
    const raw = open(t, port)
    await raw.untilEvents(1)
    const [client] = app.sse.clients() as [SSEClient]
    const sent = client.send('own', 'waits')
    const { signal } = client
    const ids = [app.sse.send('one', 1), app.sse.toChannel('room', 'two', 'x'.repeat(200_000)), app.sse.toChannel('hall', 'three', 3)]
    client.close()
    t.same(disconnects, [{ client, reason: 'server' }])
    t.same([client.closed, signal.aborted], [true, true])
    checkNobodyListed(t, app)
    t.equal((await app.sse.send('late', 4)).recipients, 0)
    await raw.until(() => raw.complete)
    t.same(raw.events.slice(1).map(({ event }) => event), ['own', 'one', 'two', 'three'])
    t.same(raw.events.slice(2).map(({ id }) => id), (await Promise.all(ids)).map(({ id }) => id))
    t.equal(await sent, true)
    client.close()
    await checkServes(t, port)
    t.equal(disconnects.length, 1)
    checkNobody(t, app)
  })

  t.test('sends the rest of the replay', async t => {
    const app = await buildApp(t, { historySize: 400 })
    app.get('/events', (_request, reply) => { reply.sse('room').close() })
    const ids: string[] = []
    for (let number = 0; number < 300; number++) ids.push((await app.sse.toChannel('room', 'kept', `${number}`.padEnd(1000))).id)
    const disconnects = recordDisconnects(app)
    const raw = open(t, await listen(app))
    await raw.until(() => raw.complete)
    t.equal(raw.events[0]!.event, 'sse:open')
    t.same(raw.events.slice(1).map(({ id }) => id), ids)
    t.same(disconnects.map(({ reason }) => reason), ['server'])
  })

  t.test('ends a stream that does not read when it reads again', async t => {
    const { app, port, responses, disconnects } = await streaming(t, { maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 })
    const raw = open(t, port)
    await raw.untilEvents(1)
    const [client] = app.sse.clients() as [SSEClient]
    raw.pause()
    const published = await fill(app, () => responses[0]!.socket!.writableLength > 0)
    const sent = client.send('last', 'of all')
    client.close()
    t.same(disconnects.map(({ reason }) => reason), ['server'])
    t.ok(app.sse.stats().bufferedBytes > 0)
    const parts = [raw.received]
    raw.socket.removeAllListeners('data')
    raw.socket.on('data', data => parts.push(data))
    raw.resume()
    t.equal(await sent, true)
    while (!parts.at(-1)!.includes('0\r\n\r\n')) await once(raw.socket, 'data')
    const [response] = parseResponses(Buffer.concat(parts))
    const events = parseEvents(response!.body.toString())
    t.equal(events.length, 1 + published + 1)
    t.equal(events.at(-1)!.event, 'last')
    checkNobody(t, app)
  })

  t.test('reports the client only once if it leaves before it has read everything, and send() resolves to false', async t => {
    const { app, port, responses, disconnects } = await streaming(t, { maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 })
    const raw = open(t, port)
    await raw.untilEvents(1)
    const [client] = app.sse.clients() as [SSEClient]
    raw.pause()
    await fill(app, () => responses[0]!.socket!.writableLength > 0)
    const sent = client.send('last', 'of all')
    client.close()
    raw.socket.resetAndDestroy()
    t.equal(await sent, false)
    await checkServes(t, port)
    t.same(disconnects.map(({ reason }) => reason), ['server'])
    checkNobody(t, app)
  })

  t.test('in a connect listener sends the greeting and ends the stream', async t => {
    const { app, port, disconnects } = await streaming(t)
    app.sse.on('connect', client => client.close())
    const raw = open(t, port)
    await raw.until(() => raw.complete)
    t.same(raw.events.map(({ event }) => event), ['sse:open'])
    t.same(disconnects.map(({ reason }) => reason), ['server'])
    checkNobody(t, app)
  })
})

/** Like `checkNobody`, but the last bytes may not have been sent. */
function checkNobodyListed (t: Test, app: FastifyInstance): void {
  t.equal(app.sse.clients().length, 0)
  t.same(app.sse.channels(), [])
}

t.test('cleanupDisconnected()', async t => {
  /** Closes a connection so that no listener hears of it. */
  function vanish (response: ServerResponse): void {
    const { socket } = response
    response.removeAllListeners()
    socket!.removeAllListeners()
    socket!.destroy()
  }

  t.test('removes the clients whose connection is gone without an event, and returns how many', async t => {
    const { app, port, responses, disconnects } = await streaming(t)
    const raws = [open(t, port), open(t, port), open(t, port)]
    for (const raw of raws) await raw.untilEvents(1)
    t.equal(app.sse.cleanupDisconnected(), 0)
    t.equal(app.sse.clientCount(), 3)
    const gone = responses.slice(0, 2).map(response => response)
    const sent = app.sse.clients().map(client => client.send('own', 1))
    for (const response of gone) vanish(response)
    t.equal(app.sse.clientCount(), 3, 'nothing has said so')
    t.equal(app.sse.cleanupDisconnected(), 2)
    t.same(disconnects.map(({ reason }) => reason), ['client', 'client'])
    t.equal(app.sse.clientCount(), 1)
    t.equal(app.sse.clientCount('room'), 1)
    t.equal(app.sse.cleanupDisconnected(), 0)
    t.same((await Promise.all(sent)).sort(), [false, false, true])
  })

  t.test('removes a client that vanished while its last bytes were being sent', async t => {
    const { app, port, responses, disconnects } = await streaming(t, { maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 })
    const raw = open(t, port)
    await raw.untilEvents(1)
    raw.pause()
    await fill(app, () => responses[0]!.socket!.writableLength > 0)
    const [client] = app.sse.clients() as [SSEClient]
    const sent = client.send('last', 1)
    client.close()
    vanish(responses[0]!)
    t.equal(app.sse.cleanupDisconnected(), 1)
    t.equal(await sent, false)
    t.same(disconnects.map(({ reason }) => reason), ['server'])
    checkNobody(t, app)
  })

  t.test('is called by the hub at intervals', async t => {
    const { app, port, responses } = await streaming(t, { heartbeatInterval: 40 })
    const raw = open(t, port)
    await raw.untilEvents(1)
    const gone = nextDisconnect(app)
    vanish(responses[0]!)
    t.equal((await gone).reason, 'client')
    checkNobody(t, app)
  })
})

t.test('HTTP/2', async t => {
  async function session (t: Test, port: number): Promise<ClientHttp2Session> {
    const session = connectHttp2(`http://127.0.0.1:${port}`)
    session.on('error', () => {})
    t.teardown(() => session.destroy())
    return session
  }

  t.test('a client that resets its stream is removed, and the other streams of its session stay', async t => {
    const { app, port, disconnects } = await streaming(t, {}, { http2: true })
    const connection = await session(t, port)
    const leaves = new Http2Stream(connection, '/events')
    await leaves.untilEvents(1)
    const [client] = app.sse.clients() as [SSEClient]
    const stays = new Http2Stream(connection, '/events')
    await stays.untilEvents(1)
    const { signal } = client
    const gone = nextDisconnect(app)
    leaves.stream.close(8)
    t.same(await gone, { client, reason: 'client' })
    t.equal(signal.aborted, true)
    t.equal(await client.send('late', 1), false)
    t.equal(app.sse.clientCount(), 1)
    await app.sse.toChannel('room', 'still', 'here')
    await stays.untilEvents(2)
    t.equal(disconnects.length, 1)
  })

  t.test('a session that is destroyed takes all its clients with it', async t => {
    const { app, port, disconnects } = await streaming(t, {}, { http2: true })
    const connection = await session(t, port)
    const streams = [new Http2Stream(connection, '/events'), new Http2Stream(connection, '/events')]
    for (const stream of streams) await stream.untilEvents(1)
    connection.destroy()
    while (disconnects.length < 2) await nextDisconnect(app)
    t.same(disconnects.map(({ reason }) => reason), ['client', 'client'])
    checkNobody(t, app)
  })

  t.test('pending calls of send() and stream() resolve to false when the stream is reset', async t => {
    const { app, port, disconnects } = await streaming(t, { maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 }, { http2: true })
    const stuck = new Http2Stream(await session(t, port), '/events')
    await stuck.untilEvents(1)
    const [client] = app.sse.clients() as [SSEClient]
    stuck.stream.pause()
    await fill(app, () => app.sse.stats().bufferedBytes > 200_000)
    const pending = [client.send('own', 1), client.stream(['a', 'b'], { event: 'token' })]
    stuck.stream.close(8)
    t.same(await Promise.all(pending), [false, false])
    t.same(disconnects.map(({ reason }) => reason), ['client'])
    checkNobody(t, app)
  })

  t.test('a client that resets its stream while its handler is busy is never registered', async t => {
    const app = await buildApp(t, {}, { http2: true } as object)
    let proceed = (): void => {}
    const busy = new Promise<void>(resolve => { proceed = resolve })
    let connected = 0
    app.sse.on('connect', () => connected++)
    let client: SSEClient | undefined
    const requested = new Promise<ServerResponse>(resolve => {
      app.get('/busy', async (_request, reply) => {
        resolve(reply.raw)
        await busy
        client = reply.sse('room')
      })
    })
    app.get('/plain', async () => ({ plain: 'text' }))
    const connection = await session(t, await listen(app))
    const stream = new Http2Stream(connection, '/busy')
    const response = await requested
    const closed = once(response, 'close')
    stream.stream.close(8)
    await closed
    proceed()
    const plain = new Http2Stream(connection, '/plain')
    await plain.untilClosed()
    t.equal(plain.text, '{"plain":"text"}')
    t.equal(client?.closed, true)
    t.equal(connected, 0)
    checkNobody(t, app)
  })

  t.test('nothing is left of a client that resets its stream while an async onSend hook is pending', async t => {
    const app = await buildApp(t, {}, { http2: true } as object)
    let proceed = (): void => {}
    const pending = new Promise<void>(resolve => { proceed = resolve })
    app.addHook('onSend', async (request, _reply, payload) => {
      if (request.url === '/events') await pending
      return payload
    })
    app.get('/events', (_request, reply) => { reply.sse(['room', 'hall']) })
    app.get('/plain', async () => ({ plain: 'text' }))
    const connection = await session(t, await listen(app))
    const connected = nextClient(app)
    const stream = new Http2Stream(connection, '/events')
    const client = await connected
    const gone = nextDisconnect(app)
    stream.stream.close(8)
    t.same(await gone, { client, reason: 'client' })
    checkNobody(t, app)
    proceed()
    const plain = new Http2Stream(connection, '/plain')
    await plain.untilClosed()
    t.equal(plain.text, '{"plain":"text"}')
    checkNobody(t, app)
  })

  t.test('cleanupDisconnected() removes a client whose stream was closed without an event', async t => {
    const { app, port, responses, disconnects } = await streaming(t, {}, { http2: true })
    const connection = await session(t, port)
    const streams = [new Http2Stream(connection, '/events'), new Http2Stream(connection, '/events')]
    for (const stream of streams) await stream.untilEvents(1)
    const response = responses[0]! as ServerResponse & { stream: { destroy (): void } }
    response.removeAllListeners()
    response.stream.destroy()
    t.equal(app.sse.cleanupDisconnected(), 1)
    t.same(disconnects.map(({ reason }) => reason), ['client'])
    t.equal(app.sse.clientCount(), 1)
  })
})

t.test('a keep-alive connection stays open after its stream was closed, and its end does not report that stream again', async t => {
  const { app, port, disconnects } = await streaming(t)
  const raw = open(t, port)
  await raw.untilEvents(1)
  app.sse.clients()[0]!.close()
  await raw.until(() => raw.complete)
  raw.socket.write(requestText({ path: '/events' }))
  await nextClient(app)
  t.same(disconnects.map(({ reason }) => reason), ['server'])
  const gone = nextDisconnect(app)
  raw.destroy()
  await gone
  await checkServes(t, port)
  t.same(disconnects.map(({ reason }) => reason), ['server', 'client'])
  checkNobody(t, app)
})

t.test('a client whose response can\'t be written to is cut with reason error and logged, and other clients are not affected', async t => {
  const log = new MemoryLog()
  const app = await buildApp(t, {}, { loggerInstance: log.logger })
  app.get('/broken', (_request, reply) => {
    reply.raw.write = () => { throw new Error('no writing here') }
    reply.sse('room')
  })
  app.get('/whole', (_request, reply) => { reply.sse('room') })
  const port = await listen(app)
  const gone = nextDisconnect(app)
  const broken = open(t, port, { path: '/broken' })
  const { reason } = await gone
  t.equal(reason, 'error')
  await broken.untilClosed()
  t.match(await log.line(({ err }) => err?.message === 'no writing here'), { level: ERROR, plugin: 'fastify-sse-hub' })
  const whole = open(t, port, { path: '/whole' })
  await whole.untilEvents(1)
  await app.sse.toChannel('room', 'message', 1)
  t.match(await whole.untilEvents(2), [{}, { data: '1' }])
  t.equal(app.sse.clientCount(), 1)
})

t.test('a client whose response the application has ended leaves the hub with the next event, even if nobody reads the last bytes', async t => {
  const { app, port, disconnects, responses } = await streaming(t)
  const raw = open(t, port)
  await raw.untilEvents(1)
  const other = open(t, port)
  await other.untilEvents(1)
  const [client] = app.sse.clients()
  raw.pause()
  responses[0]!.end('x'.repeat(50_000_000))
  await app.sse.toChannel('room', 'message', 1)
  // The event is written to the clients in the order in which they came.
  await other.untilEvents(2)
  t.equal(responses[0]!.writableFinished, false)
  t.equal(app.sse.clientCount('room'), 1)
  t.same(disconnects.map(({ client, reason }) => [client.id, reason]), [[client!.id, 'server']])
})
