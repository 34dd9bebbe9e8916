// Writes that go directly to the socket of an HTTP/1.1 response, past the response itself.
import { once } from 'node:events'
import { ServerResponse, type IncomingMessage } from 'node:http'
import { connect } from 'node:http2'
import { connect as connectSocket, type Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { directSocket } from '../../lib/transport/direct-socket.js'
import type { SSEClient, SSEConnectOptions, SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen } from '../support/app.js'
import { recordDisconnects } from '../support/disconnects.js'
import { Http2Stream } from '../support/http2-stream.js'
import { RawClient, requestText, type RawRequest } from '../support/raw-client.js'
import { parseResponses } from '../support/responses.js'
import { unixSocket } from '../support/unix-socket.js'

/** Options for a stream whose bytes are all known beforehand. */
const BARE: SSEConnectOptions = { greeting: false, retry: null, replay: 'none' }

interface Streaming<Where = number> {
  readonly app: FastifyInstance
  readonly port: Where
  /** The route's calls, and the client that each made, newest last. */
  readonly replies: Array<{ raw: ServerResponse, request: IncomingMessage, client: SSEClient }>
}

/** An app with the route `/events` in the channel `room`. */
async function streaming<Where = number> (t: Test, options: SSEPluginOptions = {}, prepare?: (app: FastifyInstance) => void,
  listenOn: (app: FastifyInstance) => Promise<Where> = listen as never): Promise<Streaming<Where>> {
  const app = await buildApp(t, options)
  const replies: Streaming['replies'] = []
  prepare?.(app)
  app.get('/events', (request, reply) => {
    const client = reply.sse('room', BARE)
    replies.push({ raw: reply.raw, request: request.raw, client })
  })
  app.get('/plain', async () => ({ plain: 'text' }))
  return { app, port: await listenOn(app), replies }
}

/** The same over a Unix socket, which soon refuses bytes when its client pauses. */
async function onUnixSocket (t: Test, options: SSEPluginOptions = {}): Promise<Omit<Streaming, 'port'> & { open: () => RawClient, connected: Promise<Socket> }> {
  const { app, replies, port: path } = await streaming(t, { maxBufferedBytes: 64 * 1024 * 1024, ...options }, () => {}, async app => {
    const path = unixSocket(t)
    await app.listen({ path })
    return path
  })
  const connected = once(app.server, 'connection').then(([socket]) => socket as Socket)
  const open = (): RawClient => {
    const raw = new RawClient(connectSocket(path), { path: '/events' })
    t.teardown(() => raw.destroy())
    return raw
  }
  return { app, replies, open, connected }
}

function open (t: Test, port: number, request: RawRequest = {}): RawClient {
  const raw = new RawClient(port, { path: '/events', ...request })
  t.teardown(() => raw.destroy())
  return raw
}

function textOf (id: string | null, event: string, data: string): string {
  return `event: ${event}\ndata: ${data}\n${id === null ? '' : `id: ${id}\n`}\n`
}

t.test('direct chunks and chunks of the response arrive in the order of the writes', async t => {
  const { port, replies } = await streaming(t)
  const raw = open(t, port)
  await raw.until(() => raw.head !== '')
  const [{ raw: response, client }] = replies as [Streaming['replies'][0]]
  let expected = ''
  for (let number = 0; number < 50; number++) {
    await client.send('numbered', number)
    response.write(`: own ${number}\n\n`)
    expected += `${textOf(null, 'numbered', String(number))}: own ${number}\n\n`
  }
  t.equal(directSocket(response), response.socket, 'the events went past the response')
  client.close()
  await raw.until(() => raw.complete)
  t.equal(raw.text, expected)
})

t.test('after the head, no event goes through the response\'s own write', async t => {
  const { app, port, replies } = await streaming(t)
  const raw = open(t, port)
  await raw.until(() => raw.head !== '')
  const own = ServerResponse.prototype.write
  const written: unknown[] = []
  t.teardown(() => { ServerResponse.prototype.write = own })
  await app.sse.toChannel('room', 'numbered', 0)
  await raw.untilEvents(1)
  // It is replaced on the prototype. Otherwise the response would count as wrapped.
  ServerResponse.prototype.write = function (this: ServerResponse, ...args: Parameters<typeof own>): boolean {
    written.push(args[0])
    return own.apply(this, args)
  } as typeof own
  for (let number = 1; number < 5; number++) {
    await app.sse.toChannel('room', 'numbered', number)
    await raw.untilEvents(number + 1)
  }
  t.same(written, [])
  t.same(raw.events.map(event => event.data), ['0', '1', '2', '3', '4'])
  t.equal(replies[0]!.client.closed, false)
})

t.test('all plain sockets get the same Buffer object', async t => {
  const { app, port } = await streaming(t)
  const buffers: unknown[][] = []
  app.server.on('connection', (socket: Socket) => {
    const own: unknown[] = []
    buffers.push(own)
    const write = socket.write
    socket.write = function (this: Socket, ...args: Parameters<typeof write>): boolean {
      own.push(args[0])
      return write.apply(this, args)
    } as typeof write
  })
  const raws = [open(t, port), open(t, port), open(t, port)]
  for (const raw of raws) await raw.until(() => raw.head !== '')
  // The first event may still go through the response, together with the head.
  for (let number = 0; number < 2; number++) {
    await app.sse.toChannel('room', 'numbered', number)
    for (const raw of raws) await raw.untilEvents(number + 1)
  }
  const [first, second, third] = buffers.map(own => own.at(-1))
  t.type(first, Buffer)
  t.equal(second, first)
  t.equal(third, first)
})

t.test('text with several bytes in a character arrives byte for byte', async t => {
  const { app, port, replies } = await streaming(t)
  const raw = open(t, port)
  await raw.until(() => raw.head !== '')
  const texts = ['é', 'ÿ', 'Ā', '€', '漢字', '😀', 'é😀\u2028\u2029', '\ufeff', 'mixed: aé漢😀z', 'ascii']
  let expected = ''
  for (const text of [...texts, ...texts.map(text => text.repeat(500))]) {
    // Each event is published alone and together with others in one write.
    const name = [...text][0]!
    const { id } = await app.sse.toChannel('room', name, text)
    expected += textOf(id, name, JSON.stringify(text))
    if (text.length < 10) await raw.until(() => raw.text === expected)
  }
  // A lone half of a surrogate pair has no bytes in UTF-8.
  const { id } = await app.sse.toChannel('room', 'raw', 'a\ud83d', { raw: true })
  expected += textOf(id, 'raw', 'a\ufffd')
  replies[0]!.client.close()
  await raw.until(() => raw.complete)
  t.equal(raw.text, expected)
})

t.test('events around and above the size of one write come complete and in order', async t => {
  const { app, port, replies } = await streaming(t)
  const raw = open(t, port)
  await raw.until(() => raw.head !== '')
  const largest = 1024 * 1024
  const sizes = [65_400, 65_535, 65_536, 65_537, 131_072, 200_000, largest, 1]
  let expected = ''
  for (const size of sizes) {
    const data = `${size}`.padEnd(size, 'x').slice(0, size)
    const [large, small] = await Promise.all([
      app.sse.toChannel('room', 'large', data, { raw: true }),
      app.sse.toChannel('room', 'small', size)
    ])
    expected += textOf(large.id, 'large', data) + textOf(small.id, 'small', String(size))
    const bytes = Buffer.byteLength(expected)
    // Each look decodes the whole body again, so it looks only at the end.
    await raw.until(() => raw.received.length >= bytes)
  }
  const wide = '€'.repeat(Math.floor(largest / 3))
  const { id } = await app.sse.toChannel('room', 'wide', wide, { raw: true })
  expected += textOf(id, 'wide', wide)
  const bytes = Buffer.byteLength(expected)
  await raw.until(() => raw.received.length >= bytes)
  replies[0]!.client.close()
  await raw.until(() => raw.complete)
  t.ok(raw.body.equals(Buffer.from(expected)))
})

t.test('an event of exactly one write comes complete, as does one with one byte more', async t => {
  const { app, port } = await streaming(t)
  const raw = open(t, port)
  await raw.until(() => raw.head !== '')
  const around = textOf(null, 'edge', '').length
  let expected = ''
  for (const size of [65_535, 65_536, 65_537, 131_071, 131_072, 131_073]) {
    const data = 'y'.repeat(size - around)
    await app.sse.toChannel('room', 'edge', data, { raw: true, transient: true })
    expected += textOf(null, 'edge', data)
  }
  await raw.until(() => raw.received.length >= expected.length && raw.body.length >= expected.length)
  t.ok(raw.body.equals(Buffer.from(expected)))
})

t.test('directSocket', async t => {
  t.test('accepts a plain HTTP/1.1 response whose head was sent', async t => {
    const { port, replies } = await streaming(t)
    const raw = open(t, port)
    await raw.until(() => raw.head !== '')
    const { raw: response } = replies[0]!
    t.ok(response.socket)
    t.equal(directSocket(response), response.socket)
  })

  t.test('refuses a response whose head was not sent', async t => {
    const app = await buildApp(t)
    const answers: boolean[] = []
    app.get('/', (_request, reply) => {
      reply.hijack()
      answers.push(directSocket(reply.raw) !== null)
      reply.raw.writeHead(200, { 'content-type': 'text/plain' })
      // Node holds the head until there is a body to send with it.
      answers.push(directSocket(reply.raw) !== null)
      reply.raw.flushHeaders()
      answers.push(directSocket(reply.raw) !== null)
      reply.raw.end('done')
    })
    const raw = new RawClient(await listen(app))
    t.teardown(() => raw.destroy())
    await raw.until(() => raw.complete)
    t.same(answers, [false, false, true])
  })

  t.test('refuses a response that has no socket any more', async t => {
    const { port, replies } = await streaming(t)
    const raw = open(t, port)
    await raw.until(() => raw.head !== '')
    const { raw: response, client } = replies[0]!
    client.close()
    await raw.until(() => raw.complete)
    t.equal(directSocket(response), null)
  })

  t.test('refuses a response with a wrapped write, and the wrapper sees every byte', async t => {
    const seen: Buffer[] = []
    const { app, port, replies } = await streaming(t, {}, app => {
      app.addHook('onRequest', async (_request, reply) => {
        const write = reply.raw.write
        reply.raw.write = function (this: ServerResponse, ...args: Parameters<typeof write>): boolean {
          seen.push(Buffer.from(args[0]))
          return write.apply(this, args)
        } as typeof write
      })
    })
    const raw = open(t, port)
    await raw.until(() => raw.head !== '')
    for (let number = 0; number < 10; number++) await app.sse.toChannel('room', 'numbered', { number, text: '€'.repeat(number * 1000) })
    await raw.untilEvents(10)
    t.equal(directSocket(replies[0]!.raw), null)
    replies[0]!.client.close()
    await raw.until(() => raw.complete)
    t.equal(Buffer.concat(seen).toString(), raw.text)
    t.equal(raw.events.length, 10)
  })

  t.test('refuses HTTP/1.0', async t => {
    const { app, port, replies } = await streaming(t)
    const raw = open(t, port, { version: '1.0' })
    await raw.until(() => raw.head !== '')
    const { id } = await app.sse.toChannel('room', 'numbered', 1)
    await raw.untilEvents(1)
    t.equal(directSocket(replies[0]!.raw), null)
    t.equal(raw.header('transfer-encoding'), undefined)
    t.equal(raw.text, textOf(id, 'numbered', '1'))
  })

  t.test('refuses a response whose content-length a hook has set', async t => {
    const data = 'x'.repeat(100)
    const length = 3 * textOf(null, 'fixed', data).length
    const { app, port, replies } = await streaming(t, {}, app => {
      app.addHook('onSend', async (_request, reply, payload) => {
        reply.header('content-length', length)
        return payload
      })
    })
    const raw = open(t, port)
    await raw.until(() => raw.head !== '')
    for (let number = 0; number < 3; number++) await app.sse.toChannel('room', 'fixed', data, { raw: true, transient: true })
    await raw.untilEvents(3)
    const { raw: response, client } = replies[0]!
    t.equal(directSocket(response), null)
    client.close()
    await once(response, 'finish')
    t.equal(raw.header('transfer-encoding'), undefined)
    t.equal(raw.text, textOf(null, 'fixed', data).repeat(3))
  })

  t.test('refuses HEAD', async t => {
    const app = await buildApp(t)
    const answers: boolean[] = []
    app.head('/', (_request, reply) => {
      reply.hijack()
      // The transfer coding alone, set by hand, would promise a body.
      reply.raw.writeHead(200, { 'transfer-encoding': 'chunked' })
      reply.raw.flushHeaders()
      answers.push(reply.raw.headersSent, directSocket(reply.raw) !== null)
      reply.raw.end()
    })
    const raw = new RawClient(await listen(app), { method: 'HEAD' })
    t.teardown(() => raw.destroy())
    await raw.until(() => raw.head !== '')
    t.same(answers, [true, false])
  })

  t.test('refuses a response if one of Node\'s own fields is missing or has another value', async t => {
    const { port, replies } = await streaming(t)
    const raw = open(t, port)
    await raw.until(() => raw.head !== '')
    const { raw: response } = replies[0]!
    const others: Array<[target: object, field: string, values: unknown[]]> = [
      [response, 'chunkedEncoding', [undefined, false]],
      [response, '_hasBody', [undefined, false]],
      [response, 'outputData', [undefined, [{}]]],
      [response, 'write', [undefined, () => true]],
      [response, 'socket', [undefined, null, {}]],
      [response.socket!, '_httpMessage', [undefined, null, {}]]
    ]
    for (const [target, field, values] of others) {
      const own = Object.getOwnPropertyDescriptor(target, field)
      for (const value of values) {
        Object.defineProperty(target, field, { value, configurable: true, writable: true })
        t.equal(directSocket(response), null, `${field}: ${String(value)}`)
      }
      if (own === undefined) Reflect.deleteProperty(target, field)
      else Object.defineProperty(target, field, own)
    }
    t.equal(directSocket(response), response.socket)
  })

  t.test('refuses HTTP/2', async t => {
    const app = await buildApp(t, {}, { http2: true } as object)
    const responses: ServerResponse[] = []
    app.get('/events', (_request, reply) => {
      responses.push(reply.raw)
      reply.sse('room', BARE)
    })
    const session = connect(`http://127.0.0.1:${await listen(app)}`)
    t.teardown(() => session.destroy())
    const stream = session.request({ ':path': '/events' })
    await once(stream, 'response')
    await app.sse.toChannel('room', 'numbered', 1)
    await once(stream, 'data')
    t.equal(directSocket(responses[0]!), null)
  })

  t.test('refuses inject()', async t => {
    const app = await buildApp(t)
    const responses: ServerResponse[] = []
    app.get('/events', (_request, reply) => {
      responses.push(reply.raw)
      reply.sse('room', BARE)
    })
    const response = await app.inject({ url: '/events', payloadAsStream: true })
    const stream = response.stream()
    await app.sse.toChannel('room', 'numbered', 1)
    await once(stream, 'data')
    t.equal(responses[0]!.headersSent, true)
    t.equal(directSocket(responses[0]!), null)
  })

  t.test('refuses a pipelined response that waits, and accepts it when its turn comes', async t => {
    let answer = (): void => {}
    const answered = new Promise<void>(resolve => { answer = resolve })
    const { app, port, replies } = await streaming(t, {}, app => {
      app.addHook('onRequest', async request => { if (request.url === '/plain') await answered })
    })
    const raw = open(t, port, { path: '/plain' })
    raw.socket.write(requestText({ path: '/events' }))
    await once(app.sse as never, 'connect')
    await app.sse.toChannel('room', 'numbered', 1)
    const { raw: response } = replies[0]!
    t.equal(directSocket(response), null)
    answer()
    await raw.until(() => raw.received.includes('event: numbered'))
    t.equal(directSocket(response), response.socket)
  })
})

t.test('several streams on one keep-alive connection leave no listener on its socket', async t => {
  const { app, port, replies } = await streaming(t)
  const connected = once(app.server, 'connection')
  const raw = open(t, port, { path: '/plain' })
  const [socket] = await connected as [Socket]
  await raw.until(() => parseResponses(raw.received).length === 1)
  const count = (): Record<string, number> => Object.fromEntries(
    ['close', 'data', 'drain', 'end', 'error', 'finish', 'readable', 'timeout'].map(event => [event, socket.listenerCount(event)]))
  const before = count()
  const expected = ['{"plain":"text"}']
  for (let number = 0; number < 8; number++) {
    raw.socket.write(requestText({ path: '/events' }))
    await once(app.sse as never, 'connect')
    const { client, raw: response } = replies[number]!
    const data = 'z'.repeat(number * 20_000)
    // The head is sent alone, so that the rest goes past the response.
    await client.send('first', number)
    await app.sse.toChannel('room', 'second', data, { raw: true, transient: true })
    t.equal(response.socket, socket)
    client.close()
    expected.push(textOf(null, 'first', String(number)) + textOf(null, 'second', data))
    await raw.until(() => parseResponses(raw.received).length === number + 2)
  }
  raw.socket.write(requestText({ path: '/plain' }))
  expected.push('{"plain":"text"}')
  await raw.until(() => parseResponses(raw.received).length === expected.length)
  t.same(count(), before)
  t.same(parseResponses(raw.received).map(({ body }) => body.toString()), expected)
})

t.test('an event that is published after a stream has ended does not reach the next response on its connection', async t => {
  const { app, port, replies } = await streaming(t)
  const raw = open(t, port)
  await raw.until(() => raw.head !== '')
  const { client } = replies[0]!
  await client.send('one', 1)
  // This event is queued when the stream is told to end, so it is still sent.
  app.sse.toChannel('room', 'two', 2, { transient: true })
  client.close()
  app.sse.toChannel('room', 'late', 3, { transient: true })
  raw.socket.write(requestText({ path: '/plain' }))
  app.sse.toChannel('room', 'late', 'x'.repeat(200_000), { transient: true })
  t.equal(await client.send('late', 4), false)
  await raw.until(() => parseResponses(raw.received).length === 2)
  t.same(parseResponses(raw.received).map(({ body }) => body.toString()), [
    textOf(null, 'one', '1') + textOf(null, 'two', '2'),
    '{"plain":"text"}'
  ])
})

t.test('a stream that is ended while its socket refuses bytes ends completely, and the next response is right', async t => {
  const { app, port, replies } = await streaming(t, { maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 })
  const connected = once(app.server, 'connection')
  const raw = open(t, port)
  const [socket] = await connected as [Socket]
  await raw.until(() => raw.head !== '')
  const before = socket.listenerCount('drain')
  const { client } = replies[0]!
  await client.send('first', 1)
  raw.pause()
  const data = 'd'.repeat(60_000)
  let published = 0
  while (socket.writableLength === 0) {
    await app.sse.toChannel('room', 'filling', data, { raw: true, transient: true })
    published++
  }
  for (let more = 0; more < 5; more++, published++) app.sse.toChannel('room', 'filling', data, { raw: true, transient: true })
  client.close()
  raw.socket.write(requestText({ path: '/plain' }))
  const parts: Buffer[] = [raw.received]
  // The bytes are joined only once, because there are megabytes of them.
  raw.socket.removeAllListeners('data')
  raw.socket.on('data', data => parts.push(data))
  raw.resume()
  while (!parts.at(-1)!.includes('{"plain":"text"}')) await once(raw.socket, 'data')
  const responses = parseResponses(Buffer.concat(parts))
  t.equal(responses.length, 2)
  t.equal(responses[0]!.body.toString(), textOf(null, 'first', '1') + textOf(null, 'filling', data).repeat(published))
  t.equal(responses[1]!.body.toString(), '{"plain":"text"}')
  t.ok(socket.listenerCount('drain') <= before)
})

for (const [name, size] of [['takes more bytes', 1000], ['refuses bytes', 60_000]] as const) {
  t.test(`after the application has ended the response while its socket ${name}, nothing comes behind the last chunk`, async t => {
    const { app, open, replies, connected } = await onUnixSocket(t)
    const disconnects = recordDisconnects(app)
    const raw = open()
    const socket = await connected
    await raw.until(() => raw.head !== '')
    const [{ client, raw: response }] = replies as [Streaming['replies'][0]]
    await client.send('first', 1)
    raw.pause()
    const data = 'd'.repeat(size)
    const expected = [textOf(null, 'first', '1')]
    while (socket.writableLength === 0) {
      const sent = client.send('filling', data, { raw: true })
      expected.push(textOf(null, 'filling', data))
      await Promise.race([sent, new Promise(resolve => setImmediate(resolve))])
    }
    response.end()
    for (let n = 0; n < 3; n++) await app.sse.toChannel('room', 'secret', n, { transient: true })
    t.equal(response.writableFinished, false, 'the last bytes wait')
    raw.socket.write(requestText({ path: '/plain' }))
    raw.resume()
    await raw.until(() => parseResponses(raw.received).length === 2)
    const [stream, plain] = parseResponses(raw.received)
    t.equal(expected.join('').startsWith(stream!.body.toString()), true, 'the stream has what was written before its end')
    t.equal(plain!.body.toString(), '{"plain":"text"}')
    t.equal(await client.send('late', 1), false)
    t.same(disconnects.map(({ reason }) => reason), ['server'])
    t.match(app.sse.stats(), { clients: 0, bufferedBytes: 0 })
  })
}

t.test('a response that the application has ended is cut after stallTimeout if nobody reads its last bytes', async t => {
  const { app, open, replies, connected } = await onUnixSocket(t, { stallTimeout: 100 })
  const raw = open()
  const socket = await connected
  await raw.until(() => raw.head !== '')
  raw.pause()
  const [{ client, raw: response }] = replies as [Streaming['replies'][0]]
  while (socket.writableLength === 0) {
    client.send('filling', 'd'.repeat(60_000), { raw: true })
    await new Promise(resolve => setImmediate(resolve))
  }
  response.end()
  await once(response, 'close')
  t.ok(socket.destroyed)
  t.match(app.sse.stats(), { clients: 0, bufferedBytes: 0 })
})

t.test('over HTTP/2 too, nothing is written after the application has ended the response, and its last bytes leave', async t => {
  const app = await buildApp(t, {}, { http2: true } as never)
  const disconnects = recordDisconnects(app)
  const responses: ServerResponse[] = []
  app.get('/events', (_request, reply) => {
    responses.push(reply.raw)
    reply.sse('room', BARE)
  })
  const session = connect(`http://127.0.0.1:${await listen(app)}`, { settings: { initialWindowSize: 1000 } })
  t.teardown(() => session.destroy())
  await once(session, 'remoteSettings')
  const stream = new Http2Stream(session, '/events')
  await stream.until(() => stream.headers['content-type'] !== undefined)
  stream.stream.pause()
  await app.sse.clients()[0]!.send('filling', 'd'.repeat(5000), { raw: true })
  responses[0]!.end()
  await app.sse.toChannel('room', 'secret', 1, { transient: true })
  stream.stream.resume()
  await stream.untilClosed()
  t.equal(stream.ended, true)
  t.equal(stream.text, textOf(null, 'filling', 'd'.repeat(5000)))
  t.same(disconnects.map(({ reason }) => reason), ['server'])
})
