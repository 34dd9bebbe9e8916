// Each call out of the hub fails, one in each test: of the application's logger, broker, response, socket, session of HTTP/2,
// serializer, schemas, data, metadata, options, registry of metrics, listeners, signals and sources. Other clients must notice
// nothing: every event and heartbeat comes, and publishes resolve. The client concerned is removed, app.close() ends, nothing reaches the process uncaught,
// and the fault is logged or told to the caller. Subscribers of node:diagnostics_channel are in diagnostics.test.ts, because Node
// itself makes their errors uncaught exceptions. failures.test.ts and broker-failures.test.ts say what the client concerned gets.
import { connect as connectHttp2, type Http2ServerRequest } from 'node:http2'
import { PassThrough } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { Type, type TSchema } from '@sinclair/typebox'
import type { FastifyBaseLogger, FastifyInstance, FastifyReply } from 'fastify'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { keyed, type Broker, type BrokerMember, type SSEClient, type SSEPluginOptions } from '../../lib/index.js'
import { AsyncBroker } from '../support/async-broker.js'
import { buildApp, listen, portOf } from '../support/app.js'
import { recordDisconnects } from '../support/disconnects.js'
import { Fault, MESSAGE, MODES } from '../support/fault.js'
import { Http2Stream } from '../support/http2-stream.js'
import { MemoryLog } from '../support/memory-log.js'
import { opener, received } from '../support/open.js'
import { RawClient, requestText } from '../support/raw-client.js'

const HEARTBEAT = ':\n\n'

/** A call out of the hub, and the place of its fault. */
interface Call {
  options?: (fault: Fault) => SSEPluginOptions
  logger?: (fault: Fault, logger: FastifyBaseLogger) => FastifyBaseLogger
  /** Called before the app listens. */
  prepare?: (fault: Fault, app: FastifyInstance) => void
  /** Called in the handler, before `reply.sse()`. */
  before?: (fault: Fault, reply: FastifyReply) => void
  metadata?: (fault: Fault) => Record<string, unknown>
  /** Called in the handler, after `reply.sse()`. */
  after?: (fault: Fault, client: SSEClient) => void
  data?: (fault: Fault) => unknown
  source?: (fault: Fault) => AsyncIterable<unknown>
  /** Whether the fault may be told to nobody. Example: a logger's own fault can't be logged. */
  silent?: true
  /** Whether the call must not return a promise. Then the mode that rejects is left out. */
  sync?: true
}

const onRaw = (name: string): Call => ({ before: (fault, { raw }) => fault.wrap(raw, name), silent: true, sync: true })
const onBroker = (name: string): Call => ({ ...['publish', 'past', 'close'].includes(name) ? {} : { sync: true }, options: fault => ({ broker: faultyBroker(broker => fault.wrap(broker, name)) }) })
const onPresence = (name: string): Call => ({ sync: true, options: fault => ({ broker: faultyBroker(({ presence }) => fault.wrap(presence!, name)) }) })
const onLog = (name: string): Call => ({ logger: (fault, logger) => faultyLogger(fault, logger, name), silent: true })
const onRegistry = (name: string): Call => ({
  sync: true,
  options: fault => {
    const register = new Registry()
    fault.wrap(register, name)
    return { metrics: { register } }
  }
})
const onHub = (event: string): Call => ({ prepare: (fault, app) => app.sse.on(event as 'connect', () => fault.strike()) })
const onSource = (name: 'iterator' | 'next' | 'return'): Call => ({ source: fault => faultySource(fault, name) })

