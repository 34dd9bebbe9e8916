// Which clients get a compressed stream, and its headers together with those of hooks and other plugins.
import { PassThrough, type Readable } from 'node:stream'
import { constants } from 'node:zlib'
import compress from '@fastify/compress'
import cors from '@fastify/cors'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { buildApp, listen } from '../support/app.js'
import { gunzipWhole } from '../support/gunzip.js'
import { ERROR, MemoryLog } from '../support/memory-log.js'
import { opener } from '../support/open.js'
import { checkReceives, openStream, request, responsesAfter } from '../support/streams.js'

const GZIP = { 'accept-encoding': 'gzip' }
/** The header of browsers. */
const BROWSER = { 'accept-encoding': 'gzip, deflate, br, zstd' }

/** Adds the stream and a plain route to an app, and makes it listen. */
async function serve (app: FastifyInstance): Promise<number> {
  app.get('/events', (_request, reply) => { reply.sse('room') })
  app.get('/plain', async () => 'plain')
  return await listen(app)
}

t.test('a client gets gzip if its Accept-Encoding allows it', async t => {
  const app = await buildApp(t, { compress: true })
  const port = await serve(app)
  for (const encodings of ['gzip', 'GZip', 'deflate, gzip', BROWSER['accept-encoding'], 'gzip;q=0.5', 'br;q=1, gzip;q=0.001', '*', '*;q=0.1', 'identity;q=0.5, *;q=0.1', 'identity;q=0, gzip']) {
    const client = await openStream(t, port, { headers: { 'accept-encoding': encodings } })
    t.equal(client.header('content-encoding'), 'gzip', encodings)
    t.equal(client.header('vary'), 'accept-encoding')
    t.equal(client.header('content-type'), 'text/event-stream')
    t.equal(client.header('cache-control'), 'no-cache, no-transform')
    await checkReceives(t, app.sse, client)
    t.not(client.body.toString(), client.text)
  }
})

t.test('all other clients get the same as without compression, with a header for caches that it depends on Accept-Encoding', async t => {
  const [app, without] = [await buildApp(t, { compress: true }), await buildApp(t)]
  const [port, portWithout] = [await serve(app), await serve(without)]
  for (const encodings of [undefined, '', 'identity', 'br', 'deflate, br, zstd', 'gzip;q=0', 'gzip; q=0.000', 'gzip;q=0, *', '*;q=0', 'gzipped']) {
    const headers: Record<string, string> = encodings === undefined ? {} : { 'accept-encoding': encodings }
    const [client, expected] = [await openStream(t, port, { headers }), await openStream(t, portWithout, { headers })]
    const [head, expectedHead] = [client, expected].map(({ head }) => head.replace(/^date: .*$/im, ''))
    t.equal(head!.replace(/^vary: accept-encoding\r\n/im, ''), expectedHead, `accept-encoding: ${encodings}`)
    t.equal(client.header('vary'), 'accept-encoding')
    await checkReceives(t, app.sse, client)
    t.equal(client.body.toString(), client.text)
  }
})

t.test('without the option, no stream is compressed', async t => {
  for (const options of [{}, { compress: false }]) {
    const client = await openStream(t, await serve(await buildApp(t, options)), { headers: BROWSER })
    t.equal(client.header('content-encoding'), undefined)
    t.equal(client.header('vary'), undefined)
  }
})

t.test('a route may turn compression on or off, whatever its hub does', async t => {
  for (const hub of [undefined, false, true, { level: 1 }] as const) {
    const app = await buildApp(t, hub === undefined ? {} : { compress: hub })
    const open = await opener(t, app)
    for (const [route, gzip] of [[undefined, Boolean(hub)], [true, true], [false, false], [{ threshold: 0 }, true]] as const) {
      const { raw } = await open('room', route === undefined ? {} : { compress: route }, GZIP)
      t.equal(raw.header('content-encoding'), gzip ? 'gzip' : undefined, JSON.stringify({ hub, route }))
      await checkReceives(t, app.sse, raw)
    }
  }
})

