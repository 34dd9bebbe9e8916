// Attacks: taking all places, reading one byte at a time, giant and malformed requests, guessing ids. test/internals/wire.test.ts
// checks that published data can't forge events.
import { connect, type Socket } from 'node:net'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import { addressKey, type SSEAddressKeyOptions, type SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen, nextClient } from '../support/app.js'
import { nextDisconnect } from '../support/disconnects.js'
import { MemoryLog, WARN } from '../support/memory-log.js'
import { opener, received } from '../support/open.js'
import { RawClient, requestText } from '../support/raw-client.js'
import { checkReceives, openStream, request } from '../support/streams.js'
import { unixSocket } from '../support/unix-socket.js'

interface Served {
  readonly app: FastifyInstance
  readonly log: MemoryLog
  readonly port: number
}

async function serve (t: Test, options: SSEPluginOptions, server: FastifyServerOptions = {}, prepare: (app: FastifyInstance) => void = () => {}): Promise<Served> {
  const log = new MemoryLog()
  const app = await buildApp(t, options, { loggerInstance: log.logger, ...server })
  prepare(app)
  app.get('/events', (_request, reply) => { reply.sse('room') })
  app.get('/plain', async () => 'plain')
  return { app, log, port: await listen(app) }
}

/** A request from another address of loopback. */
async function requestFrom (t: Test, localAddress: string, port: number): Promise<RawClient> {
  const socket: Socket = connect({ port, host: '127.0.0.1', localAddress })
  const client = new RawClient(socket, { path: '/events' })
  t.teardown(() => client.destroy())
  await client.until(() => client.head !== '')
  return client
}