const calls: Record<string, Call> = {
  'debug() of the logger': onLog('debug'),
  'warn() of the logger': {
    ...onLog('warn'),
    // The hub warns where it can't know what a client missed.
    options: () => ({ broker: faultyBroker(broker => { broker.past = async () => await Promise.reject(new Error('no past')) }) })
  },
  'error() of the logger': onLog('error'),
  'publish() of the broker': onBroker('publish'),
  'head() of the broker': onBroker('head'),
  'position() of the broker': onBroker('position'),
  'past() of the broker': onBroker('past'),
  'stats() of the broker': onBroker('stats'),
  'close() of the broker': onBroker('close'),
  'set() of the broker\'s presence': onPresence('set'),
  'delete() of the broker\'s presence': onPresence('delete'),
  'in() of the broker\'s presence': onPresence('in'),
  'the name of the broker\'s instance': {
    sync: true,
    options: fault => ({ broker: faultyBroker(({ presence }) => getter(fault, presence!, 'instance', 'this')) }),
    prepare: (_fault, app) => { app.sse.on('join', () => {}).on('leave', () => {}) }
  },
  'presence of the broker': { sync: true, options: fault => ({ broker: faultyBroker(broker => getter(fault, broker, 'presence', broker.presence)) }) },
  'write() of the response': onRaw('write'),
  'end() of the response': onRaw('end'),
  'destroy() of the response': onRaw('destroy'),
  'flushHeaders() of the response': onRaw('flushHeaders'),
  'flushHeaders() of a response whose stream waits for the broker': {
    ...onRaw('flushHeaders'),
    options: () => ({ broker: Object.assign(new AsyncBroker(), { position: () => ({ position: 100, arrived: turns(10) }) }) }),
    // The hook is async, so that the handler has returned before the fault, and the fault can't be thrown to it.
    prepare: (_fault, app) => app.addHook('onSend', async () => { await setImmediate() })
  },
  'getHeader() of the response': onRaw('getHeader'),
  'write() of the socket': { before: (fault, { raw }) => fault.wrap(raw.socket!, 'write'), silent: true, sync: true },
  'a listener of the payload': { prepare: (fault, app) => onPayload(app, payload => payload.on('end', () => fault.strike())), silent: true },
  'destroy() of the stream that a hook reads': {
    prepare (fault, app) {
      onPayload(app, payload => {
        const target = new PassThrough()
        target.on('pipe', readable => {
          fault.wrap(readable, 'destroy')
          // After the stream's end, Node itself calls `destroy()`.
          readable.on('end', () => { fault.armed = false })
        })
        return payload.pipe(target)
      })
    },
    silent: true,
    sync: true
  },
  'the serializer': { options: fault => ({ serializer: (data, event) => event === 'n' || event === 'own' ? fault.strike() as string ?? '1' : JSON.stringify(data) }) },
  // If it fails only once, the data is read again, and the event is sent.
  'toJSON() of data': { silent: true, sync: true, data: fault => ({ toJSON: () => fault.strike() }) },
  'toJSON() of metadata': {
    sync: true,
    options: () => ({ broker: faultyBroker(({ presence }) => { presence!.set = (_key, member) => { JSON.stringify(member) } }) }),
    metadata: fault => ({ user: { toJSON: () => fault.strike() } })
  },
  'the "key" option': {
    options: fault => ({ maxClientsPerKey: 100, key: request => request.url === '/victim' ? fault.strike() as string | undefined : undefined })
  },
  'getSingleMetric() of the registry of metrics, at the end': onRegistry('getSingleMetric'),
  'removeSingleMetric() of the registry of metrics': onRegistry('removeSingleMetric'),
  'a listener of "connect"': onHub('connect'),
  'a listener of "disconnect"': onHub('disconnect'),
  'a listener of "join"': onHub('join'),
  'a listener of "leave"': onHub('leave'),
  'a listener of a client\'s signal': { after: (fault, { signal }) => signal.addEventListener('abort', () => fault.strike()) },
  'onabort of a client\'s signal': { after: (fault, { signal }) => { signal.onabort = () => fault.strike() } },
  'an object that listens to a client\'s signal': { after: (fault, { signal }) => signal.addEventListener('abort', { handleEvent: () => fault.strike() as undefined }, { once: true }) },
  'Symbol.asyncIterator of a source': { ...onSource('iterator'), sync: true },
  'next() of a source': onSource('next'),
  'return() of a source': onSource('return')
}

