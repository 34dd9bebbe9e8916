// Compressed streams in real clients, over all transports. Clients can read each event as soon as it is sent.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import { connect as connectTls } from 'node:tls'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import { buildApp, listen, nextClient } from '../support/app.js'
import { selfSigned } from '../support/certificate.js'
import { comesBack, Inbox, NAMES, type Kind, type Listener } from '../support/comeback.js'
import { gunzipWhole } from '../support/gunzip.js'
import { Http2Stream } from '../support/http2-stream.js'
import { createParser, EventSource, fetch, UndiciEventSource } from '../support/newest-clients.js'
import { without } from '../support/programs.js'
import { RawClient, requestText } from '../support/raw-client.js'
import { parseResponses } from '../support/responses.js'
import { responsesAfter } from '../support/streams.js'

const GZIP = { 'accept-encoding': 'gzip' }
/** Texts that are stored, that are deflated, that have several bytes in a character, and that are larger than a write. */
const TEXTS = ['short', 'long enough '.repeat(100), 'é漢😀'.repeat(100), 'long '.repeat(30_000)]

async function build (t: Test, server: object = {}): Promise<FastifyInstance> {
  const app = await buildApp(t, { compress: true }, { forceCloseConnections: true, ...server } as FastifyServerOptions)
  app.get('/stream', (_request, reply) => { reply.sse('room') })
  app.get('/plain', async () => 'plain')
  return app
}

/** Publishes each event only after the one before has come. */
async function oneByOne (t: Test, app: FastifyInstance, until: (data: string) => Promise<unknown>): Promise<void> {
  for (let n = 0; n < 12; n++) {
    const data = `${n} ${TEXTS[n % TEXTS.length]}`
    await app.sse.toChannel('room', 'message', data, { raw: true, compress: n % 5 !== 4 })
    await until(data)
  }
  t.pass('each event came before the next one was sent')
}

/** Like `comesBack`, and checks that all streams are compressed. */
async function comesBackCompressed (t: Test, kind: Kind): Promise<void> {
  const encodings: unknown[] = []
  const resumptions = await comesBack(t, {
    ...kind,
    options: { compress: true },
    routes: app => app.addHook('onSend', async (_request, reply) => { encodings.push(reply.getHeader('content-encoding')) })
  })
  t.same(encodings, Array.from({ length: 1 + resumptions.length }, () => 'gzip'))
}

/** A class with the interface of a browser's EventSource. */
interface EventSourceLike {
  addEventListener (type: string, listener: (event: { readonly data: string }) => void): void
  close (): void
}

const sources = {
  'the package eventsource': (url: string) => new EventSource(url),
  'the EventSource of undici': (url: string) => new UndiciEventSource(url) as unknown as EventSourceLike
}

for (const [name, start] of Object.entries(sources)) {
  const listenTo = (t: Test, origin: string): Inbox => {
    const source: EventSourceLike = start(`${origin}/stream`)
    t.teardown(() => source.close())
    const inbox = new Inbox()
    for (const name of NAMES) source.addEventListener(name, ({ data }) => inbox.receive(name, data))
    return inbox
  }

  t.test(`${name} comes back by itself when its compressed stream is lost`, async t => {
    await comesBackCompressed(t, { start: listenTo })
  })

  t.test(`${name} gets the events of a compressed stream one by one`, async t => {
    const app = await build(t)
    const origin = `http://127.0.0.1:${await listen(app)}`
    const connected = nextClient(app)
    const inbox = listenTo(t, origin)
    await connected
    await oneByOne(t, app, data => inbox.until(data))
  })
}

/** Without this, programs that find a proxy in the environment would ask it for loopback. */
const env = { ...process.env, no_proxy: '*' }

interface Curl {
  lastEventId: string
  /** Resolves with its exit code. */
  readonly exited: Promise<number>
}