t.test('a route uses the hub\'s compression settings for those that it does not set', async t => {
  const app = await buildApp(t, { compress: { threshold: 10, level: 9 } })
  const open = await opener(t, app)
  const before = app.sse.stats().bytesWritten
  const sizes = []
  let written = before
  for (const compress of [true, { level: 9 }, { threshold: 10 }, { threshold: 10, level: 9 }, { threshold: 1000 }] as const) {
    const { raw, client } = await open([], { compress, greeting: false, retry: null }, GZIP)
    t.equal(await client.send('message', 'x'.repeat(100), { compress: true }), true)
    sizes.push(app.sse.stats().bytesWritten - written)
    written = app.sse.stats().bytesWritten
    raw.destroy()
  }
  const [small] = sizes
  t.strictSame(sizes.slice(0, 4), [small, small, small, small])
  t.ok(sizes[4]! > small!, 'a route\'s own threshold counts')
})

t.test('clients that take gzip and others share a channel, and get the same', async t => {
  const app = await buildApp(t, { compress: true, historySize: 100 })
  const open = await opener(t, app)
  const streams = []
  for (let n = 0; n < 20; n++) streams.push(await open('room', { id: `client-${n % 10}`, greeting: false }, n < 10 ? GZIP : {}))
  for (let n = 0; n < 30; n++) app.sse.toChannel('room', 'tick', { n, text: 'ä € '.repeat(n * 10) }, { except: `client-${n % 20}` })
  await app.sse.send('last', null)
  for (const { raw } of streams) await raw.until(() => raw.events.at(-1)?.event === 'last')
  for (let n = 0; n < 10; n++) {
    t.equal(streams[n]!.raw.header('content-encoding'), 'gzip')
    t.equal(streams[n]!.raw.text, streams[n + 10]!.raw.text)
  }
  t.ok(streams[0]!.raw.body.length < streams[10]!.raw.body.length / 2)
})

t.test('accept-encoding is added to a Vary header of hooks and other plugins', async t => {
  const app = await buildApp(t, { compress: true })
  await app.register(cors, { origin: ['https://app.example', 'https://other.example'] })
  const compressed = await openStream(t, await serve(app), { headers: { ...GZIP, origin: 'https://app.example' } })
  t.equal(compressed.header('vary'), 'Origin, accept-encoding')
  await checkReceives(t, app.sse, compressed)

  for (const [vary, expected] of [
    ['*', '*'], ['Accept-Encoding', 'Accept-Encoding'], ['origin,  ACCEPT-ENCODING ,cookie', 'origin,  ACCEPT-ENCODING ,cookie'],
    ['x-accept-encoding', 'x-accept-encoding, accept-encoding'], [['origin', 'cookie'], 'origin,cookie, accept-encoding']
  ] as const) {
    const app = await buildApp(t, { compress: true })
    app.addHook('onRequest', async (_request, reply) => { reply.header('vary', vary) })
    const client = await openStream(t, await serve(app), { headers: GZIP })
    t.equal(client.header('vary'), expected)
  }
})

t.test('if the application sets content-encoding, the hub does not compress', async t => {
  const ways: Array<(app: FastifyInstance) => void> = [
    app => app.addHook('onRequest', async (_request, reply) => { reply.header('content-encoding', 'identity') }),
    app => app.addHook('onRequest', async (_request, reply) => { reply.raw.setHeader('content-encoding', 'identity') })
  ]
  for (const say of ways) {
    const app = await buildApp(t, { compress: true })
    say(app)
    const client = await openStream(t, await serve(app), { headers: GZIP })
    t.equal(client.header('content-encoding'), 'identity')
    t.equal(client.header('vary'), undefined)
    await checkReceives(t, app.sse, client)
  }
})