for (const [what, call] of Object.entries(calls)) {
  for (const [how, mode] of Object.entries(MODES)) {
    if (how.startsWith('rejects') && call.sync === true) continue
    t.test(`where ${what} ${how}, everybody else goes on`, async t => {
      const fault = new Fault(mode)
      const log = new MemoryLog()
      const app = await buildApp(t, { heartbeatInterval: 20, ...call.options?.(fault) }, { loggerInstance: call.logger?.(fault, log.logger) ?? log.logger, forceCloseConnections: true })
      call.prepare?.(fault, app)
      app.get('/victim', (_request, reply) => {
        call.before?.(fault, reply)
        const client = reply.sse(['a', 'b'], { id: 'victim', broadcast: false, ...call.metadata === undefined ? {} : { metadata: call.metadata(fault) } })
        call.after?.(fault, client)
      })
      // Its handler fails after it has opened the stream, and it sends something else as well.
      app.get('/failing', async (_request, reply) => {
        reply.sse('a', { id: 'victim', broadcast: false })
        await setImmediate()
        reply.send('more')
        throw new Error('the handler failed')
      })
      const open = await opener(t, app)
      const onlookers = await Promise.all([open('onlookers'), open('onlookers')])
      const published: string[] = []
      const refused: unknown[] = []
      let number = 0
      const publish = async (): Promise<void> => {
        const data = number++
        try {
          await app.sse.toChannel('onlookers', 'seen', data)
          published.push(String(data))
        } catch (error) {
          refused.push(error)
        }
      }
      await publish()
      fault.armed = true
      const told: unknown[] = []
      for (const end of ['client', 'server', 'handler'] as const) {
        told.push(...await live(t, app, call, fault, end))
        await publish()
      }
      if (what !== 'publish() of the broker') t.strictSame(refused, [], 'no publish for others fails')
      if (what === 'publish() of the broker' || what === 'the serializer') {
        t.ok(told.length + refused.length > 0, 'a publish rejects')
        for (const error of [...told, ...refused]) t.match(error, { code: /^SSE_ERR_/ }, 'with an error of the package')
      }
      for (const { raw } of onlookers) {
        const { length } = raw.text
        await raw.until(() => raw.text.slice(length).includes(HEARTBEAT))
      }
      t.equal(app.sse.clientCount(), onlookers.length, 'those who are concerned are gone, and nobody else')
      for (const stream of onlookers) t.strictSame((await received(stream)).map(({ data }) => data), published)
      await app.close()
      for (const { raw } of onlookers) t.ok(raw.complete || (await raw.until(() => raw.complete), true), 'app.close() ends their streams whole')
      t.ok(fault.calls > 0, `it is called ${fault.calls} times`)
      if (call.silent === undefined && mode.fails(1) && !how.includes('no Error')) {
        // A promise in place of a string is refused with an error of the package.
        t.ok(/injected fault|SSE_ERR_INVALID/.test(log.text) || told.some(error => String((error as Error)?.message).includes(MESSAGE)), 'the fault is logged, or told to the caller')
      }
    })
  }
}

t.test('"join" and "leave" are told, though the broker does not tell the name of its instance', async t => {
  const fault = new Fault(MODES['throws an Error every time']!)
  fault.armed = true
  const app = await buildApp(t, { broker: faultyBroker(({ presence }) => getter(fault, presence!, 'instance', 'this')) })
  const told: string[] = []
  for (const change of ['join', 'leave'] as const) app.sse.on(change, ({ clientId, instance }) => told.push(`${change} ${clientId} ${typeof instance}`))
  const open = await opener(t, app)
  const { client } = await open('a', { id: 'ada' })
  client.close()
  t.strictSame(told, ['join ada string', 'leave ada string'])
})

t.test('a client is whole, though the broker does not give its presence', async t => {
  const fault = new Fault(MODES['throws an Error every time']!)
  const app = await buildApp(t, { broker: faultyBroker(broker => getter(fault, broker, 'presence', broker.presence)) })
  const told: string[] = []
  for (const event of ['connect', 'disconnect'] as const) app.sse.on(event, (client: SSEClient) => told.push(`${event} ${client.id}`))
  const open = await opener(t, app)
  fault.armed = true
  const stream = await open('a', { id: 'ada' })
  stream.client.join('b')
  await app.sse.toChannels(['a', 'b'], 'n', 1)
  t.match(await received(stream), [{ event: 'n', data: '1' }])
  stream.client.close()
  t.strictSame(told, ['connect ada', 'disconnect ada'])
})

