// A stream over every transport: HTTP/1.1, HTTP/1.0, HTTPS, HTTP/2, inject(), Unix sockets and pipelining.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent as HttpAgent, get as httpGet } from 'node:http'
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import { get as httpsGet } from 'node:https'
import { connect as connectNet, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { EventSource } from 'eventsource'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import type { SSEClient, SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen, nextClient, portOf } from '../support/app.js'
import { selfSigned } from '../support/certificate.js'
import { nextDisconnect, recordDisconnects } from '../support/disconnects.js'
import { Http2Stream } from '../support/http2-stream.js'
import { parseEvents, RawClient, requestText, type RawRequest } from '../support/raw-client.js'
import { parseResponses } from '../support/responses.js'

/** What every transport must carry: a short event, one with several bytes in a character, and one that is larger than a write. */
const DATA = [{ text: 'plain' }, { text: 'é漢😀'.repeat(100) }, { text: 'long '.repeat(30_000) }]

async function buildStreaming (t: Test, options: SSEPluginOptions = {}, server: object = {}): Promise<FastifyInstance> {
  const app = await buildApp(t, options, server as FastifyServerOptions)
  app.route({ method: ['GET', 'POST'], url: '/events', handler: (_request, reply) => { reply.sse('room') } })
  app.get('/plain', async () => ({ plain: 'text' }))
  return app
}

function open (t: Test, to: number | Socket, request: RawRequest = {}): RawClient {
  const raw = new RawClient(to, { path: '/events', ...request })
  t.teardown(() => raw.destroy())
  return raw
}

async function publishAll (app: FastifyInstance): Promise<string[]> {
  const ids: string[] = []
  for (const data of DATA) ids.push((await app.sse.toChannel('room', 'message', data)).id)
  return ids
}

/** Publishes these events to an open stream, and checks that they come. */
async function checkCarries (t: Test, app: FastifyInstance, stream: { untilEvents: RawClient['untilEvents'] }): Promise<void> {
  const [greeting] = await stream.untilEvents(1)
  t.equal(greeting!.event, 'sse:open')
  const ids = await publishAll(app)
  const events = (await stream.untilEvents(1 + DATA.length)).slice(1)
  t.same(events.map(({ id }) => id), ids)
  t.same(events.map(({ data }) => JSON.parse(data)), DATA)
}

t.test('HTTP/1.1: a chunked response that ends with its last chunk', async t => {
  const app = await buildStreaming(t)
  const raw = open(t, await listen(app))
  await checkCarries(t, app, raw)
  t.equal(raw.status, 200)
  t.equal(raw.header('content-type'), 'text/event-stream')
  t.equal(raw.header('cache-control'), 'no-cache, no-transform')
  t.equal(raw.header('x-accel-buffering'), 'no')
  t.equal(raw.header('transfer-encoding'), 'chunked')
  app.sse.clients()[0]!.close()
  await raw.until(() => raw.complete)
})

t.test('HTTP/1.0: there is no transfer coding, and the end of the connection ends the stream', async t => {
  const app = await buildStreaming(t)
  const raw = open(t, await listen(app), { version: '1.0' })
  await checkCarries(t, app, raw)
  t.equal(raw.status, 200)
  t.equal(raw.header('content-type'), 'text/event-stream')
  t.equal(raw.header('transfer-encoding'), undefined)
  t.equal(raw.header('content-length'), undefined)
  const disconnects = recordDisconnects(app)
  app.sse.clients()[0]!.close()
  await raw.untilClosed()
  t.equal(raw.events.length, 1 + DATA.length)
  t.same(disconnects.map(({ reason }) => reason), ['server'])
})

t.test('HTTP/1.0: a client that reads late gets all events that were published meanwhile', async t => {
  const app = await buildStreaming(t, { maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 })
  const raw = open(t, await listen(app), { version: '1.0' })
  await raw.untilEvents(1)
  raw.pause()
  const data = 'd'.repeat(60_000)
  let published = 0
  for (let behind = 0; behind < 10;) {
    await app.sse.toChannel('room', 'filling', data, { raw: true })
    published++
    if (app.sse.stats().bufferedBytes > 0) behind++
  }
  app.sse.clients()[0]!.close()
  const parts = [raw.received]
  raw.socket.removeAllListeners('data')
  raw.socket.on('data', data => parts.push(data))
  raw.resume()
  await raw.untilClosed()
  const events = parseEvents(Buffer.concat(parts).toString().split('\r\n\r\n')[1]!).slice(1)
  t.equal(events.length, published)
  t.ok(events.every(event => event.data === data))
})

t.test('HTTPS', async t => {
  const { key, cert } = selfSigned()

  t.test('carries a stream byte for byte', async t => {
    const app = await buildStreaming(t, {}, { https: { key, cert } })
    const port = await listen(app)
    const raw = open(t, connectTls({ port, host: '127.0.0.1', ca: cert }))
    await checkCarries(t, app, raw)
    t.equal(raw.header('transfer-encoding'), 'chunked')
    app.sse.clients()[0]!.close()
    await raw.until(() => raw.complete)
    raw.socket.write(requestText({ path: '/plain' }))
    await raw.until(() => parseResponses(raw.received).length === 2)
    t.equal(parseResponses(raw.received)[1]!.body.toString(), '{"plain":"text"}', 'the connection serves the next request')
  })

  t.test('node:https receives it', async t => {
    const app = await buildStreaming(t, {}, { https: { key, cert } })
    const port = await listen(app)
    const request = httpsGet({ port, host: '127.0.0.1', path: '/events', ca: cert, agent: false })
    t.teardown(() => request.destroy())
    request.on('error', () => {})
    const [response] = await once(request, 'response')
    t.equal(response.statusCode, 200)
    let text = ''
    response.setEncoding('utf8').on('data', (part: string) => { text += part }).on('error', () => {})
    const { id } = await app.sse.send('message', DATA[1])
    while (parseEvents(text).length < 2) await once(response, 'data')
    t.match(parseEvents(text)[1], { id, data: JSON.stringify(DATA[1]) })
  })

  t.test('the hub notices a client that leaves', async t => {
    const app = await buildStreaming(t, {}, { https: { key, cert } })
    const raw = open(t, connectTls({ port: await listen(app), host: '127.0.0.1', ca: cert }))
    await raw.untilEvents(1)
    const gone = nextDisconnect(app)
    raw.destroy()
    t.equal((await gone).reason, 'client')
    t.equal(app.sse.clientCount(), 0)
  })

  t.test('a client that reads late gets everything, and the end', async t => {
    const app = await buildStreaming(t, { maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 }, { https: { key, cert } })
    const raw = open(t, connectTls({ port: await listen(app), host: '127.0.0.1', ca: cert }))
    await raw.untilEvents(1)
    raw.pause()
    const data = 'd'.repeat(60_000)
    let published = 0
    while (app.sse.stats().bufferedBytes < 500_000) {
      await app.sse.toChannel('room', 'filling', data, { raw: true })
      published++
    }
    app.sse.clients()[0]!.close()
    const parts = [raw.received]
    raw.socket.removeAllListeners('data')
    raw.socket.on('data', data => parts.push(data))
    raw.resume()
    while (!parts.at(-1)!.includes('0\r\n\r\n')) await once(raw.socket, 'data')
    const [response] = parseResponses(Buffer.concat(parts))
    const events = parseEvents(response!.body.toString()).slice(1)
    t.equal(events.length, published)
    t.ok(events.every(event => event.data === data))
  })
})

t.test('HTTP/2', async t => {
  const { key, cert } = selfSigned()

  async function session (t: Test, app: FastifyInstance, scheme = 'http'): Promise<ClientHttp2Session> {
    const session = connectHttp2(`${scheme}://127.0.0.1:${await listen(app)}`, { ca: cert })
    t.teardown(() => session.destroy())
    return session
  }

  t.test('in clear text carries a stream, without a connection header', async t => {
    const app = await buildStreaming(t, {}, { http2: true })
    const stream = new Http2Stream(await session(t, app), '/events')
    await checkCarries(t, app, stream)
    t.equal(stream.headers[':status'], 200)
    t.equal(stream.headers['content-type'], 'text/event-stream')
    t.equal(stream.headers['cache-control'], 'no-cache, no-transform')
    t.equal(stream.headers['x-accel-buffering'], 'no')
    t.equal(stream.headers.connection, undefined)
    t.equal(stream.headers['transfer-encoding'], undefined)
    const disconnects = recordDisconnects(app)
    app.sse.clients()[0]!.close()
    await stream.untilClosed()
    t.equal(stream.ended, true)
    t.equal(stream.stream.rstCode, 0)
    t.same(disconnects.map(({ reason }) => reason), ['server'])
  })

  t.test('over TLS carries a stream', async t => {
    const app = await buildStreaming(t, {}, { http2: true, https: { key, cert } })
    const stream = new Http2Stream(await session(t, app, 'https'), '/events')
    await checkCarries(t, app, stream)
  })

  t.test('over TLS serves a client of HTTP/1.1 as well', async t => {
    const app = await buildStreaming(t, {}, { http2: true, https: { key, cert, allowHTTP1: true } })
    const port = await listen(app)
    const raw = open(t, connectTls({ port, host: '127.0.0.1', ca: cert, ALPNProtocols: ['http/1.1'] }))
    await checkCarries(t, app, raw)
  })

  t.test('HEAD answers with only the head and registers no client', async t => {
    const app = await buildStreaming(t, {}, { http2: true })
    let connected = 0
    app.sse.on('connect', () => connected++)
    const stream = new Http2Stream(await session(t, app), '/events', { ':method': 'HEAD' })
    await stream.untilClosed()
    t.equal(stream.headers[':status'], 200)
    t.equal(stream.text, '')
    t.equal(connected, 0)
    t.equal(app.sse.clientCount(), 0)
  })

  t.test('a stream that does not read does not delay the other streams of its session', async t => {
    const app = await buildStreaming(t, { maxBufferedBytes: 8 * 1024 * 1024, historySize: 0 }, { http2: true })
    const connection = await session(t, app)
    // The session's window is shared and large here. The test is about the windows of the streams.
    await once(connection, 'connect')
    connection.setLocalWindowSize(16 * 1024 * 1024)
    const streams = Array.from({ length: 5 }, () => new Http2Stream(connection, '/events'))
    for (const stream of streams) await stream.untilEvents(1)
    const [stuck, ...others] = streams as [Http2Stream, ...Http2Stream[]]
    stuck.stream.pause()
    const data = 'd'.repeat(30_000)
    const published = 20
    for (let number = 0; number < published; number++) await app.sse.toChannel('room', 'filling', number + data, { raw: true })
    const expected = Array.from({ length: published }, (_, number) => number + data)
    for (const other of others) {
      await other.until(() => other.parts.reduce((sum, { length }) => sum + length, 0) > published * data.length)
      t.same((await other.untilEvents(1 + published)).slice(1).map(event => event.data), expected)
    }
    t.ok(app.sse.stats().bufferedBytes > 0, 'the one that does not read has something waiting')
    t.equal(app.sse.clientCount(), 5)
    stuck.stream.resume()
    t.same((await stuck.untilEvents(1 + published)).slice(1).map(event => event.data), expected, 'it gets all once it reads')
  })

  t.test('a stream that does not read is disconnected above maxBufferedBytes, and the session stays open', async t => {
    const app = await buildStreaming(t, { maxBufferedBytes: 100_000 }, { http2: true })
    const connection = await session(t, app)
    await once(connection, 'connect')
    connection.setLocalWindowSize(16 * 1024 * 1024)
    const stuck = new Http2Stream(connection, '/events')
    const other = new Http2Stream(connection, '/events')
    for (const stream of [stuck, other]) await stream.untilEvents(1)
    stuck.stream.pause()
    const gone = nextDisconnect(app)
    const data = 'd'.repeat(30_000)
    let published = 0
    while (app.sse.clientCount() === 2) {
      await app.sse.toChannel('room', 'filling', data, { raw: true })
      await other.untilEvents(1 + ++published)
    }
    t.equal((await gone).reason, 'slow')
    stuck.stream.resume()
    await stuck.untilClosed()
    await checkAlive(t, app, other)
  })

  t.test('a stream that is closed while its window holds events back ends completely', async t => {
    // The hub looks for stalled clients every 10 ms. The heartbeats of the other stream show that it has looked some times.
    const app = await buildStreaming(t, { maxBufferedBytes: 8 * 1024 * 1024, heartbeatInterval: 40, stallTimeout: 500 }, { http2: true })
    app.get('/watch', (_request, reply) => { reply.sse() })
    const connection = await session(t, app)
    await once(connection, 'connect')
    connection.setLocalWindowSize(16 * 1024 * 1024)
    const stream = new Http2Stream(connection, '/events')
    await stream.untilEvents(1)
    stream.stream.pause()
    const [client] = app.sse.clients() as [SSEClient]
    const data = 'd'.repeat(10_000)
    for (let number = 0; number < 7; number++) await client.send('filling', data, { raw: true })
    client.close()
    const watch = new Http2Stream(connection, '/watch')
    await watch.untilEvents(1)
    await watch.until(() => watch.text.split('\n:\n').length > 3)
    stream.stream.resume()
    await stream.untilClosed()
    t.equal(stream.ended, true)
    t.equal(stream.events.length, 8)
    t.equal(app.sse.stats().slowDisconnects, 0)
  })

  async function checkAlive (t: Test, app: FastifyInstance, stream: Http2Stream): Promise<void> {
    const before = stream.events.length
    const { id } = await app.sse.toChannel('room', 'message', 'still here')
    t.equal((await stream.untilEvents(before + 1))[before]!.id, id)
  }
})

t.test('inject() with payloadAsStream carries a stream until the server ends it', async t => {
  const app = await buildStreaming(t)
  const response = await app.inject({ url: '/events', payloadAsStream: true })
  t.equal(response.statusCode, 200)
  t.equal(response.headers['content-type'], 'text/event-stream')
  let text = ''
  const payload = response.stream()
  const ended = once(payload, 'end')
  payload.on('data', (part: Buffer) => { text += part.toString() })
  const ids = await publishAll(app)
  const disconnects = recordDisconnects(app)
  app.sse.clients()[0]!.close()
  await ended
  const events = parseEvents(text)
  t.equal(events[0]!.event, 'sse:open')
  t.same(events.slice(1).map(({ id }) => id), ids)
  t.same(events.slice(1).map(({ data }) => JSON.parse(data)), DATA)
  t.same(disconnects.map(({ reason }) => reason), ['server'])
})

t.test('inject() without payloadAsStream resolves with the whole stream once the server ends it', async t => {
  const app = await buildStreaming(t)
  const connected = nextClient(app)
  const answered = app.inject('/events')
  const client = await connected
  const { id } = await app.sse.toChannel('room', 'message', DATA[1])
  client.close()
  const response = await answered
  t.equal(response.statusCode, 200)
  const events = parseEvents(response.payload)
  t.equal(events.length, 2)
  t.match(events[1], { id, data: JSON.stringify(DATA[1]) })
})

t.test('a Unix socket carries a stream', async t => {
  const app = await buildStreaming(t)
  const folder = mkdtempSync(join(tmpdir(), 'sse-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'socket')
  await app.listen({ path })
  const raw = open(t, connectNet(path))
  await checkCarries(t, app, raw)
  t.equal(raw.header('transfer-encoding'), 'chunked')
})

t.test('an EventSource resumes by itself after the server has ended its stream', async t => {
  const app = await buildStreaming(t, { retry: 10 })
  const port = await listen(app)
  const source = new EventSource(`http://127.0.0.1:${port}/events`)
  t.teardown(() => source.close())
  const opened = (): Promise<unknown> => new Promise(resolve => source.addEventListener('sse:open', resolve, { once: true }))
  const received: string[] = []
  source.addEventListener('message', event => received.push(event.lastEventId))
  await opened()
  const first = await app.sse.toChannel('room', 'message', 1)
  app.sse.clients()[0]!.close()
  const missed = await app.sse.toChannel('room', 'message', 2)
  await opened()
  const live = new Promise(resolve => source.addEventListener('done', resolve, { once: true }))
  await app.sse.toChannel('room', 'done', 3)
  await live
  t.same(received, [first.id, missed.id])
})

t.test('a pipelined stream waits for its turn after a slow response and loses nothing', async t => {
  const app = await buildStreaming(t)
  let answer = (): void => {}
  const answered = new Promise<void>(resolve => { answer = resolve })
  app.get('/slow', async () => {
    await answered
    return { slow: 'text' }
  })
  const raw = open(t, await listen(app), { path: '/slow' })
  const connected = nextClient(app)
  raw.socket.write(requestText({ path: '/events' }))
  const client = await connected
  const ids: string[] = []
  for (let number = 0; number < 30; number++) ids.push((await app.sse.toChannel('room', 'numbered', number)).id)
  // These are more than one write, so a part of them waits after a full batch.
  ids.push(...await publishAll(app))
  const sent = client.send('own', 'own')
  answer()
  t.equal(await sent, true)
  ids.push((await app.sse.toChannel('room', 'numbered', 'live')).id)
  client.close()
  await raw.until(() => parseResponses(raw.received).length === 2)
  const [slow, stream] = parseResponses(raw.received)
  t.equal(slow!.body.toString(), '{"slow":"text"}')
  const events = parseEvents(stream!.body.toString())
  t.equal(events[0]!.event, 'sse:open')
  t.same(events.filter(({ id }) => id !== undefined).slice(1).map(({ id }) => id), ids)
  t.equal(events.filter(({ event }) => event === 'own').length, 1)
})

t.test('the second of two pipelined streams gets its events when the server has ended the first', async t => {
  const app = await buildStreaming(t)
  const raw = open(t, await listen(app))
  await raw.untilEvents(1)
  const connected = nextClient(app)
  raw.socket.write(requestText({ path: '/events' }))
  const second = await connected
  const [first] = app.sse.clients() as [SSEClient]
  const before = await app.sse.toChannel('room', 'both', 1)
  first.close()
  const after = await app.sse.toChannel('room', 'second', 2)
  second.close()
  await raw.until(() => parseResponses(raw.received).length === 2)
  const bodies = parseResponses(raw.received).map(({ body }) => parseEvents(body.toString()))
  t.same(bodies.map(([greeting]) => JSON.parse(greeting!.data).clientId), [first.id, second.id])
  t.same(bodies[0]!.slice(1).map(({ id }) => id), [before.id])
  t.same(bodies[1]!.slice(1).map(({ id }) => id), [before.id, after.id])
})

t.test('a pipelined stream whose connection is lost before its turn is removed', async t => {
  const app = await buildStreaming(t)
  app.get('/never', (_request, reply) => { reply.hijack() })
  for (const leave of [
    (raw: RawClient) => raw.destroy(),
    (raw: RawClient) => raw.socket.resetAndDestroy(),
    (raw: RawClient) => raw.socket.end()
  ]) {
    const port = app.server.listening ? portOf(app) : await listen(app)
    const connection = once(app.server, 'connection')
    const raw = open(t, port, { path: '/never' })
    const [socket] = await connection as [Socket]
    const connected = nextClient(app)
    raw.socket.write(requestText({ path: '/events' }))
    const client = await connected
    const counted = new Promise(resolve => socket.once('close', () => resolve(app.sse.clientCount())))
    const sent = client.send('own', 'never read')
    const gone = nextDisconnect(app)
    leave(raw)
    t.same(await gone, { client, reason: 'client' })
    t.equal(await sent, false)
    t.equal(await counted, 0, 'at once, not at the next sweep')
    t.equal(app.sse.clientCount('room'), 0)
  }
})

t.test('a pipelined stream that the server closes before its turn ends completely when its turn comes', async t => {
  const app = await buildStreaming(t)
  let answer = (): void => {}
  const answered = new Promise<void>(resolve => { answer = resolve })
  app.get('/slow', async () => {
    await answered
    return { slow: 'text' }
  })
  const raw = open(t, await listen(app), { path: '/slow' })
  const connected = nextClient(app)
  raw.socket.write(requestText({ path: '/events' }))
  const client = await connected
  const { id } = await app.sse.toChannel('room', 'numbered', 1)
  client.close()
  raw.socket.write(requestText({ path: '/plain' }))
  answer()
  await raw.until(() => parseResponses(raw.received).length === 3)
  const bodies = parseResponses(raw.received).map(({ body }) => body.toString())
  t.same(parseEvents(bodies[1]!).slice(1).map(event => event.id), [id])
  t.equal(bodies[2], '{"plain":"text"}')
})

t.test('a keep-alive connection can be used again after a stream has ended', async t => {
  const app = await buildStreaming(t)
  const port = await listen(app)
  let connections = 0
  app.server.on('connection', () => connections++)
  const agent = new HttpAgent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())

  async function body (path: string, onHead = (): void => {}): Promise<string> {
    const [response] = await once(httpGet({ port, host: '127.0.0.1', path, agent }), 'response')
    onHead()
    let text = ''
    for await (const part of response) text += part
    return text
  }

  for (let round = 0; round < 3; round++) {
    t.equal(await body('/plain'), '{"plain":"text"}')
    const events = parseEvents(await body('/events', () => {
      app.sse.toChannel('room', 'numbered', round, { transient: true })
      app.sse.clients()[0]!.close()
    }))
    t.same(events.slice(1).map(({ data }) => data), [String(round)])
  }
  t.equal(await body('/plain'), '{"plain":"text"}')
  t.equal(connections, 1)
})

t.test('a request with a body is answered with a stream', async t => {
  const app = await buildApp(t)
  app.post<{ Body: { words: string[] } }>('/answer', async (request, reply) => {
    const client = reply.sse([], { broadcast: false })
    await client.stream(request.body.words, { event: 'token' })
    client.close()
  })
  const port = await listen(app)
  const words = ['many', 'words', 'é漢😀', 'x'.repeat(100_000)]
  const payload = JSON.stringify({ words })
  const raw = new RawClient(port, {
    method: 'POST', path: '/answer', headers: { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(payload)) }
  })
  t.teardown(() => raw.destroy())
  raw.socket.write(payload)
  await raw.until(() => raw.complete)
  t.equal(raw.status, 200)
  t.same(raw.events.slice(1).map(({ event, data }) => [event, JSON.parse(data)]), words.map(word => ['token', word]))
})

t.test('a request body that arrives while the stream is open does it no harm', async t => {
  const app = await buildStreaming(t)
  // Leaves the body to the handler, which does not read it.
  app.addContentTypeParser('application/octet-stream', (_request, _payload, done) => done(null))
  const body = Buffer.alloc(200_000, 'b')
  const raw = open(t, await listen(app), {
    method: 'POST', headers: { 'content-type': 'application/octet-stream', 'content-length': String(body.length) }
  })
  await raw.untilEvents(1)
  raw.socket.write(body)
  await checkCarries(t, app, raw)
})