t.test('a wrong option is refused with a message that names it', async t => {
  const wrong: Array<[unknown, RegExp]> = [
    [1, /"compress".*boolean or object/], ['gzip', /"compress"/], [null, /"compress"/], [[], /"compress"/],
    [{ level: 0 }, /"level" of "compress"/], [{ level: 10 }, /"level"/], [{ level: 1.5 }, /"level"/], [{ level: '3' }, /"level"/],
    [{ threshold: -1 }, /"threshold" of "compress"/], [{ threshold: 65_537 }, /"threshold"/], [{ threshold: null }, /"threshold"/],
    [{ treshold: 1 }, /"treshold".*threshold, level/]
  ]
  const app = await buildApp(t, { compress: true })
  app.get<{ Params: { n: number } }>('/:n', (request, reply) => { reply.sse('room', { compress: wrong[request.params.n]![0] as boolean }) })
  const port = await listen(app)
  for (const [n, [option, message]] of wrong.entries()) {
    const compress = option as boolean
    await t.rejects(buildApp(t, { compress }), { code: 'SSE_ERR_INVALID_OPTION', message })
    const client = await request(t, port, { path: `/${n}`, headers: GZIP })
    await client.until(() => client.body.includes('}'))
    t.equal(client.status, 500)
    t.equal(client.header('content-encoding'), undefined)
    t.match(JSON.parse(client.text), { code: 'SSE_ERR_INVALID_OPTION', message })
  }
  t.equal(app.sse.stats().connections, 0)
  for (const compress of ['yes', 1, null, {}]) {
    await t.rejects(app.sse.send('n', 1, { compress: compress as boolean }), { code: 'SSE_ERR_INVALID_OPTION', message: /"compress"/ })
  }
  for (const compress of [true, false, {}, { level: 1 }, { level: 9, threshold: 0 }, { threshold: 65_536 }]) await buildApp(t, { compress })
})

t.test('a direct send refuses a wrong option', async t => {
  const app = await buildApp(t, { compress: true })
  const { client } = await (await opener(t, app))()
  await t.rejects(client.send('n', 1, { compress: 1 as unknown as boolean }), { code: 'SSE_ERR_INVALID_OPTION', message: /"compress" of client\.send\(\)/ })
  await t.rejects(client.stream(['a'], { event: 'n', compress: 1 as unknown as boolean }), { code: 'SSE_ERR_INVALID_OPTION', message: /"compress" of client\.stream\(\)/ })
})

t.test('HEAD is answered with the head of a compressed stream', async t => {
  const app = await buildApp(t, { compress: true })
  const port = await serve(app)
  const client = await request(t, port, { path: '/events', method: 'HEAD', headers: GZIP })
  t.equal(client.status, 200)
  t.equal(client.header('content-encoding'), 'gzip')
  t.equal(client.header('vary'), 'accept-encoding')
  t.match(app.sse.stats(), { connections: 0, bytesWritten: 0 })
  const { received } = client
  client.socket.write('GET /plain HTTP/1.1\r\nhost: localhost\r\n\r\n')
  await client.until(() => client.received.includes('plain', received.length))
  t.match(client.received.subarray(received.length).toString(), /^HTTP\/1\.1 200 /, 'nothing is between the head and the next answer')
})

t.test('an injected request is answered with a complete compressed stream', async t => {
  const app = await buildApp(t, { compress: true })
  app.get('/events', (_request, reply) => {
    const client = reply.sse()
    client.send('own', 'é'.repeat(1000), { compress: true })
    client.close()
  })
  const { headers, rawPayload } = await app.inject({ url: '/events', headers: GZIP })
  t.equal(headers['content-encoding'], 'gzip')
  t.match(gunzipWhole(rawPayload).toString(), /event: own\ndata: "é{1000}"\n\n$/)
  t.ok(rawPayload.length < 500)
})

const failing: Record<string, (app: FastifyInstance) => void> = {
  'an onSend hook throws': app => app.addHook('onSend', async (_request, reply) => {
    if (reply.statusCode === 200) throw new Error('no')
  }),
  'the handler throws before the hooks are done': app => {
    app.addHook('onSend', async () => { await new Promise(resolve => setImmediate(resolve)) })
    app.get('/throws', async (_request, reply) => {
      reply.sse()
      throw new Error('no')
    })
  }
}