t.test('with maxClientsPerKey', async t => {
  await t.test('an address that has reached the limit gets 429 with Retry-After, and other addresses do not', async t => {
    const { app, port } = await serve(t, { maxClientsPerKey: 2, retry: 2001 })
    const streams = [await openStream(t, port), await openStream(t, port)]
    const refused = await request(t, port, { path: '/events' })
    t.equal(refused.status, 429)
    t.equal(refused.header('retry-after'), '3')
    t.match(JSON.parse(refused.text), { statusCode: 429, code: 'SSE_ERR_TOO_MANY_CLIENTS_PER_KEY', message: 'All 2 streams that one client may have open are taken' })
    t.equal((await requestFrom(t, '127.0.0.2', port)).status, 200)
    t.equal(app.sse.clientCount(), 3)
    await checkReceives(t, app.sse, streams[1]!)
    t.equal((await request(t, port, { path: '/plain' })).status, 200, 'other routes have no limit')
  })

  await t.test('there is room again when a stream has ended, whichever side ended it', async t => {
    const { app, port } = await serve(t, { maxClientsPerKey: 1 })
    const first = await openStream(t, port)
    let gone = nextDisconnect(app)
    first.destroy()
    await gone
    await openStream(t, port)
    gone = nextDisconnect(app)
    app.sse.clients()[0]!.close()
    await gone
    await openStream(t, port)
    t.equal((await request(t, port, { path: '/events' })).status, 429)
  })

  await t.test('a network of IPv6 counts as one, and an IPv4 address as the same over IPv6', async t => {
    const { port } = await serve(t, { maxClientsPerKey: 1 }, { trustProxy: true })
    const from = async (ip: string): Promise<number> => (await request(t, port, { path: '/events', headers: { 'x-forwarded-for': ip } })).status
    t.same([await from('2001:db8:1:2::1'), await from('2001:DB8:1:2:ffff::'), await from('2001:db8:1:3::1')], [200, 429, 200])
    t.same([await from('192.0.2.1'), await from('::ffff:192.0.2.1'), await from('::ffff:c000:201'), await from('::ffff:192.0.2.2')], [200, 429, 429, 200])
  })

  await t.test('addressKey() serves a key of one\'s own, with a network of another size', async t => {
    const { port } = await serve(t, { maxClientsPerKey: 1, key: request => addressKey(request, { ipv6Prefix: 56 }) }, { trustProxy: true })
    const from = async (ip: string): Promise<number> => (await request(t, port, { path: '/events', headers: { 'x-forwarded-for': ip } })).status
    t.same([await from('2001:db8:1:2::1'), await from('2001:db8:1:ff::1'), await from('2001:db8:1:100::1')], [200, 429, 200])
  })

  await t.test('a stream that is not opened, and a HEAD, do not count', async t => {
    const { app, port } = await serve(t, { maxClientsPerKey: 1, maxChannelsPerClient: 1 })
    await t.test('HEAD', async t => {
      for (let n = 0; n < 3; n++) t.equal((await request(t, port, { path: '/events', method: 'HEAD' })).status, 200)
    })
    await t.test('406', async t => {
      for (let n = 0; n < 3; n++) t.equal((await request(t, port, { path: '/events', headers: { accept: 'image/png' } })).status, 406)
    })
    t.equal(app.sse.stats().refused, 0)
    await openStream(t, port)
  })

  await t.test('key says to whom a stream belongs; with undefined, the stream does not count', async t => {
    const { port } = await serve(t, { maxClientsPerKey: 1, key: ({ headers }) => headers['x-user'] as string | undefined })
    const as = async (user: string): Promise<number> => (await request(t, port, { path: '/events', headers: { 'x-user': user } })).status
    t.same([await as('ada'), await as('ada'), await as('bob'), await as('')], [200, 429, 200, 200])
    t.equal(await as(''), 429, 'an empty key is one as well')
    for (let n = 0; n < 3; n++) await openStream(t, port)
  })

  await t.test('with a trusted proxy, the address that the proxy sends counts', async t => {
    const { port } = await serve(t, { maxClientsPerKey: 1 }, { trustProxy: true })
    const from = async (ip: string): Promise<number> => (await request(t, port, { path: '/events', headers: { 'x-forwarded-for': ip } })).status
    t.same([await from('192.0.2.1'), await from('192.0.2.2'), await from('192.0.2.1')], [200, 200, 429])
  })

  await t.test('a key that throws or is not a string fails only its own request', async t => {
    let bad: () => unknown
    const { app, port } = await serve(t, {
      maxClientsPerKey: 1,
      key: ({ ip, headers }) => headers['x-bad'] === undefined ? ip : bad() as string
    })
    const stream = await openStream(t, port)
    const error = Object.assign(new Error('no such user'), { code: 'MINE' })
    const failing: Array<[code: string, key: () => unknown]> = [
      ['SSE_ERR_INVALID_OPTION', () => 1],
      ['SSE_ERR_INVALID_OPTION', () => null],
      ['SSE_ERR_INVALID_OPTION', () => Promise.reject(error)],
      ['MINE', () => { throw error }]
    ]
    for (const [code, key] of failing) {
      bad = key
      const refused = await request(t, port, { path: '/events', headers: { 'x-bad': '1' } })
      t.equal(refused.status, 500)
      t.equal(JSON.parse(refused.text).code, code)
    }
    t.equal(app.sse.clientCount(), 1)
    await checkReceives(t, app.sse, stream)
  })
})

t.test('addressKey()', async t => {
  const keyOf = (ip: string | undefined, options?: SSEAddressKeyOptions): string | undefined => addressKey({ ip: ip as string }, options)
  t.test('gives an IPv6 address by its /64, however it is written', async t => {
    for (const ip of ['2001:db8:1:2::', '2001:0DB8:0001:0002:0003:0004:0005:0006', '2001:db8:1:2::192.0.2.1', '2001:db8:1:2::1%eth0']) t.equal(keyOf(ip), '2001:db8:1:2::/64', ip)
    t.equal(keyOf('::1'), '0:0:0:0::/64')
    t.equal(keyOf('1::'), '1:0:0:0::/64')
    t.equal(keyOf('fe80::1%en0'), 'fe80:0:0:0::/64')
  })
  t.test('gives an IPv4 address, mapped or not, what is no address, and no address as it is', async t => {
    for (const ip of ['192.0.2.1', '::ffff:192.0.2.1', '::FFFF:C000:0201', '0:0:0:0:0:ffff:192.0.2.1']) t.equal(keyOf(ip, { ipv6Prefix: 1 }), '192.0.2.1', ip)
    t.equal(keyOf('unknown'), 'unknown')
    t.equal(keyOf(undefined), undefined)
    t.equal(keyOf('::192.0.2.1'), '0:0:0:0::/64')
  })
  t.test('takes a network of another size', async t => {
    const ip = '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'
    for (const [ipv6Prefix, key] of [[1, '0::/1'], [16, '2001::/16'], [17, '2001:0::/17'], [47, '2001:db8:fffe::/47'], [48, '2001:db8:ffff::/48'],
      [56, '2001:db8:ffff:ff00::/56'], [127, '2001:db8:ffff:ffff:ffff:ffff:ffff:fffe/127'], [128, `${ip}/128`]] as const) t.equal(keyOf(ip, { ipv6Prefix }), key)
  })
  t.test('refuses a size that is none', async t => {
    for (const ipv6Prefix of [0, 129, 1.5, NaN, '64', null]) {
      for (const ip of ['::1', '192.0.2.1']) t.throws(() => keyOf(ip, { ipv6Prefix: ipv6Prefix as number }), { code: 'SSE_ERR_INVALID_OPTION' }, String(ipv6Prefix))
    }
  })
})

