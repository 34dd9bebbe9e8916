// Streams together with Fastify's official plugins.
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { constants, createGunzip } from 'node:zlib'
import compress from '@fastify/compress'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import jwt from '@fastify/jwt'
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { EventSource } from 'eventsource'
import t, { type Test } from 'tap'
import { buildApp, listen } from '../support/app.js'
import { nextDisconnect } from '../support/disconnects.js'
import { MemoryLog } from '../support/memory-log.js'
import { parseEvents } from '../support/raw-client.js'
import { checkReceives, openStream, request, responsesAfter } from '../support/streams.js'

interface Served {
  readonly app: FastifyInstance
  readonly log: MemoryLog
}

async function build (t: Test): Promise<Served> {
  const log = new MemoryLog()
  return { log, app: await buildApp(t, {}, { loggerInstance: log.logger }) }
}

/** Adds the routes after the app's plugins, because some of these look at routes when they are added. */
async function serve (app: FastifyInstance): Promise<number> {
  app.get('/events', (_request, reply) => { reply.sse('room') })
  app.get('/plain', async () => 'plain')
  return await listen(app)
}

t.test('with @fastify/cors, a page of another origin may read the stream', async t => {
  const { app, log } = await build(t)
  await app.register(cors, { origin: ['https://app.example', 'https://other.example'], credentials: true })
  const client = await openStream(t, await serve(app), { headers: { origin: 'https://app.example' } })
  t.equal(client.header('access-control-allow-origin'), 'https://app.example')
  t.equal(client.header('access-control-allow-credentials'), 'true')
  t.equal(client.header('vary'), 'Origin')
  await checkReceives(t, app.sse, client)
  t.same(log.complaints, [])
})

t.test('with @fastify/cookie, a cookie set before or in a hook is sent with the stream, and the request\'s cookies are read', async t => {
  const { app, log } = await build(t)
  await app.register(cookie)
  app.addHook('onSend', async (_request, reply) => { reply.setCookie('late', '2') })
  app.get('/cookie', (request, reply) => {
    reply.setCookie('session', 'abc', { path: '/', httpOnly: true })
    reply.sse(`room-${request.cookies.room}`)
  })
  const client = await openStream(t, await serve(app), { path: '/cookie', headers: { cookie: 'room=7' } })
  t.match(client.head, /^set-cookie: session=abc;.*HttpOnly/m)
  t.match(client.head, /^set-cookie: late=2/m)
  t.equal(app.sse.clientCount('room-7'), 1)
  await checkReceives(t, app.sse, client)
  t.same(log.complaints, [])
})

t.test('with @fastify/helmet, its headers are sent with the stream', async t => {
  const { app, log } = await build(t)
  await app.register(helmet)
  const client = await openStream(t, await serve(app))
  t.match(client.header('content-security-policy'), /default-src 'self'/)
  t.equal(client.header('x-content-type-options'), 'nosniff')
  t.equal(client.header('content-type'), 'text/event-stream')
  await checkReceives(t, app.sse, client)
  t.same(log.complaints, [])
})

t.test('with @fastify/rate-limit, streams are counted, have its headers, and are refused above the limit', async t => {
  const { app } = await build(t)
  await app.register(rateLimit, { max: 2, timeWindow: 60_000 })
  const port = await serve(app)
  const client = await openStream(t, port)
  t.equal(client.header('x-ratelimit-limit'), '2')
  t.equal(client.header('x-ratelimit-remaining'), '1')
  await checkReceives(t, app.sse, client)
  await openStream(t, port)
  const refused = await request(t, port, { path: '/events' })
  t.equal(refused.status, 429)
  t.equal(app.sse.clientCount(), 2)
})

t.test('with @fastify/jwt, a stream needs a token', async t => {
  const { app, log } = await build(t)
  await app.register(jwt, { secret: 'not much of a secret' })
  app.get('/private', { onRequest: request => request.jwtVerify() }, (request, reply) => {
    reply.sse(`user-${(request.user as { name: string }).name}`)
  })
  const port = await serve(app)
  const stranger = await request(t, port, { path: '/private', headers: { accept: 'text/event-stream' } })
  t.equal(stranger.status, 401)
  t.equal(app.sse.stats().connections, 0)
  const client = await openStream(t, port, { path: '/private', headers: { authorization: `Bearer ${app.jwt.sign({ name: 'alice' })}` } })
  t.equal(app.sse.clientCount('user-alice'), 1)
  await checkReceives(t, app.sse, client)
  t.notOk(log.complaints.some(({ level }) => level > 40))
})