t.test('a pipelined response whose flushHeaders() throws ends its own client only', async t => {
  const log = new MemoryLog()
  let arrive = (): void => {}
  const arrived = new Promise<boolean>(resolve => { arrive = () => resolve(true) })
  const app = await buildApp(t, { broker: Object.assign(new AsyncBroker(), { position: () => ({ position: 100, arrived }) }) }, { loggerInstance: log.logger })
  let answer = (_text: string): void => {}
  app.get('/first', async () => await new Promise<string>(resolve => { answer = resolve }))
  app.get('/victim', (_request, reply) => {
    reply.raw.flushHeaders = () => { throw new Error(MESSAGE) }
    reply.sse('a', { id: 'victim' })
  })
  const onlooker = await (await opener(t, app))('onlookers')
  const raw = new RawClient(portOf(app), { path: '/first' })
  t.teardown(() => raw.destroy())
  raw.socket.write(requestText({ path: '/victim', headers: { 'last-event-id': 'async:100' } }))
  while (app.sse.client('victim') === undefined) await setImmediate()
  // Now the victim's response gets the connection: in a turn of Node's, where no caller can catch an error.
  answer('done')
  while (app.sse.client('victim') !== undefined) await setImmediate()
  arrive()
  t.match(log.text, MESSAGE)
  await app.sse.toChannel('onlookers', 'seen', 1)
  t.match(await received(onlooker), [{ data: '1' }])
})

t.test('where a getter of a schema throws, a publish rejects with an error of the package, and other events go on', async t => {
  for (const [how, mode] of Object.entries(MODES)) {
    if (how.startsWith('rejects')) continue
    const fault = new Fault(mode)
    const { properties, ...schema } = keyed(Type.Object({ value: Type.Number() }), 'value')
    const faulty = getter(fault, schema, 'properties', properties) as TSchema
    const app = await buildApp(t, { events: { n: faulty, seen: Type.Any() } as never })
    const stream = await (await opener(t, app))('a')
    fault.armed = true
    for (let number = 0; number < 3; number++) {
      await app.sse.toChannel('a', 'n', { value: number }).catch(error => t.match(error, { code: 'SSE_ERR_INVALID_DATA' }, how))
      await app.sse.toChannel('a', 'seen', number)
    }
    t.ok(fault.calls > 0)
    await stream.raw.until(() => stream.raw.events.at(-1)?.data === '2')
    t.strictSame(stream.raw.events.filter(({ event }) => event === 'seen').map(({ data }) => data), ['0', '1', '2'])
  }
})

t.test('a registry that fails while a hub registers its metrics refuses the hub, and keeps none of its metrics', async t => {
  for (const name of ['registerMetric', 'getSingleMetric']) {
    for (const failing of [1, 2, 7]) {
      const register = new Registry()
      const other = await buildApp(t, { metrics: { register, labels: { hub: 'other' } } })
      const before = await register.metrics()
      const fault = new Fault({ fails: call => call === failing, fail: () => { throw new Error(MESSAGE) } })
      fault.wrap(register, name)
      fault.armed = true
      const prefix = 'mine_'
      await t.rejects(async () => buildApp(t, { metrics: { register, prefix } }), { message: MESSAGE })
      t.equal(await register.metrics(), before, `call ${failing} of ${name}() leaves nothing`)
      const app = await buildApp(t, { metrics: { register, prefix } })
      t.match(await register.metrics(), /^mine_sse_clients 0$/m, 'the next hub can have the names')
      await app.close()
      await other.close()
      t.equal(await register.metrics(), '\n')
    }
  }
})