t.test('a stream that has ended counts until its last bytes have left', async t => {
  for (const [option, status] of [['maxClients', 503], ['maxClientsPerKey', 429]] as const) {
    const app = await buildApp(t, { [option]: 3, key: () => 'one', maxBufferedBytes: 64 * 1024 * 1024 })
    app.get('/large', (_request, reply) => {
      const client = reply.sse()
      client.send('large', 'x'.repeat(900_000))
      client.close()
    })
    const socketPath = unixSocket(t)
    await app.listen({ path: socketPath })
    const readers: RawClient[] = []
    const open = async (): Promise<RawClient> => {
      const reader = new RawClient(connect(socketPath), { path: '/large' })
      t.teardown(() => reader.destroy())
      await reader.until(() => reader.head !== '')
      reader.pause()
      readers.push(reader)
      return reader
    }
    for (let n = 0; n < 3; n++) t.equal((await open()).status, 200)
    t.equal(app.sse.clientCount(), 0)
    t.equal((await open()).status, status)
    t.equal((await open()).status, status)
    readers[0]!.resume()
    await readers[0]!.until(() => readers[0]!.complete)
    t.equal((await open()).status, 200)
    t.equal((await open()).status, status)
    readers[1]!.destroy()
    readers[2]!.destroy()
    // Nothing tells the test when the server has seen it.
    while (app.sse.stats().bufferedBytes > 900_000) await new Promise(resolve => setImmediate(resolve))
    t.equal((await open()).status, 200)
    t.match(app.sse.stats(), { clients: 0, refused: 3 })
  }
})

t.test('a handler may close a stream that has read all, and open another in its place at once', async t => {
  const app = await buildApp(t, { maxClients: 1, maxClientsPerKey: 1 })
  app.get('/newest', (_request, reply) => {
    for (const client of app.sse.clients()) client.close()
    reply.sse()
  })
  const port = await listen(app)
  const older = await openStream(t, port, { path: '/newest' })
  const newest = await openStream(t, port, { path: '/newest' })
  await older.until(() => older.complete)
  await checkReceives(t, app.sse, newest)
})

t.test('headers that are longer than any client sends are not parsed, and the limits come before all headers', async t => {
  const { app, port } = await serve(t, { compress: true, maxClients: 2 })
  const long = (header: string, length: number): string => (header + 'a/b,'.repeat(length)).slice(0, length)
  const open = async (headers: Record<string, string>): Promise<RawClient> => await request(t, port, { path: '/events', headers })
  t.equal((await open({ accept: long('text/event-stream,', 1024) })).status, 200)
  t.equal((await open({ accept: long('text/event-stream,', 1025) })).status, 406)
  const plain = await open({ accept: 'text/event-stream', 'accept-encoding': long('gzip,', 1025) })
  t.same([plain.status, plain.header('content-encoding'), plain.header('vary')], [200, undefined, 'accept-encoding'])
  t.equal((await open({ accept: long('text/event-stream,', 1025) })).status, 503)
  t.equal(app.sse.clientCount(), 2)
})

const FLOOD = 400

