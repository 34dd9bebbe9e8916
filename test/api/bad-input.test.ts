// Wrong arguments and options: each is refused with an error that names it, and nothing is sent.
import { inspect } from 'node:util'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import sse, * as entry from '../../lib/index.js'
import {
  SSE_ERR_BROKER_UNAVAILABLE, SSE_ERR_CLOSED, SSE_ERR_EVENT_TOO_LARGE, SSE_ERR_INVALID_CHANNEL, SSE_ERR_INVALID_CLIENT_ID,
  SSE_ERR_INVALID_DATA, SSE_ERR_INVALID_EVENT_NAME, SSE_ERR_INVALID_OPTION, SSE_ERR_TOO_MANY_CHANNELS, type SSEPluginOptions
} from '../../lib/index.js'
import { redisBroker } from '../../lib/brokers/redis/index.js'
import { buildApp } from '../support/app.js'
import { opener, received, type OpenStream } from '../support/open.js'
import { ended, spawnProgram } from '../support/spawn-program.js'

/** Values that are not allowed as names, and the part of the message that says why. */
const BAD_NAMES: Array<[name: unknown, message: RegExp]> = [
  ['', /empty/],
  ['x'.repeat(257), /at most 256 characters, and it has 257/],
  ['🎉'.repeat(129), /at most 256 characters, and it has 258/],
  ['a\nb', /CR, LF or NUL/],
  ['a\rb', /CR, LF or NUL/],
  ['a\0b', /CR, LF or NUL/],
  ['\n', /CR, LF or NUL/],
  ['trailing\n', /CR, LF or NUL/],
  ['a\ud800', /well formed/],
  ['\udc00\ud83c', /well formed/],
  ['forged\n\nevent: admin\ndata: 1', /CR, LF or NUL/],
  [undefined, /must be a string, and it is of type undefined/],
  [null, /must be a string, and it is null/],
  [1, /must be a string, and it is of type number/],
  [true, /must be a string/],
  [Symbol('x'), /must be a string/],
  [{ toString: () => 'x' }, /must be a string/],
  [['x'], /must be a string/]
]

/** A short text for a value, for the test's messages. */
function shown (value: unknown): string {
  return inspect(value, { breakLength: Infinity }).slice(0, 40)
}

type ErrorClass = new (...args: never[]) => Error & { code: string }

/** Checks that a call is refused with an error of this class, and that its code is the name of the class. */
async function refuses (t: Test, call: Promise<unknown>, expected: ErrorClass, message: RegExp, what: string): Promise<void> {
  const error = await call.then(() => null, error => error)
  t.ok(error instanceof expected, `${what}: ${error}`)
  t.ok(error instanceof Error)
  t.equal(error?.code, Object.entries(entry).find(([, value]) => value as unknown === expected)![0])
  t.match(error?.message, message)
}

/** Clients that must get nothing while the hub refuses what a test gives it. */
async function audience (t: Test, options: SSEPluginOptions = {}): Promise<{ app: FastifyInstance, streams: OpenStream[] }> {
  const app = await buildApp(t, options)
  const open = await opener(t, app)
  return { app, streams: [await open(), await open('room', { id: 'alice' }), await open(['room', 'other'])] }
}

/** Checks that nothing was sent until now, and that all clients get the next event. */
async function unharmed (t: Test, { app, streams }: { app: FastifyInstance, streams: OpenStream[] }): Promise<void> {
  t.equal(app.sse.stats().published, 0, 'nothing was accepted')
  t.equal(app.sse.stats().historyEvents, 0, 'nothing was kept')
  const { id, recipients } = await app.sse.send('next', 1)
  t.equal(recipients, streams.length)
  for (const stream of streams) t.strictSame(await received(stream), [{ id, event: 'next', data: '1' }])
}