function curl (t: Test, url: string, inbox: Inbox, ...args: string[]): Curl {
  const child = spawn('curl', ['-sN', '--compressed', ...args, url], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const curl: Curl = { lastEventId: '', exited: once(child, 'close').then(([code]) => code as number) }
  const parser = createParser({
    onEvent ({ id, event, data }) {
      curl.lastEventId = id ?? curl.lastEventId
      inbox.receive(event ?? 'message', data)
    }
  })
  child.stdout.setEncoding('utf8').on('data', text => parser.feed(text))
  return curl
}

t.test('curl --compressed gets the events one by one, and accepts the end of the stream', { skip: without('curl') }, async t => {
  for (const [version, server] of [['--http1.1', {}], ['--http1.0', {}], ['--http2-prior-knowledge', { http2: true }]] as const) {
    const app = await build(t, server)
    const origin = `http://127.0.0.1:${await listen(app)}`
    const connected = nextClient(app)
    const inbox = new Inbox()
    const { exited } = curl(t, `${origin}/stream`, inbox, version)
    const client = await connected
    await oneByOne(t, app, data => inbox.until(data))
    client.close()
    t.equal(await exited, 0, version)
  }
})

t.test('curl --compressed resumes if it is given the last id', { skip: without('curl') }, async t => {
  await comesBackCompressed(t, {
    start (t, origin) {
      const inbox = new Inbox()
      let last = curl(t, `${origin}/stream`, inbox)
      return Object.assign(inbox, {
        async comeBack () {
          await last.exited
          last = curl(t, `${origin}/stream`, inbox, '-H', `Last-Event-ID: ${last.lastEventId}`)
        }
      } satisfies Partial<Listener>)
    }
  })
})

t.test('the fetch of undici reads each event when it comes, and the end of the stream', async t => {
  const app = await build(t)
  const response = await fetch(`http://127.0.0.1:${await listen(app)}/stream`, { headers: { accept: 'text/event-stream' } })
  t.equal(response.headers.get('content-encoding'), 'gzip')
  const inbox = new Inbox()
  const parser = createParser({ onEvent: ({ event, data }) => inbox.receive(event ?? 'message', data) })
  const decoder = new TextDecoder()
  const read = (async () => { for await (const part of response.body!) parser.feed(decoder.decode(part as Uint8Array, { stream: true })) })()
  await oneByOne(t, app, data => inbox.until(data))
  app.sse.clients()[0]!.close()
  await read
})

t.test('HTTP/1.0: the end of the connection ends the stream', async t => {
  const app = await build(t)
  const raw = new RawClient(await listen(app), { path: '/stream', version: '1.0', headers: GZIP })
  t.teardown(() => raw.destroy())
  await raw.untilEvents(1)
  t.equal(raw.header('content-encoding'), 'gzip')
  t.equal(raw.header('transfer-encoding'), undefined)
  await oneByOne(t, app, data => raw.until(() => raw.events.at(-1)!.data === data))
  app.sse.clients()[0]!.close()
  await raw.untilClosed()
  t.match(gunzipWhole(raw.body).toString(), /^retry: /)
})

t.test('HTTPS', async t => {
  const { key, cert } = selfSigned()
  const app = await build(t, { https: { key, cert } })
  const raw = new RawClient(connectTls({ port: await listen(app), host: '127.0.0.1', ca: cert }), { path: '/stream', headers: GZIP })
  t.teardown(() => raw.destroy())
  await raw.untilEvents(1)
  await oneByOne(t, app, data => raw.until(() => raw.events.at(-1)!.data === data))
  app.sse.clients()[0]!.close()
  await raw.until(() => raw.complete)
  t.match(gunzipWhole(raw.body).toString(), /^retry: /)
})

for (const secure of [false, true]) {
  t.test(`HTTP/2 ${secure ? 'over TLS' : 'in the clear'}: streams of both kinds on one session`, async t => {
    const { key, cert } = selfSigned()
    const app = await build(t, secure ? { http2: true, https: { key, cert } } : { http2: true })
    const port = await listen(app)
    const session: ClientHttp2Session = connectHttp2(`http${secure ? 's' : ''}://127.0.0.1:${port}`, secure ? { ca: cert } : {})
    t.teardown(() => session.destroy())
    const streams = [GZIP, {}, GZIP].map(headers => new Http2Stream(session, '/stream', headers))
    for (const stream of streams) await stream.untilEvents(1)
    t.same(streams.map(({ headers }) => headers['content-encoding']), ['gzip', undefined, 'gzip'])
    t.equal(streams[0]!.headers.vary, 'accept-encoding')
    await oneByOne(t, app, data => Promise.all(streams.map(stream => stream.until(() => stream.events.at(-1)!.data === data))))
    for (const client of app.sse.clients()) client.close()
    for (const stream of streams) await stream.untilClosed()
    t.ok(streams.every(({ ended }) => ended))
    for (const { body } of [streams[0]!, streams[2]!]) t.match(gunzipWhole(body).toString(), /^retry: /)
    t.match(streams[1]!.body.toString(), /^retry: /)
  })
}

t.test('a connection serves the next request and another stream after a compressed stream has ended', async t => {
  const app = await build(t)
  const raw = new RawClient(await listen(app), { path: '/stream', headers: GZIP })
  t.teardown(() => raw.destroy())
  await raw.untilEvents(1)
  for (const round of [1, 2, 3]) {
    await app.sse.toChannel('room', 'message', TEXTS[1])
    app.sse.clients()[0]!.close()
    await raw.until(() => parseResponses(raw.received).length === 2 * round - 1)
    const responses = await responsesAfter(raw, '/plain')
    t.equal(responses.length, 2 * round)
    t.equal(responses.at(-1)!.body.toString(), 'plain')
    t.match(gunzipWhole(responses.at(-2)!.body).toString(), /long enough/)
    const connected = nextClient(app)
    raw.socket.write(requestText({ path: '/stream', headers: GZIP }))
    await connected
  }
})

t.test('pipelined streams, with and without compression, come one after the other', async t => {
  const app = await build(t)
  const requests = [GZIP, {}, GZIP].map(headers => requestText({ path: '/stream', headers })).join('')
  const raw = new RawClient(await listen(app), { path: '/plain' })
  t.teardown(() => raw.destroy())
  raw.socket.write(requests)
  while (app.sse.clientCount() < 3) await nextClient(app)
  await app.sse.toChannel('room', 'message', TEXTS[1])
  for (const client of app.sse.clients()) client.close()
  await raw.until(() => parseResponses(raw.received).length === 4)
  const [plain, ...streams] = parseResponses(raw.received)
  t.equal(plain!.body.toString(), 'plain')
  t.same(streams.map(({ head }) => /^content-encoding: gzip$/m.test(head.replaceAll('\r', ''))), [true, false, true])
  for (const { head, body } of streams) t.match((head.includes('gzip') ? gunzipWhole(body) : body).toString(), /^retry: [^]*long enough .*\nid: .*\n\n$/)
})