t.test('HTTP/2', async t => {
  for (const name of ['close', 'destroy']) {
    for (const [how, mode] of Object.entries(MODES)) {
      if (how.startsWith('rejects')) continue
      t.test(`where ${name}() of a session ${how}, app.close() ends the streams of the others`, async t => {
        const fault = new Fault(mode)
        const log = new MemoryLog()
        const app = await buildApp(t, { closeTimeout: 200, maxBufferedBytes: 1024 * 1024 }, { http2: true, loggerInstance: log.logger } as object)
        app.get('/victim', (request, reply) => {
          const { session } = (request.raw as never as Http2ServerRequest).stream
          // Fastify and Node call these as well. The fault is for the hub's call, and the session must end after it.
          const method = session![name as 'close']
          session![name as 'close'] = (...args) => {
            session![name as 'close'] = method
            try {
              if (fault.armed) fault.strike()
            } finally {
              session!.destroy()
            }
            return method.apply(session, args)
          }
          reply.sse('stuck')
        })
        app.get('/onlooker', (_request, reply) => { reply.sse('room') })
        const port = await listen(app)
        const open = async (path: string): Promise<Http2Stream> => {
          const session = connectHttp2(`http://127.0.0.1:${port}`)
          session.on('error', () => {})
          t.teardown(() => session.destroy())
          const stream = new Http2Stream(session, path)
          await stream.untilEvents(1)
          return stream
        }
        const victims = [await open('/victim'), await open('/victim')]
        const onlooker = await open('/onlooker')
        for (const { stream } of victims) stream.pause()
        while (app.sse.stats().bufferedBytes < 300_000) await app.sse.toChannel('stuck', 'filling', 'd'.repeat(60_000), { raw: true })
        fault.armed = true
        await app.sse.toChannel('room', 'last', 1)
        const closed = app.close()
        await onlooker.untilClosed()
        t.match(onlooker.events.at(-1), { event: 'last', data: '1' })
        t.ok(onlooker.ended, 'the onlooker has a whole stream')
        await closed
        t.ok(fault.calls > 0)
        t.equal(app.sse.clientCount(), 0)
        if (mode.fails(1)) t.match(log.text, 'ending a stream failed')
      })
    }
  }
})

async function turns (count: number): Promise<false> {
  for (let turn = 0; turn < count; turn++) await setImmediate()
  return false
}

/** Opens a stream, does all that a stream can do, and ends it. Returns the errors of its calls. */
async function live (t: Test, app: FastifyInstance, call: Call, fault: Fault, end: 'client' | 'server' | 'handler'): Promise<unknown[]> {
  const raw = new RawClient(portOf(app), { path: end === 'handler' ? '/failing' : '/victim', headers: { 'last-event-id': 'async:0' } })
  t.teardown(() => raw.destroy())
  await raw.until(() => raw.text.includes('sse:open') || (raw.head !== '' && raw.status !== 200)).catch(() => {})
  const told: unknown[] = []
  const attempt = async (what: () => unknown): Promise<void> => {
    try {
      await what()
    } catch (error) {
      told.push(error)
    }
  }
  const client = app.sse.client('victim')
  const data = (): unknown => call.data?.(fault) ?? {}
  const doing = [
    () => app.sse.toChannel('a', 'n', data()),
    () => app.sse.presence('a'),
    () => app.sse.stats(),
    () => JSON.stringify(client),
    () => client?.send('own', data()),
    () => client?.stream(call.source?.(fault) ?? faultySource(new Fault(MODES['rejects every time']!), 'next'), { event: 'item' })
  ].map(attempt)
  client?.join('c')
  client?.leave('a')
  // A source is silent after its third item, so the last call ends only with the client.
  await Promise.all(doing.slice(0, -1))
  if (end === 'server') client?.close()
  else if (end === 'client') raw.destroy()
  while (app.sse.client('victim') !== undefined) await setImmediate()
  await doing.at(-1)
  if (end === 'server' && client !== undefined) await raw.until(() => raw.complete).catch(() => {})
  raw.destroy()
  return told
}

/** Puts the fault before a property. */
function getter (fault: Fault, object: object, name: string, value: unknown): object {
  return Object.defineProperty(object, name, { get: () => fault.strike() ?? value, enumerable: true })
}