t.test('bad event names are refused by every call that takes one, and nothing is sent', async t => {
  const all = await audience(t)
  const { app, streams: [stream] } = all
  for (const [name, message] of [...BAD_NAMES, ['sse:open', /begin with "sse:"/], ['sse:', /begin with "sse:"/]] as typeof BAD_NAMES) {
    const bad = name as string
    await refuses(t, app.sse.send(bad, 1), SSE_ERR_INVALID_EVENT_NAME, message, `send ${shown(name)}`)
    await refuses(t, app.sse.toChannel('room', bad, 1), SSE_ERR_INVALID_EVENT_NAME, message, `toChannel ${shown(name)}`)
    await refuses(t, app.sse.toChannels(['room'], bad, 1), SSE_ERR_INVALID_EVENT_NAME, message, `toChannels ${shown(name)}`)
    await refuses(t, app.sse.toClient('alice', bad, 1), SSE_ERR_INVALID_EVENT_NAME, message, `toClient ${shown(name)}`)
    await refuses(t, stream!.client.send(bad, 1), SSE_ERR_INVALID_EVENT_NAME, message, `client.send ${shown(name)}`)
    await refuses(t, stream!.client.stream([1], { event: bad }), SSE_ERR_INVALID_EVENT_NAME, message, `client.stream ${shown(name)}`)
  }
  await unharmed(t, all)
})

t.test('event names at the edge of the rules are accepted', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  const names = ['x'.repeat(256), ' ', ':', 'sse', 'SSE:open', 'xsse:', 'a: b', '\t', 'data', 'id: 1', '__proto__']
  for (const name of names) await app.sse.send(name, 1)
  t.strictSame((await received(stream)).map(({ event }) => event), names)
})

t.test('bad channel names are refused by every call that takes one, and nothing is sent', async t => {
  const all = await audience(t)
  const { app, streams: [stream] } = all
  for (const [name, message] of BAD_NAMES) {
    const bad = name as string
    await refuses(t, app.sse.toChannel(bad, 'x', 1), SSE_ERR_INVALID_CHANNEL, message, `toChannel ${shown(name)}`)
    await refuses(t, app.sse.toChannels(['room', bad], 'x', 1), SSE_ERR_INVALID_CHANNEL, message, `toChannels ${shown(name)}`)
    await refuses(t, (async () => stream!.client.join(bad))(), SSE_ERR_INVALID_CHANNEL, message, `join ${shown(name)}`)
  }
  for (const channels of [undefined, null, 'room', 1, {}, new Set(['room'])]) {
    await refuses(t, app.sse.toChannels(channels as never, 'x', 1), SSE_ERR_INVALID_CHANNEL, /array/, `toChannels ${shown(channels)}`)
  }
  await refuses(t, app.sse.toChannels([], 'x', 1), SSE_ERR_INVALID_CHANNEL, /at least one/, 'toChannels []')
  await refuses(t, app.sse.toChannels(new Array(2), 'x', 1), SSE_ERR_INVALID_CHANNEL, /must be a string/, 'a list with holes')
  t.strictSame([...stream!.client.channels], [])
  await unharmed(t, all)
})

t.test('bad client ids are refused, and nothing is sent', async t => {
  const all = await audience(t)
  for (const [name, message] of BAD_NAMES) {
    await refuses(t, all.app.sse.toClient(name as string, 'x', 1), SSE_ERR_INVALID_CLIENT_ID, message, `toClient ${shown(name)}`)
  }
  await unharmed(t, all)
})

t.test('strings that differ in a lone surrogate alone would be one string in UTF-8, so they are refused wherever they name something', async t => {
  const events = { price: entry.keyed(Type.Object({ symbol: Type.String() }), 'symbol'), x: Type.Any() }
  const all = await audience(t, { events, historySize: 10 })
  const { app } = all
  for (const bad of ['\ud800', 'user-\udc01', '\udc00\ud800']) {
    for (const option of ['except', 'key', 'idempotencyKey']) {
      await refuses(t, app.sse.send('x', 1, { [option]: bad }), SSE_ERR_INVALID_OPTION, new RegExp(`"${option}".*well formed`), option)
    }
    await refuses(t, app.sse.send('price', { symbol: bad }), SSE_ERR_INVALID_DATA, /"\/symbol".*well formed/, 'the key in the data')
    await refuses(t, app.sse.state(bad, 'x'), SSE_ERR_INVALID_CHANNEL, /well formed/, 'state() of a channel')
    await refuses(t, app.sse.state('room', bad), SSE_ERR_INVALID_EVENT_NAME, /well formed/, 'state() of an event')
    await refuses(t, app.sse.presence(bad), SSE_ERR_INVALID_CHANNEL, /well formed/, 'presence()')
    await refuses(t, (async () => { entry.sseResponse([bad]) })(), SSE_ERR_INVALID_EVENT_NAME, /well formed/, 'sseResponse()')
    await refuses(t, (async () => { redisBroker({ url: 'redis://localhost', stream: bad }) })(), SSE_ERR_INVALID_OPTION, /"stream".*well formed/, 'redisBroker()')
  }
  t.equal(app.sse.stats().published, 0)
  await app.sse.send('x', '\ud800', { key: '\ud83c\udf89', except: '🎉', idempotencyKey: 'é' })
  t.equal(app.sse.stats().published, 1, 'pairs are well formed, and data may be anything')
})