for (const [option, status, count] of [['maxClients', 503, 'aboveMaxClients'], ['maxClientsPerKey', 429, 'aboveMaxClientsPerKey']] as const) {
  t.test(`a flood against ${option} is refused with ${status}, logged once a second, and harms no open stream`, async t => {
    const { app, log, port } = await serve(t, { [option]: 2 })
    await openStream(t, port)
    const stream = await openStream(t, port)
    // They come on one connection, all at once. The server takes the next one as soon as it has answered the one before.
    const flooder = new RawClient(port, { path: '/events' })
    t.teardown(() => flooder.destroy())
    flooder.socket.write('GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n'.repeat(FLOOD - 1))
    await flooder.until(() => (flooder.received.toString().match(/HTTP\/1\.1 /g) ?? []).length === FLOOD)
    t.equal((flooder.received.toString().match(new RegExp(`HTTP/1\\.1 ${status} `, 'g')) ?? []).length, FLOOD)
    await checkReceives(t, app.sse, stream)
    t.match(app.sse.stats(), { clients: 2, connections: 2, refused: FLOOD })
    await app.close()
    const lines = log.lines.filter(({ msg }) => msg === 'streams were refused')
    t.equal(lines.reduce((refused, line) => refused + line[count]!, 0), FLOOD, 'the log says how many')
    t.ok(lines.length < FLOOD / 10, `${lines.length} lines`)
    t.ok(lines.every(({ level }) => level === WARN))
    t.same(log.lines.filter(({ level, plugin }) => level >= WARN && plugin === undefined), [], 'Fastify logs none of them as an error')
    t.equal(log.lines.filter(({ msg }) => msg === 'request completed').length, 2, 'but the two streams')
  })
}

t.test('a client that reads a byte at a time costs at most maxBufferedBytes, and is disconnected above that', async t => {
  const app = await buildApp(t, { maxBufferedBytes: 100_000 })
  app.get('/events', (_request, reply) => { reply.sse('room') })
  const socketPath = unixSocket(t)
  await app.listen({ path: socketPath })
  const connected = nextClient(app)
  const socket = connect(socketPath)
  t.teardown(() => socket.destroy())
  socket.write(requestText({ path: '/events' }))
  const client = await connected
  const gone = nextDisconnect(app)
  let most = 0
  while (!client.closed) {
    await app.sse.toChannel('room', 'message', 'x'.repeat(10_000))
    most = Math.max(most, app.sse.stats().bufferedBytes)
    socket.read(1)
  }
  t.equal((await gone).reason, 'slow')
  t.ok(most > 50_000 && most < 120_000, `${most} bytes at most`)
  t.match(app.sse.stats(), { clients: 0, bufferedBytes: 0, slowDisconnects: 1 })
})

t.test('giant or malformed requests get a clear answer, and nothing of them stays', async t => {
  const { app, log, port } = await serve(t, {})
  const stream = await openStream(t, port)
  const answer = async (headers: Record<string, string>, path = '/events'): Promise<RawClient> => request(t, port, { path, headers })

  await t.test('headers above Node\'s limit get 431', async t => {
    t.equal((await answer({ 'last-event-id': 'x'.repeat(20_000) })).status, 431)
    t.equal((await answer({}, `/events?lastEventId=${'x'.repeat(20_000)}`)).status, 431)
  })
  await t.test('control characters in a header get 400', async t => {
    t.equal((await answer({ 'last-event-id': 'a\0b' })).status, 400)
  })
  await t.test('last event ids that can\'t be ours get a stream that has not recovered', async t => {
    const ids = ['x'.repeat(15_000), '-1', '1e999', '99999999999999999999', 'é漢', '../../etc', '%00', '0-0', '{}', 'constructor', '__proto__']
    for (const id of ids) {
      for (const raw of [await answer({ 'last-event-id': Buffer.from(id).toString('latin1') }), await answer({}, `/events?lastEventId=${encodeURIComponent(id)}`)]) {
        t.equal(raw.status, 200)
        const [greeting] = await raw.untilEvents(1)
        t.equal(JSON.parse(greeting!.data).recovered, false)
        raw.destroy()
      }
    }
  })
  await t.test('an Accept header without meaning gets 406', async t => {
    for (const accept of ['x', 'text', ';;;', ','.repeat(10_000), 'text/html;q='.repeat(500)]) t.equal((await answer({ accept })).status, 406, accept.slice(0, 20))
  })
  await t.test('a query without meaning gets a stream', async t => {
    for (const query of ['?', '?&&&', '?lastEventId', '?lastEventId=', '?lastEventId=%', '?lastEventId=%FF', `?${'a&'.repeat(5000)}`]) {
      const raw = await answer({}, `/events${query}`)
      t.equal(raw.status, 200, query.slice(0, 20))
      raw.destroy()
    }
  })
  await checkReceives(t, app.sse, stream)
  while (app.sse.clientCount() > 1) await nextDisconnect(app)
  t.same(log.complaints, [])
})

