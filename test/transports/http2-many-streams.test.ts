// Hundreds of streams on one HTTP/2 connection. Each has its own flow control window, and all share the connection's window.
import { EventEmitter, once } from 'node:events'
import type { RequestListener } from 'node:http'
import { connect as connectHttp2, constants, createServer, type ClientHttp2Session } from 'node:http2'
import { connect as connectNet, type Socket } from 'node:net'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import type { SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen, portOf } from '../support/app.js'
import { selfSigned } from '../support/certificate.js'
import { nextDisconnect, recordDisconnects, type Disconnect } from '../support/disconnects.js'
import { Http2Stream } from '../support/http2-stream.js'
import { parseEvents } from '../support/raw-client.js'

const STREAMS = 200

async function serve (t: Test, options: SSEPluginOptions = {}, server: object = {}): Promise<FastifyInstance> {
  const app = await buildApp(t, { historySize: 0, ...options }, { http2: true, ...server } as FastifyServerOptions)
  app.get<{ Querystring: { id: string } }>('/events', (request, reply) => { reply.sse('room', { id: request.query.id ?? 'somebody' }) })
  await listen(app)
  return app
}

async function connect (t: Test, app: FastifyInstance, options: object = {}): Promise<ClientHttp2Session> {
  const scheme = 'ca' in options ? 'https' : 'http'
  const session = connectHttp2(`${scheme}://127.0.0.1:${portOf(app)}`, options)
  t.teardown(() => session.destroy())
  session.on('error', () => {})
  session.setMaxListeners(0)
  await once(session, 'connect')
  return session
}

async function openMany (session: ClientHttp2Session, count: number): Promise<Http2Stream[]> {
  const streams = Array.from({ length: count }, (_, number) => new Http2Stream(session, `/events?id=${number}`))
  for (const stream of streams) await stream.untilEvents(1)
  return streams
}

function bytesOf (stream: Http2Stream): number {
  return stream.parts.reduce((sum, { length }) => sum + length, 0)
}

/** The data of the events with one name, when this number of bytes has come. */
async function dataOf (stream: Http2Stream, name: string, bytes: number): Promise<string[]> {
  await stream.until(() => bytesOf(stream) >= bytes)
  await stream.until(() => stream.text.endsWith('\n\n'))
  return stream.events.filter(({ event }) => event === name).map(({ data }) => data)
}

const { key, cert } = selfSigned()

for (const [name, server, options] of [
  ['in clear text', {}, {}],
  ['over TLS', { https: { key, cert } }, { ca: cert }]
] as const) {
  t.test(`${STREAMS} streams on one connection ${name} each get all their events in order`, async t => {
    const app = await serve(t, {}, server)
    const session = await connect(t, app, options)
    const streams = await openMany(session, STREAMS)
    t.equal(app.sse.clientCount(), STREAMS)
    const expected: string[] = []
    for (let number = 0; number < 20; number++) {
      const data = `${number} é漢😀 ${'x'.repeat(number === 10 ? 20_000 : 0)}`
      expected.push(data)
      await app.sse.toChannel('room', 'shared', data, { raw: true })
      await app.sse.toClient(String(number), 'own', number)
    }
    await app.sse.send('end', '')
    for (const [number, stream] of streams.entries()) {
      await stream.until(() => stream.events.at(-1)?.event === 'end')
      const events = stream.events.slice(1, -1)
      t.strictSame(events.filter(({ event }) => event === 'shared').map(({ data }) => data), expected)
      t.strictSame(events.filter(({ event }) => event === 'own').map(({ data }) => data), number < 20 ? [String(number)] : [])
    }
    const disconnects = recordDisconnects(app)
    for (const stream of streams.slice(1)) stream.stream.close()
    while (app.sse.clientCount() > 1) await nextDisconnect(app)
    t.ok(disconnects.every(({ reason }) => reason === 'client'))
    await app.sse.send('last', 1)
    await streams[0]!.until(() => streams[0]!.events.at(-1)?.event === 'last')
  })
}

// The windows have their default size: 65,535 bytes for each stream and for the connection. Node's client extends the
// connection's window when bytes come, and a stream's window when they are read.
t.test(`if half of ${STREAMS} streams on one connection do not read, the others get everything at once`, async t => {
  const app = await serve(t, { maxBufferedBytes: 8 * 1024 * 1024 })
  const session = await connect(t, app)
  const streams = await openMany(session, STREAMS)
  const stuck = streams.slice(STREAMS / 2)
  const others = streams.slice(0, STREAMS / 2)
  for (const { stream } of stuck) stream.pause()
  const data = 'd'.repeat(5000)
  const published = 60
  for (let number = 0; number < published; number++) {
    await app.sse.toChannel('room', 'filling', number + data, { raw: true })
    await others[0]!.until(() => bytesOf(others[0]!) > (number + 1) * data.length)
  }
  const expected = Array.from({ length: published }, (_, number) => number + data)
  for (const other of others) t.ok(isSame(await dataOf(other, 'filling', published * data.length), expected))
  t.equal(app.sse.clientCount(), STREAMS)
  t.ok(app.sse.stats().bufferedBytes > stuck.length * 200_000, 'what the others do not read waits')
  const another = new Http2Stream(session, '/events')
  await another.untilEvents(1)
  for (const { stream } of stuck) stream.resume()
  for (const stream of stuck) t.ok(isSame(await dataOf(stream, 'filling', published * data.length), expected))
})