t.test('data that can\'t be serialised is refused, and nothing is sent', async t => {
  const all = await audience(t)
  const { app, streams: [stream] } = all
  const circle: { self?: unknown } = {}
  circle.self = { circle }
  const bad: Array<[unknown, string]> = [
    [circle, 'a cycle'],
    [1n, 'a BigInt'],
    [{ deep: [{ n: 1n }] }, 'a BigInt inside'],
    [() => {}, 'a function'],
    [Symbol('x'), 'a symbol'],
    [{ toJSON () { throw new Error('no') } }, 'a toJSON that throws'],
    [{ get x () { throw new Error('no') } }, 'a getter that throws'],
    [{ toJSON: () => undefined }, 'a toJSON that gives nothing']
  ]
  for (const [data, what] of bad) {
    await refuses(t, app.sse.send('evt', data), SSE_ERR_INVALID_DATA, /"evt"/, `send ${what}`)
    await refuses(t, app.sse.toChannel('room', 'evt', data), SSE_ERR_INVALID_DATA, /"evt"/, `toChannel ${what}`)
    await refuses(t, app.sse.toChannels(['room'], 'evt', data), SSE_ERR_INVALID_DATA, /"evt"/, `toChannels ${what}`)
    await refuses(t, app.sse.toClient('alice', 'evt', data), SSE_ERR_INVALID_DATA, /"evt"/, `toClient ${what}`)
    await refuses(t, stream!.client.send('evt', data), SSE_ERR_INVALID_DATA, /"evt"/, `client.send ${what}`)
    await refuses(t, stream!.client.stream([data], { event: 'evt' }), SSE_ERR_INVALID_DATA, /"evt"/, `client.stream ${what}`)
  }
  await unharmed(t, all)
})

t.test('the error that the serialiser threw is the cause', async t => {
  const app = await buildApp(t)
  const reason = new Error('the reason')
  const error = await app.sse.send('x', { toJSON () { throw reason } }).catch(error => error)
  t.equal(error.cause, reason)
  t.match(error.message, /the reason/)
})

t.test('raw data that is not a string is refused', async t => {
  const all = await audience(t)
  for (const data of [undefined, null, 1, {}, Buffer.from('x'), ['x'], new String('x')]) { // eslint-disable-line no-new-wrappers -- a String object is no string
    await refuses(t, all.app.sse.send('evt', data as never, { raw: true }), SSE_ERR_INVALID_DATA, /"evt" must be a string/, shown(data))
    await refuses(t, all.streams[0]!.client.send('evt', data as never, { raw: true }), SSE_ERR_INVALID_DATA, /must be a string/, shown(data))
  }
  await unharmed(t, all)
})