t.test('with @fastify/compress and its defaults, the stream is not compressed', async t => {
  const { app, log } = await build(t)
  await app.register(compress, { threshold: 0 })
  const client = await openStream(t, await serve(app), { headers: { 'accept-encoding': 'gzip, br' } })
  t.equal(client.header('content-encoding'), undefined)
  await checkReceives(t, app.sse, client)
  t.same(log.complaints, [])
})

interface Decoded {
  readonly response: IncomingMessage
  /** Resolves with the events when there are at least `count`. */
  events: (count: number) => Promise<ReturnType<typeof parseEvents>>
  /** Resolves with all events when the stream has ended completely, and rejects if it was cut. */
  end: () => Promise<ReturnType<typeof parseEvents>>
}

async function openGzip (t: Test, port: number): Promise<Decoded> {
  const outgoing = httpRequest({ port, host: '127.0.0.1', path: '/events', agent: false, headers: { 'accept-encoding': 'gzip' } }).end()
  outgoing.on('error', () => {})
  t.teardown(() => outgoing.destroy())
  const [response] = await once(outgoing, 'response') as [IncomingMessage]
  t.equal(response.headers['content-encoding'], 'gzip')
  const decoded = response.on('error', () => {}).pipe(createGunzip()).setEncoding('utf8')
  let text = ''
  decoded.on('data', data => { text += data })
  const ended = once(decoded, 'end')
  // Some tests never call `end`, so this handles the rejection.
  ended.catch(() => {})
  return {
    response,
    events: async count => {
      while (parseEvents(text).length < count) await once(decoded, 'data')
      return parseEvents(text)
    },
    end: async () => {
      await ended
      return parseEvents(text)
    }
  }
}

/** Also compresses event streams, and sends each event when it comes. */
const flushing = { customTypes: /event-stream/, encodings: ['gzip' as const], zlibOptions: { flush: constants.Z_SYNC_FLUSH } }

t.test('with @fastify/compress made to compress event streams and to flush, the decoded stream is right and ends completely', async t => {
  const { app, log } = await build(t)
  await app.register(compress, flushing)
  const port = await serve(app)
  const stream = await openGzip(t, port)
  await stream.events(1)
  const texts = ['one', 'ä €', 'x'.repeat(100_000)]
  for (const text of texts) {
    await app.sse.toChannel('room', 'message', text, { raw: true })
    await stream.events(1 + texts.indexOf(text) + 1)
  }
  app.sse.toChannel('room', 'message', 'the last', { raw: true })
  app.sse.clients()[0]!.close()
  t.same((await stream.end()).slice(1).map(({ data }) => data), [...texts, 'the last'])
  t.same(log.complaints, [])
})

t.test('with @fastify/compress made to compress event streams, a client that leaves is removed from the hub', async t => {
  const { app } = await build(t)
  await app.register(compress, flushing)
  const stream = await openGzip(t, await serve(app))
  await stream.events(1)
  const disconnected = nextDisconnect(app)
  stream.response.destroy()
  t.equal((await disconnected).reason, 'client')
  t.equal(app.sse.clientCount(), 0)
})

t.test('with @fastify/compress made to compress event streams, the last events are sent when the app closes', async t => {
  const { app } = await build(t)
  await app.register(compress, flushing)
  const stream = await openGzip(t, await serve(app))
  await stream.events(1)
  app.sse.toChannel('room', 'message', 'the last', { raw: true })
  await app.close()
  t.equal((await stream.end()).at(-1)!.data, 'the last')
})

/** Registers all six plugins. Each is set so that it adds something to every reply. */
async function registerAll (app: FastifyInstance): Promise<void> {
  await app.register(cors, { origin: true })
  await app.register(cookie)
  await app.register(helmet)
  await app.register(rateLimit, { max: 100 })
  await app.register(jwt, { secret: 'not much of a secret' })
  app.addHook('onRequest', async (request, reply) => {
    await request.jwtVerify()
    reply.setCookie('session', 'abc')
  })
}