/** How many bytes the server may send to a stream or a connection until the client extends the window. */
const WINDOW = 65_535
const WINDOW_WITHOUT_END = 2 ** 31 - 1

/**
 * A simple HTTP/2 client (RFC 9113). Node's client extends windows by itself: the connection's when bytes come, a stream's
 * until its own buffers are full. The size of these buffers differs between versions.
 */
class FrameClient {
  readonly socket: Socket
  /** Bytes of DATA on all streams. Only these count for the windows. */
  received = 0
  /** The error codes of the streams that the server has reset. */
  readonly resets = new Map<number, number>()
  readonly #texts = new Map<number, string>()
  readonly #changes = new EventEmitter()
  #rest = Buffer.alloc(0)

  constructor (port: number) {
    this.socket = connectNet(port, '127.0.0.1')
    this.socket.on('error', () => {})
    this.socket.on('close', () => this.#changes.emit('change'))
    this.socket.on('data', (data: Buffer) => {
      this.#read(data)
      this.#changes.emit('change')
    })
    this.socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    this.#write(4, 0, 0, Buffer.alloc(0))
  }

  /** Gives every open or later stream an unlimited window. */
  widenStreams (): void {
    const initialWindow = Buffer.alloc(6)
    initialWindow.writeUInt16BE(4, 0)
    initialWindow.writeUInt32BE(WINDOW_WITHOUT_END, 2)
    this.#write(4, 0, 0, initialWindow)
  }

  /** Requests a stream. The streams of a client have odd numbers. */
  request (stream: number, path: string): void {
    const literal = (index: number, text: string): Buffer => Buffer.concat([Buffer.of(index, text.length), Buffer.from(text)])
    // From HPACK's static table: `:method: GET`, `:scheme: http`, `:path`, `:authority`. The flags are END_STREAM and END_HEADERS.
    this.#write(1, 5, stream, Buffer.concat([Buffer.of(0x82, 0x86), literal(4, path), literal(1, 'localhost')]))
  }

  /** Lets the server send more bytes on the connection. */
  widen (bytes: number): void {
    const increment = Buffer.alloc(4)
    increment.writeUInt32BE(bytes)
    this.#write(8, 0, 0, increment)
  }

  /** Requests streams, and resolves when each has its greeting. */
  async openMany (count: number): Promise<number[]> {
    const streams = Array.from({ length: count }, (_, number) => 2 * number + 1)
    for (const stream of streams) this.request(stream, '/events')
    await this.until(() => streams.every(stream => this.text(stream).endsWith('\n\n')))
    return streams
  }

  text (stream: number): string {
    return this.#texts.get(stream) ?? ''
  }

  async until (condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.socket.destroyed) throw new Error(`the connection closed after ${this.received} bytes`)
      await once(this.#changes, 'change')
    }
  }

  #write (type: number, flags: number, stream: number, payload: Buffer): void {
    const head = Buffer.alloc(9)
    head.writeUIntBE(payload.length, 0, 3)
    head.writeUInt8(type, 3)
    head.writeUInt8(flags, 4)
    head.writeUInt32BE(stream, 5)
    this.socket.write(Buffer.concat([head, payload]))
  }

  #read (data: Buffer): void {
    let bytes = Buffer.concat([this.#rest, data])
    while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
      const end = 9 + bytes.readUIntBE(0, 3)
      const stream = bytes.readUInt32BE(5)
      if (bytes[3] === 0) {
        this.received += end - 9
        this.#texts.set(stream, this.text(stream) + bytes.toString('latin1', 9, end))
      }
      if (bytes[3] === 3) this.resets.set(stream, bytes.readUInt32BE(9))
      // SETTINGS must be acknowledged.
      if (bytes[3] === 4 && bytes[4] === 0) this.#write(4, 1, 0, Buffer.alloc(0))
      bytes = bytes.subarray(end)
    }
    this.#rest = bytes
  }
}