t.test('an event over maxEventBytes is refused; one of exactly that size is sent', async t => {
  const app = await buildApp(t, { maxEventBytes: 100 })
  const open = await opener(t, app)
  const stream = await open('room', { id: 'alice' })
  // The JSON of a string has two quotation marks more.
  const fits = ['x'.repeat(98), 'ä'.repeat(49), '🎉'.repeat(24) + 'xx', '€'.repeat(32) + 'xx']
  for (const data of fits) {
    t.equal(Buffer.byteLength(JSON.stringify(data)), 100)
    const over = data + 'x'
    const message = /"evt" takes 101 bytes, and "maxEventBytes" is 100/
    await refuses(t, app.sse.send('evt', over), SSE_ERR_EVENT_TOO_LARGE, message, 'send')
    await refuses(t, app.sse.toChannel('room', 'evt', over), SSE_ERR_EVENT_TOO_LARGE, message, 'toChannel')
    await refuses(t, app.sse.toChannels(['room'], 'evt', over), SSE_ERR_EVENT_TOO_LARGE, message, 'toChannels')
    await refuses(t, app.sse.toClient('alice', 'evt', over), SSE_ERR_EVENT_TOO_LARGE, message, 'toClient')
    await refuses(t, app.sse.send('evt', over + 'xx', { raw: true }), SSE_ERR_EVENT_TOO_LARGE, message, 'raw')
    await refuses(t, stream.client.send('evt', over), SSE_ERR_EVENT_TOO_LARGE, message, 'client.send')
    await app.sse.send('evt', data)
  }
  t.strictSame((await received(stream)).map(({ data }) => JSON.parse(data)), fits)
})

t.test('bad publish options are refused by their names, and nothing is sent', async t => {
  const all = await audience(t)
  const { app, streams: [stream] } = all
  const bad: Array<[options: object, name: string]> = [
    [{ unknown: 1 }, 'unknown'],
    [{ Transient: true }, 'Transient'],
    [{ transient: 1 }, 'transient'],
    [{ transient: null }, 'transient'],
    [{ transient: 'true' }, 'transient'],
    [{ except: '' }, 'except'],
    [{ except: 1 }, 'except'],
    [{ except: null }, 'except'],
    [{ except: ['alice'] }, 'except'],
    [{ retry: -1 }, 'retry'],
    [{ retry: 1.5 }, 'retry'],
    [{ retry: NaN }, 'retry'],
    [{ retry: Infinity }, 'retry'],
    [{ retry: '1\ndata: forged' }, 'retry'],
    [{ retry: null }, 'retry'],
    [{ raw: 'yes' }, 'raw'],
    [{ idempotencyKey: '' }, 'idempotencyKey'],
    [{ idempotencyKey: 1 }, 'idempotencyKey'],
    [{ idempotencyKey: 'x'.repeat(257) }, 'idempotencyKey']
  ]
  for (const [options, name] of bad) {
    const given = options as { raw?: false }
    const message = new RegExp(`"${name}"`)
    const what = JSON.stringify(options).slice(0, 60)
    await refuses(t, app.sse.send('x', 1, given), SSE_ERR_INVALID_OPTION, message, `send ${what}`)
    await refuses(t, app.sse.toChannel('room', 'x', 1, given), SSE_ERR_INVALID_OPTION, message, `toChannel ${what}`)
    await refuses(t, app.sse.toChannels(['room'], 'x', 1, given), SSE_ERR_INVALID_OPTION, message, `toChannels ${what}`)
    await refuses(t, app.sse.toClient('alice', 'x', 1, given), SSE_ERR_INVALID_OPTION, message, `toClient ${what}`)
  }
  for (const options of [null, 'transient', 1, true, ['transient'], () => {}]) {
    await refuses(t, app.sse.send('x', 1, options as object), SSE_ERR_INVALID_OPTION, /must be an object/, `send ${shown(options)}`)
  }
  await refuses(t, app.sse.send('x', 1, { unknown: 1 } as object), SSE_ERR_INVALID_OPTION, /transient, except, retry, raw, key, remove, idempotencyKey, compress/, 'it says what there is')
  await refuses(t, stream!.client.send('x', 1, { transient: true } as object), SSE_ERR_INVALID_OPTION, /"transient"/, 'client.send')
  await refuses(t, stream!.client.send('x', 1, { raw: 1 } as object), SSE_ERR_INVALID_OPTION, /"raw"/, 'client.send')
  await refuses(t, stream!.client.send('x', 1, null as unknown as object), SSE_ERR_INVALID_OPTION, /must be an object/, 'client.send')
  await refuses(t, stream!.client.stream([1], undefined as unknown as { event: 'x' }), SSE_ERR_INVALID_OPTION, /must be an object/, 'client.stream')
  await refuses(t, stream!.client.stream([1], {} as { event: 'x' }), SSE_ERR_INVALID_OPTION, /"event"/, 'client.stream')
  await refuses(t, stream!.client.stream([1], { event: 'x', every: 1 } as { event: 'x' }), SSE_ERR_INVALID_OPTION, /"every"/, 'client.stream')
  for (const source of [undefined, null, 1, {}, () => {}]) {
    await refuses(t, stream!.client.stream(source as never, { event: 'x' }), SSE_ERR_INVALID_OPTION, /iterable/, `client.stream ${shown(source)}`)
  }
  await unharmed(t, all)
})