for (const [what, prepare] of Object.entries(failing)) {
  t.test(`if ${what}, the answer does not say that it is compressed`, async t => {
    const app = await buildApp(t, { compress: true }, { loggerInstance: new MemoryLog().logger })
    prepare(app)
    const port = await serve(app)
    const client = await request(t, port, { path: app.hasRoute({ method: 'GET', url: '/throws' }) ? '/throws' : '/events', headers: GZIP })
    await client.until(() => client.body.includes('}'))
    t.equal(client.status, 500)
    t.equal(client.header('content-encoding'), undefined)
    t.match(client.body.toString(), /"message":"no"/)
    t.equal(app.sse.clientCount(), 0)
  })
}

t.test('an error handler may open a compressed stream after the hook of another stream has failed', async t => {
  const app = await buildApp(t, { compress: true })
  let fails = true
  app.addHook('onSend', async () => {
    if (!fails) return
    fails = false
    throw new Error('once')
  })
  app.setErrorHandler((_error, _request, reply) => { reply.code(200).sse('room') })
  const client = await openStream(t, await serve(app), { headers: GZIP })
  t.equal(client.header('content-encoding'), 'gzip')
  t.equal(client.header('vary'), 'accept-encoding')
  await checkReceives(t, app.sse, client)
})

t.test('the stream of a handler that fails later ends completely', async t => {
  const log = new MemoryLog()
  const app = await buildApp(t, { compress: true }, { loggerInstance: log.logger })
  app.get('/events', async (_request, reply) => {
    reply.sse()
    await app.sse.send('message', 'the last')
    await new Promise(resolve => setImmediate(resolve))
    throw new Error('no')
  })
  app.get('/plain', async () => 'plain')
  const client = await openStream(t, await listen(app), { headers: GZIP })
  await client.until(() => client.complete)
  t.match(gunzipWhole(client.body).toString(), /"the last"/)
  t.match(log.complaints, [{ level: ERROR, err: { message: 'no' } }])
  t.same((await responsesAfter(client, '/plain')).map(({ status }) => status), [200, 200], 'the connection serves the next request')
})

t.test('a hook may pass on the bytes of a compressed stream, and each event still comes at once', async t => {
  const app = await buildApp(t, { compress: true })
  app.addHook('onSend', async (_request, _reply, payload) => (payload as Readable).pipe(new PassThrough()))
  const client = await openStream(t, await serve(app), { headers: GZIP })
  for (const text of ['short', 'long '.repeat(100), 'longer '.repeat(30_000)]) {
    await app.sse.toChannel('room', 'message', text)
    await client.until(() => client.events.at(-1)!.data === JSON.stringify(text))
  }
  app.sse.clients()[0]!.close()
  await client.until(() => client.complete)
  t.match(gunzipWhole(client.body).toString(), /"short"[^]*"long [^]*"longer /)
  t.equal(client.header('content-encoding'), 'gzip')
})

t.test('@fastify/compress, made to compress event streams, does not compress a second time, and compresses for other clients', async t => {
  const app = await buildApp(t, { compress: true })
  await app.register(compress, { customTypes: /event-stream/, threshold: 0, zlibOptions: { flush: constants.Z_SYNC_FLUSH } })
  const port = await serve(app)
  const client = await openStream(t, port, { headers: BROWSER })
  t.same(client.head.split('\r\n').filter(line => /^content-encoding:/i.test(line)), ['content-encoding: gzip'])
  t.match(client.header('vary'), /^accept-encoding$/i)
  await checkReceives(t, app.sse, client)
  app.sse.clients()[0]!.close()
  await client.until(() => client.complete)
  t.match(gunzipWhole(client.body).toString(), /^retry: /)
  const other = await request(t, port, { path: '/events', headers: { 'accept-encoding': 'deflate' } })
  t.equal(other.header('content-encoding'), 'deflate')
})