// Node holds at most 10 MB for a session, including bytes that wait for a window. Above that it refuses new streams.
for (const [name, limit, reset] of [
  ['takes no more streams above Node\'s limit for a session', {}, constants.NGHTTP2_ENHANCE_YOUR_CALM],
  ['takes more streams below the server\'s maxSessionMemory', { maxSessionMemory: 100 }, undefined]
] as const) {
  t.test(`a connection with many waiting bytes ${name}, and its open streams go on`, async t => {
    const app = await serve(t, { maxBufferedBytes: 8 * 1024 * 1024, heartbeatInterval: 0 }, { serverFactory: (handler: RequestListener) => createServer(limit, handler as never) })
    const disconnects = recordDisconnects(app)
    const client = new FrameClient(portOf(app))
    t.teardown(() => client.socket.destroy())
    client.widen(WINDOW_WITHOUT_END - WINDOW)
    const streams = await client.openMany(300)
    const data = 'd'.repeat(60_000)
    for (let number = 0; number < 3; number++) await app.sse.toChannel('room', 'filling', data, { raw: true })
    const [watcher] = await openMany(await connect(t, app), 1)
    // Each stream takes the first event, and of the second what its window still allows. When a later event has arrived on
    // another connection, Node has the rest of the second.
    while (app.sse.stats().bufferedBytes > streams.length * (2 * data.length + 200)) await new Promise(resolve => setImmediate(resolve))
    await app.sse.toChannel('room', 'filling', data, { raw: true })
    await dataOf(watcher!, 'filling', data.length)
    await client.until(() => client.received === streams.length * WINDOW)
    const another = 2 * streams.length + 1
    client.request(another, '/events')
    await client.until(() => client.resets.has(another) || client.text(another).endsWith('\n\n'))
    t.equal(client.resets.get(another), reset)
    client.widenStreams()
    const expected = Array(4).fill(data)
    for (const stream of streams) {
      await client.until(() => client.text(stream).length > 4 * data.length && client.text(stream).endsWith('\n\n'))
      const events = parseEvents(client.text(stream)).filter(({ event }) => event === 'filling')
      t.ok(isSame(events.map(({ data }) => data), expected))
    }
    client.request(another + 2, '/events')
    await client.until(() => client.text(another + 2).endsWith('\n\n'))
    t.same(disconnects, [])
  })
}

interface UsedUp {
  readonly app: FastifyInstance
  readonly disconnects: Disconnect[]
  /** The client whose window is used up. */
  readonly client: FrameClient
  readonly streams: number[]
  /** A stream on another connection. */
  readonly other: Http2Stream
  readonly expected: string[]
}

async function usedUp (t: Test, options: SSEPluginOptions): Promise<UsedUp> {
  const app = await serve(t, { maxBufferedBytes: 8 * 1024 * 1024, heartbeatInterval: 0, ...options })
  const disconnects = recordDisconnects(app)
  const client = new FrameClient(portOf(app))
  t.teardown(() => client.socket.destroy())
  client.widenStreams()
  const streams = await client.openMany(50)
  const other = new Http2Stream(await connect(t, app), '/events')
  await other.untilEvents(1)
  const expected: string[] = []
  for (let number = 0; number < 100; number++) {
    const data = `${number} ${'d'.repeat(1000)}`
    expected.push(data)
    await app.sse.toChannel('room', 'filling', data, { raw: true })
  }
  const events = await other.untilEvents(1 + expected.length)
  t.ok(isSame(events.slice(1).map(({ data }) => data), expected), 'a stream on another connection gets everything')
  await client.until(() => client.received === WINDOW)
  return { app, disconnects, client, streams, other, expected }
}

t.test('streams whose connection has no window left wait, and get everything when the window is extended', async t => {
  const { disconnects, client, streams, expected } = await usedUp(t, {})
  t.equal(client.received, WINDOW)
  client.widen(WINDOW_WITHOUT_END - WINDOW)
  const last = expected.at(-1)!
  await client.until(() => streams.every(stream => client.text(stream).slice(-2 * last.length).includes(last) && client.text(stream).endsWith('\n\n')))
  for (const stream of streams) {
    const events = parseEvents(client.text(stream)).filter(({ event }) => event === 'filling')
    t.ok(isSame(events.map(({ data }) => data), expected))
  }
  t.same(disconnects, [])
})

t.test('all streams of a connection whose window is never extended are stalled, and no others are', async t => {
  const { app, disconnects, streams, other } = await usedUp(t, { stallTimeout: 1000 })
  while (app.sse.clientCount() > 1) await nextDisconnect(app)
  t.equal(disconnects.length, streams.length)
  t.ok(disconnects.every(({ reason }) => reason === 'stalled'))
  await app.sse.send('last', 1)
  await other.until(() => other.events.at(-1)?.event === 'last')
})

function isSame (some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((text, index) => text === others[index])
}