t.test('an error of reply.sse() goes to the app\'s error handler before anything is written', async t => {
  const app = await buildApp(t)
  app.setErrorHandler((error: Error & { code: string, statusCode: number }, _request, reply) => {
    reply.code(error.statusCode).send({ mine: true, code: error.code, message: error.message })
  })
  const calls: Array<[channels: unknown, options: unknown, code: string, status: number, message: RegExp]> = []
  for (const [name, message] of BAD_NAMES) {
    // For reply.sse(), `undefined` means no channels, and an array is a list of channels.
    if (name !== undefined && !Array.isArray(name)) calls.push([name, {}, 'SSE_ERR_INVALID_CHANNEL', 400, typeof name === 'string' ? message : /array/])
    calls.push([['ok', name], {}, 'SSE_ERR_INVALID_CHANNEL', 400, message])
    if (name !== undefined) calls.push([[], { id: name }, 'SSE_ERR_INVALID_CLIENT_ID', 400, message])
    calls.push([[], { events: ['ok', name] }, 'SSE_ERR_INVALID_EVENT_NAME', 500, message])
  }
  calls.push(
    [new Array(2), {}, 'SSE_ERR_INVALID_CHANNEL', 400, /must be a string/],
    [[], { events: ['sse:open'] }, 'SSE_ERR_INVALID_EVENT_NAME', 500, /begin with "sse:"/],
    [[], null, 'SSE_ERR_INVALID_OPTION', 500, /must be an object/],
    [[], 'alice', 'SSE_ERR_INVALID_OPTION', 500, /must be an object/],
    [[], ['alice'], 'SSE_ERR_INVALID_OPTION', 500, /must be an object/],
    [[], { unknown: 1 }, 'SSE_ERR_INVALID_OPTION', 500, /"unknown"/],
    [[], { events: 'a' }, 'SSE_ERR_INVALID_OPTION', 500, /"events"/],
    [[], { broadcast: 0 }, 'SSE_ERR_INVALID_OPTION', 500, /"broadcast"/],
    [[], { greeting: 'no' }, 'SSE_ERR_INVALID_OPTION', 500, /"greeting"/],
    [[], { metadata: 'alice' }, 'SSE_ERR_INVALID_OPTION', 500, /"metadata"/],
    [{ metadata: {} }, {}, 'SSE_ERR_INVALID_CHANNEL', 400, /array of names, and this is of type object/],
    [[], { replay: true }, 'SSE_ERR_INVALID_OPTION', 500, /"replay".*"all" or "missed" or "none"/],
    [[], { lastEventId: 1 }, 'SSE_ERR_INVALID_OPTION', 500, /"lastEventId"/],
    [[], { retry: -1 }, 'SSE_ERR_INVALID_OPTION', 500, /"retry"/],
    [[], { retry: '5' }, 'SSE_ERR_INVALID_OPTION', 500, /"retry"/]
  )
  let call = calls[0]!
  app.get('/sync', (_request, reply) => { reply.sse(call[0] as never, call[1] as never) })
  app.get('/async', async (_request, reply) => reply.sse(call[0] as never, call[1] as never))
  for (call of calls) {
    const [channels, options, code, status, message] = call
    for (const url of ['/sync', '/async']) {
      const response = await app.inject(url)
      const what = `${url} ${shown(channels)} ${options !== null && typeof options === 'object' ? Object.keys(options) : options}`
      t.equal(response.statusCode, status, what)
      t.equal(response.headers['content-type'], 'application/json; charset=utf-8')
      t.equal(response.headers['cache-control'], undefined)
      t.match(response.json(), { mine: true, code }, what)
      t.match(response.json().message, message, what)
    }
  }
  t.match(app.sse.stats(), { clients: 0, channels: 0, connections: 0 })
})