t.test('hundreds of streams pipelined on one connection wait for their turns, cause no warnings, and are removed with it', async t => {
  let see: (socket: Socket) => void = () => {}
  const { app, port } = await serve(t, {}, {}, app => app.addHook('onRequest', async request => see(request.raw.socket)))
  const warnings: Error[] = []
  const warn = (warning: Error): number => warnings.push(warning)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))
  const other = await openStream(t, port)
  const pipelined = new Promise<Socket>(resolve => { see = resolve })
  const pipelining = new RawClient(port, { path: '/events' })
  t.teardown(() => pipelining.destroy())
  const socket = await pipelined
  const listeners = (): number[] => [socket.listenerCount('close'), socket.listenerCount('end'), socket.getMaxListeners()]
  const before = listeners()
  pipelining.socket.write(requestText({ path: '/events' }).repeat(299))
  while (app.sse.clientCount() < 301) await nextClient(app)
  const [closes, ...rest] = listeners()
  t.ok(closes! <= before[0]! + 1, 'all of them have one listener')
  t.same(rest, before.slice(1))
  await checkReceives(t, app.sse, other)
  pipelining.destroy()
  while (app.sse.clientCount() > 1) await nextDisconnect(app)
  t.same(warnings, [])
  t.match(app.sse.stats(), { clients: 1, bufferedBytes: 0 })
})

t.test('thousands of channels in one request are refused, and none of them is created', async t => {
  const names = Array.from({ length: 3000 }, (_, n) => n.toString(36))
  const app = await buildApp(t, { maxChannelsPerClient: 100 })
  app.get<{ Querystring: { channels: string } }>('/events', (request, reply) => { reply.sse(request.query.channels.split(',')) })
  const port = await listen(app)
  const refused = await request(t, port, { path: `/events?channels=${names.join(',')}` })
  t.equal(refused.status, 400)
  t.equal(JSON.parse(refused.text).code, 'SSE_ERR_TOO_MANY_CHANNELS')
  t.same(app.sse.channels(), [])
  // A channel that is named many times counts once.
  const stream = await openStream(t, port, { path: `/events?channels=${'a,'.repeat(2000)}a` })
  t.same(app.sse.channels(), [{ name: 'a', count: 1 }])
  await checkReceives(t, app.sse, stream)
})

t.test('client ids can\'t be guessed', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const ids: string[] = []
  for (let n = 0; n < 300; n++) {
    const { client, raw } = await open()
    ids.push(client.id)
    const gone = nextDisconnect(app)
    raw.destroy()
    await gone
  }
  t.equal(new Set(ids).size, ids.length)
  // Ids are 128 bits in Base64url. A bit with always the same value would be found. By chance, that happens in one of 2^299 runs.
  const bytes = ids.map(id => Buffer.from(id, 'base64url'))
  t.ok(bytes.every(id => id.length === 16))
  for (let bit = 0; bit < 128; bit++) {
    const set = bytes.filter(id => (id[bit >> 3]! >> (bit & 7)) & 1).length
    t.ok(set > 75 && set < 225, `bit ${bit} is set in ${set} of 300`)
  }
})

t.test('with the last event id of another client, a client gets only the events of its own channels', async t => {
  const app = await buildApp(t, { historySize: 1000 })
  const open = await opener(t, app)
  await open(['ada'], { id: 'ada' })
  const ids: string[] = []
  for (let n = 0; n < 10; n++) {
    for (const publish of [
      app.sse.toChannel('ada', 'secret', n), app.sse.toClient('ada', 'secret', n), app.sse.toChannels(['ada', 'others'], 'secret', n),
      app.sse.toChannel('bob', 'his', n), app.sse.toClient('bob', 'his', n), app.sse.send('all', n)
    ]) ids.push((await publish).id)
  }
  for (const at of [0, 1, 2, 17, 30, 59]) {
    const bob = await open(['bob'], { id: 'bob' }, { 'last-event-id': ids[at]! })
    const events = await received(bob)
    t.same(events.map(({ id }) => id), ids.filter((_, n) => n > at && n % 6 > 2), `behind ${at}`)
    t.notOk(bob.raw.text.includes('secret'))
  }
})