t.test('with all six plugins, their headers are sent with the stream, events arrive, and its connection can be used again', async t => {
  const { app, log } = await build(t)
  await app.register(compress)
  await registerAll(app)
  const port = await serve(app)
  const headers = { origin: 'https://app.example', authorization: `Bearer ${app.jwt.sign({ name: 'alice' })}`, 'accept-encoding': 'gzip, br' }
  const client = await openStream(t, port, { headers })
  t.equal(client.header('access-control-allow-origin'), 'https://app.example')
  t.match(client.header('set-cookie'), /^session=abc/)
  t.ok(client.header('content-security-policy'))
  t.equal(client.header('x-ratelimit-limit'), '100')
  t.equal(client.header('content-encoding'), undefined)
  t.equal(client.header('cache-control'), 'no-cache, no-transform')
  await checkReceives(t, app.sse, client)
  t.same(log.complaints, [])
  app.sse.clients()[0]!.close()
  await client.until(() => client.complete)
  const responses = await responsesAfter(client, '/plain')
  // The second request has no token.
  t.same(responses.map(({ status }) => status), [200, 401])
})

t.test('with all six plugins, an EventSource gets its events compressed', async t => {
  const { app, log } = await build(t)
  await app.register(compress, flushing)
  await registerAll(app)
  const port = await serve(app)
  const authorization = `Bearer ${app.jwt.sign({ name: 'alice' })}`
  let encoding: string | null = ''
  const source = new EventSource(`http://127.0.0.1:${port}/events`, {
    fetch: async (url, init) => {
      const response = await fetch(url, { ...init, headers: { ...init.headers, authorization } })
      encoding = response.headers.get('content-encoding')
      return response
    }
  })
  t.teardown(() => source.close())
  await new Promise(resolve => source.addEventListener('sse:open', resolve, { once: true }))
  t.equal(encoding, 'gzip')
  const received = new Promise<MessageEvent>(resolve => source.addEventListener('message', resolve, { once: true }))
  await app.sse.toChannel('room', 'message', { text: 'hi' })
  t.equal((await received).data, '{"text":"hi"}')
  t.same(log.complaints, [])
})

const wrappers: Record<string, (reply: FastifyReply, saw: (payload: unknown) => void) => void> = {
  'a function': (reply, saw) => {
    const { send } = reply
    reply.send = function (payload?: unknown) {
      saw(payload)
      return send.call(this, payload)
    }
  },
  'an arrow function that steps back': (reply, saw) => {
    const { send } = reply
    reply.send = (payload?: unknown) => {
      saw(payload)
      reply.send = send
      return reply.send(payload)
    }
  }
}

for (const [kind, wrap] of Object.entries(wrappers)) {
  t.test(`a plugin that gives each reply a send() of its own, ${kind}, sees streams, and errors of replies that had one`, async t => {
    const app = await buildApp(t)
    const sent: string[] = []
    app.addHook('onRequest', async (request, reply) => wrap(reply, payload => {
      sent.push(`${request.url} ${payload instanceof Error ? payload.message : typeof (payload as Readable)?.pipe}`)
    }))
    app.get('/events', (_request, reply) => { reply.sse('room') })
    app.get('/async', async (_request, reply) => reply.sse('room'))
    app.get('/failing', { onSend: async (_request, _reply, payload) => { if (typeof payload !== 'string') throw new Error('the hook failed') } },
      (_request, reply) => { reply.sse('room') })
    const port = await listen(app)
    for (const path of ['/events', '/async']) {
      const client = await openStream(t, port, { path })
      await checkReceives(t, app.sse, client)
      app.sse.clients()[0]!.close()
      await client.until(() => client.complete)
    }
    const failed = await request(t, port, { path: '/failing' })
    t.equal(failed.status, 500)
    const errors = kind === 'a function' ? ['/failing the hook failed'] : []
    t.same(sent, ['/events function', '/async function', '/failing function', ...errors])
  })
}