t.test('without an error handler of the app, Fastify answers with the error\'s status', async t => {
  const app = await buildApp(t, { maxEventBytes: 10 })
  app.get('/channel', (_request, reply) => { reply.sse('') })
  app.get('/publish', async () => await app.sse.send('x', 'more than ten bytes'))
  app.get('/name', async () => await app.sse.send('', 1))
  const statuses = []
  for (const url of ['/channel', '/publish', '/name']) {
    const response = await app.inject(url)
    statuses.push([response.statusCode, response.json().code])
  }
  t.strictSame(statuses, [[400, 'SSE_ERR_INVALID_CHANNEL'], [413, 'SSE_ERR_EVENT_TOO_LARGE'], [500, 'SSE_ERR_INVALID_EVENT_NAME']])
})

t.test('a reply whose stream was refused can still send another answer or open an allowed stream', async t => {
  const app = await buildApp(t)
  app.get('/other', (_request, reply) => {
    try {
      reply.sse('')
    } catch {
      reply.send({ instead: true })
    }
  })
  app.get('/again', (_request, reply) => {
    try {
      reply.sse('')
    } catch {
      reply.sse('room').close()
    }
  })
  t.strictSame((await app.inject('/other')).json(), { instead: true })
  const again = await app.inject('/again')
  t.equal(again.statusCode, 200)
  t.match(again.body, 'event: sse:open')
})

t.test('more than maxChannelsPerClient are refused in reply.sse() and in join()', async t => {
  const app = await buildApp(t, { maxChannelsPerClient: 2 })
  app.get('/three', (_request, reply) => { reply.sse(['a', 'b', 'c']) })
  const open = await opener(t, app)
  const response = await app.inject('/three')
  t.equal(response.statusCode, 400)
  t.equal(response.json().code, 'SSE_ERR_TOO_MANY_CHANNELS')
  t.match(response.json().message, /at most 2 channels/)
  const { client } = await open(['a', 'a', 'b'])
  t.strictSame([...client.channels], ['a', 'b'], 'one that is named twice counts once')
  client.join('a')
  await refuses(t, (async () => client.join('c'))(), SSE_ERR_TOO_MANY_CHANNELS, /at most 2 channels/, 'join')
  t.equal(app.sse.clientCount('c'), 0)
  client.leave('a')
  client.join('c')
  t.strictSame([...client.channels], ['b', 'c'])
})

t.test('maxChannelsPerClient is 100 by default', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { client } = await open(Array.from({ length: 100 }, (_, n) => `channel-${n}`))
  t.equal(client.channels.size, 100)
  await refuses(t, (async () => client.join('one more'))(), SSE_ERR_TOO_MANY_CHANNELS, /at most 100/, 'join')
})

t.test('a closed hub refuses to publish', async t => {
  const { app, streams: [stream] } = await audience(t)
  const { client } = stream!
  await app.close()
  await refuses(t, app.sse.send('x', 1), SSE_ERR_CLOSED, /closed/, 'send')
  await refuses(t, app.sse.toChannel('room', 'x', 1), SSE_ERR_CLOSED, /closed/, 'toChannel')
  await refuses(t, app.sse.toChannels(['room'], 'x', 1), SSE_ERR_CLOSED, /closed/, 'toChannels')
  await refuses(t, app.sse.toClient('alice', 'x', 1), SSE_ERR_CLOSED, /closed/, 'toClient')
  t.equal(await client.send('x', 1), false)
  t.equal(await client.stream([1, 2], { event: 'x' }), false)
  t.equal(app.sse.stats().published, 0)
})