type FaultyBroker = AsyncBroker & Pick<Broker, 'past' | 'stats' | 'presence'>

/** A broker that has all methods that a broker may have. */
function faultyBroker (prepare: (broker: { -readonly [Key in keyof FaultyBroker]: FaultyBroker[Key] }) => void): Broker {
  const members = new Map<string, BrokerMember>()
  const broker = Object.assign(new AsyncBroker(), {
    past: async () => new Map(),
    stats: () => ({ state: 'ready' as const, reconnects: 0, publishFailures: 0, malformed: 0, lag: 0, roundTrip: null }),
    presence: {
      instance: 'this',
      set: (key: string, member: BrokerMember) => { members.set(key, member) },
      delete: (key: string) => { members.delete(key) },
      in: () => [...members.values()].map(({ clientId, metadata }) => ({ clientId, metadata, instance: 'this' }))
    }
  })
  // It begins at position 10, so that it is asked for the events before that.
  const { start } = broker
  broker.start = async sink => {
    await start.call(broker, sink)
    sink.skipTo(10)
    broker.skip(10)
  }
  prepare(broker as never)
  return broker
}

/** A logger whose method of this name fails, as does that of its children. */
function faultyLogger (fault: Fault, logger: FastifyBaseLogger, name: string): FastifyBaseLogger {
  const faulty = Object.create(logger) as Record<string, unknown>
  faulty[name] = (details: object, message: string) => fault.strike() ?? (logger as never as Record<string, (details: object, message: string) => void>)[name]!(details, message)
  faulty.child = (...args: [object]) => faultyLogger(fault, logger.child(...args), name)
  return faulty as never
}

/** A source that is silent after its third item. */
function faultySource (fault: Fault, name: 'iterator' | 'next' | 'return'): AsyncIterable<unknown> {
  let items = 0
  const strike = (of: string): unknown => of === name ? fault.strike() : undefined
  return {
    [Symbol.asyncIterator]: () => (strike('iterator') as never) ?? {
      next: () => strike('next') as never ?? (++items < 4 ? Promise.resolve({ value: items, done: false }) : new Promise(() => {})),
      return: () => strike('return') as never ?? Promise.resolve({ value: undefined, done: true })
    }
  }
}

/** Adds a hook that changes the payload of the client concerned. */
function onPayload (app: FastifyInstance, change: (payload: PassThrough) => unknown): void {
  app.addHook('onSend', (request, _reply, payload, done) => {
    const changed = request.url === '/victim' ? change(payload as PassThrough) : undefined
    done(null, changed instanceof PassThrough ? changed : payload)
  })
}

t.test('where one write of a response throws, its client is cut, and gets nothing of what came after the lost event', async t => {
  const app = await buildApp(t)
  let lose = false
  app.get('/victim', (_request, reply) => {
    const { write } = reply.raw
    reply.raw.write = function (this: typeof reply.raw, ...args: unknown[]) {
      if (lose) {
        lose = false
        throw new Error(MESSAGE)
      }
      return Reflect.apply(write, this, args) as boolean
    } as typeof write
    reply.sse('a', { id: 'victim' })
  })
  const onlooker = await (await opener(t, app))('a')
  const disconnects = recordDisconnects(app)
  const raw = new RawClient(portOf(app), { path: '/victim' })
  t.teardown(() => raw.destroy())
  await raw.until(() => raw.text.includes('sse:open'))
  await app.sse.client('victim')!.send('first', 1)
  lose = true
  const lost = app.sse.client('victim')!.send('lost', 'x'.repeat(100_000))
  const next = app.sse.client('victim')!.send('next', 2)
  t.same(await Promise.all([lost, next]), [false, false])
  await raw.untilClosed()
  t.equal(raw.complete, false, 'its connection is cut')
  t.notMatch(raw.text, /lost|next/)
  t.same(disconnects.map(({ reason }) => reason), ['error'])
  await app.sse.toChannel('a', 'seen', 1)
  t.match(await received(onlooker), [{ data: '1' }])
})