const BAD_REGISTRATIONS: Array<[options: object, name: string]> = [
  [{ unknown: 1 }, 'unknown'],
  [{ heartbeat: 1000 }, 'heartbeat'],
  [{ heartbeatInterval: -1 }, 'heartbeatInterval'],
  [{ heartbeatInterval: '30s' }, 'heartbeatInterval'],
  [{ heartbeatInterval: 2 ** 31 }, 'heartbeatInterval'],
  [{ heartbeatInterval: Infinity }, 'heartbeatInterval'],
  [{ heartbeatEvent: 'a\nb' }, 'heartbeatEvent'],
  [{ heartbeatEvent: '' }, 'heartbeatEvent'],
  [{ heartbeatEvent: 'sse:open' }, 'heartbeatEvent'],
  [{ heartbeatEvent: 'sse:gap' }, 'heartbeatEvent'],
  [{ heartbeatEvent: 'sse:' }, 'heartbeatEvent'],
  [{ heartbeatEvent: 'a\ud800' }, 'heartbeatEvent'],
  [{ events: { 'a\ud800': Type.Any() } }, 'events'],
  [{ lastEventIdQuery: '\udc00' }, 'lastEventIdQuery'],
  [{ heartbeatEvent: 1 }, 'heartbeatEvent'],
  [{ retry: -1 }, 'retry'],
  [{ retry: 0.5 }, 'retry'],
  [{ retry: false }, 'retry'],
  [{ historySize: -1 }, 'historySize'],
  [{ historySize: Infinity }, 'historySize'],
  [{ historyMaxAge: -1 }, 'historyMaxAge'],
  [{ historyMaxBytes: '64MB' }, 'historyMaxBytes'],
  [{ replay: 'some' }, 'replay'],
  [{ replay: false }, 'replay'],
  [{ greeting: 'hi' }, 'greeting'],
  [{ maxClients: -1 }, 'maxClients'],
  [{ maxClientsPerKey: 1.5 }, 'maxClientsPerKey'],
  [{ key: 'ip' }, 'key'],
  [{ maxChannelsPerClient: NaN }, 'maxChannelsPerClient'],
  [{ maxEventBytes: 0 }, 'maxEventBytes'],
  [{ maxBufferedBytes: 0 }, 'maxBufferedBytes'],
  [{ slowClient: 'ignore' }, 'slowClient'],
  [{ stallTimeout: -1 }, 'stallTimeout'],
  [{ closeTimeout: null }, 'closeTimeout'],
  [{ reconnectSpread: '5' }, 'reconnectSpread'],
  [{ lastEventIdQuery: '' }, 'lastEventIdQuery'],
  [{ lastEventIdQuery: false }, 'lastEventIdQuery'],
  [{ events: 'all' }, 'events'],
  [{ events: ['a'] }, 'events'],
  [{ serializer: 'json' }, 'serializer'],
  [{ broker: null }, 'broker'],
  [{ broker: 'redis://localhost' }, 'broker']
]

t.test('bad registration options reject register(), each by its name', async t => {
  for (const [options, name] of BAD_REGISTRATIONS) {
    const app = Fastify()
    t.teardown(() => app.close())
    await refuses(t, (async () => { await app.register(sse, options as SSEPluginOptions) })(), SSE_ERR_INVALID_OPTION, new RegExp(`"${name}"`), JSON.stringify(options))
    t.notOk('sse' in app, 'no hub is there')
  }
})

t.test('the error for an unknown registration option lists the known ones', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await refuses(t, (async () => { await app.register(sse, { hearbeatInterval: 1 } as SSEPluginOptions) })(), SSE_ERR_INVALID_OPTION,
    /Unknown option "hearbeatInterval" of fastify-sse-hub; there are heartbeatInterval, /, 'a typo')
})

t.test('every documented registration option is accepted, as are undefined and Fastify\'s own options', async t => {
  const app = await buildApp(t, {
    heartbeatInterval: 0,
    heartbeatEvent: 'beat',
    retry: null,
    historySize: 0,
    historyMaxAge: 1000,
    historyMaxBytes: 0,
    replay: 'missed',
    greeting: false,
    maxClients: 0,
    maxClientsPerKey: 0,
    key: () => undefined,
    maxChannelsPerClient: 0,
    maxEventBytes: 1,
    maxBufferedBytes: 1,
    slowClient: 'drop',
    stallTimeout: 0,
    closeTimeout: 0,
    reconnectSpread: 0,
    lastEventIdQuery: null,
    serializer: String,
    events: undefined,
    broker: undefined,
    metrics: undefined,
    prefix: '/x',
    logLevel: 'warn'
  } as unknown as SSEPluginOptions)
  t.equal((await app.sse.send('x', 1)).recipients, 0)
})

t.test('a refused publish is logged as well', async t => {
  const lines: Array<{ level: number, err?: { code: string } }> = []
  const app = await buildApp(t, {}, { logger: { stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } })
  await app.sse.send('', 1).catch(() => {})
  t.equal(lines.length, 1)
  t.match(lines[0], { level: 50, err: { code: 'SSE_ERR_INVALID_EVENT_NAME' }, plugin: 'fastify-sse-hub' })
})

t.test('refused calls that nobody awaits crash nothing', async t => {
  const { stdout, stderr } = await ended(spawnProgram(t, 'test/support/processes/unawaited-publish.ts'))
  t.equal(stdout, 'done\n')
  t.equal(stderr, '')
})

t.test('every error class is exported, is a Fastify error, and works with instanceof', async t => {
  const statuses = {
    SSE_ERR_INVALID_OPTION: 500,
    SSE_ERR_INVALID_EVENT_NAME: 500,
    SSE_ERR_INVALID_CHANNEL: 400,
    SSE_ERR_INVALID_CLIENT_ID: 400,
    SSE_ERR_INVALID_DATA: 500,
    SSE_ERR_UNKNOWN_EVENT: 500,
    SSE_ERR_EVENT_TOO_LARGE: 413,
    SSE_ERR_TOO_MANY_CHANNELS: 400,
    SSE_ERR_TOO_MANY_CLIENTS: 503,
    SSE_ERR_TOO_MANY_CLIENTS_PER_KEY: 429,
    SSE_ERR_NOT_ACCEPTABLE: 406,
    SSE_ERR_ALREADY_SENT: 500,
    SSE_ERR_CLOSED: 503,
    SSE_ERR_BROKER_UNAVAILABLE: 503
  }
  t.strictSame(Object.keys(entry).filter(name => name.startsWith('SSE_ERR_')).sort(), Object.keys(statuses).sort())
  for (const [name, statusCode] of Object.entries(statuses)) {
    const Class = (entry as unknown as Record<string, new (...args: unknown[]) => Error>)[name]!
    const error = new Class('a', 1, 2)
    t.ok(error instanceof Class)
    t.ok(error instanceof Error)
    t.match(error, { code: name, statusCode })
    t.equal((sse as unknown as Record<string, unknown>)[name], Class, 'the plugin has it too, for require()')
  }
  t.notOk(new SSE_ERR_CLOSED() instanceof SSE_ERR_INVALID_DATA)
  const cause = new Error('why')
  const unavailable = new SSE_ERR_BROKER_UNAVAILABLE('no answer', true, { cause })
  t.match(unavailable, { message: 'The broker is unavailable: no answer', inDoubt: true, cause })
  t.equal(new SSE_ERR_BROKER_UNAVAILABLE('no answer', false).inDoubt, false)
  t.notOk('cause' in new SSE_ERR_BROKER_UNAVAILABLE('no answer', false))
})

t.test('a maxEventBytes above maxBufferedBytes is refused', async t => {
  for (const options of [{ maxEventBytes: 1001, maxBufferedBytes: 1000 }, { maxEventBytes: 1024 * 1024 + 1 }]) {
    const app = Fastify()
    t.teardown(() => app.close())
    await refuses(t, (async () => { await app.register(sse, options) })(), SSE_ERR_INVALID_OPTION,
      /"maxEventBytes" of fastify-sse-hub is invalid: .*"maxBufferedBytes"/, JSON.stringify(options))
    t.notOk('sse' in app, 'no hub is there')
  }
  await buildApp(t, { maxEventBytes: 1000, maxBufferedBytes: 1000 })
  await buildApp(t, { maxEventBytes: 2 * 1024 * 1024, maxBufferedBytes: 2 * 1024 * 1024 })
  const app = await buildApp(t, { maxBufferedBytes: 1000 })
  t.equal((await app.sse.send('message', 'x'.repeat(1001), { raw: true })).recipients, 0, 'the default of maxEventBytes stays')
})
