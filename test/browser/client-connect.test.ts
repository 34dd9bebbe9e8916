// `connect()` of fastify-sse-hub/client, over real connections, with the two implementations of EventSource that users of
// Node have. The tests of the examples run it in a browser.
import { EventEmitter, getEventListeners, once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { connect, type EventSourceLike, type Stream, type StreamOptions, type StreamState } from '../../lib/browser/connect.js'
import type { SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen, nextClient } from '../support/app.js'
import { comesBack, Inbox, NAMES } from '../support/comeback.js'
import { nextDisconnect } from '../support/disconnects.js'
import { HeldTimers } from '../support/held-timers.js'
import { EventSource, UndiciEventSource } from '../support/newest-clients.js'

const events = {
  notification: Type.Object({ text: Type.String() }),
  progress: Type.Object({ percent: Type.Number() })
}

/** The last event id of a request, in its query and in its header. */
interface Asked { readonly query: string | undefined, readonly header: string | undefined }

interface Server {
  readonly app: FastifyInstance
  readonly url: string
  readonly asked: Asked[]
  /** The statuses of the next answers. After them, requests get streams again. */
  readonly refusals: number[]
}

/** A server with one stream, in the channel `room`. */
async function serve (t: Test, options: SSEPluginOptions = {}, route?: (app: FastifyInstance) => void): Promise<Server> {
  const app = await buildApp(t, { retry: 10, ...options }, { forceCloseConnections: true })
  const asked: Asked[] = []
  const refusals: number[] = []
  app.get<{ Querystring: { lastEventId?: string } }>('/stream', async (request, reply) => {
    asked.push({ query: request.query.lastEventId, header: request.headers['last-event-id'] as string | undefined })
    const status = refusals.shift()
    if (status !== undefined) return reply.code(status).send()
    reply.sse('room')
  })
  route?.(app)
  return { app, url: `http://127.0.0.1:${await listen(app)}/stream`, asked, refusals }
}

/** Notes what happens, and lets a test wait for it. */
class Notes {
  readonly states: StreamState[] = []
  readonly #changes = new EventEmitter()

  /** Wraps a listener, so that `until` checks again after each call. */
  noting<Args extends unknown[]> (listener: (...args: Args) => void): (...args: Args) => void {
    return (...args) => {
      listener(...args)
      this.#changes.emit('change')
    }
  }

  readonly onState = this.noting((state: StreamState) => { this.states.push(state) })

  async until (holds: () => boolean): Promise<void> {
    while (!holds()) await once(this.#changes, 'change')
  }
}

function follow<Events extends object = Record<string, unknown>> (t: Test, url: string, options: StreamOptions<Events>): Stream {
  const stream = connect<Events>(url, options)
  t.teardown(() => stream.close())
  return stream
}

/** An EventSource that never connects. It records what it is made with. */
class SilentSource implements EventSourceLike {
  static readonly made: Array<{ url: string, init: unknown }> = []
  readonly readyState = 0
  constructor (url: string, init?: { withCredentials?: boolean }) { SilentSource.made.push({ url, init }) }
  addEventListener (): void {}
  close (): void {}
}

/** The address that an EventSource is made with. */
function addressOf (url: string | URL, options: StreamOptions = {}): string {
  connect(url, { ...options, EventSource: SilentSource }).close()
  return SilentSource.made.at(-1)!.url
}

for (const [name, Implementation] of [['eventsource', EventSource], ['undici', UndiciEventSource]] as const) {
  t.test(`connect() with the EventSource of ${name}`, async t => {
    await t.test('gives data by the server\'s schemas, and tells how it opened', async t => {
      const { app, url } = await serve(t, { events })
      const notes = new Notes()
      const got: Array<string | number> = []
      const opened: unknown[] = []
      const connected = nextClient(app)
      const stream = follow<typeof events>(t, url, {
        EventSource: Implementation,
        onState: notes.onState,
        onOpen: notes.noting(how => { opened.push(how) }),
        on: {
          notification: notes.noting(({ text }) => { got.push(text.toUpperCase()) }),
          progress: notes.noting(({ percent }, event) => { got.push(percent + 1, event.type, event.data, event.lastEventId) })
        }
      })
      t.equal(stream.state, 'connecting')
      t.equal(stream.lastEventId, '')
      const client = await connected
      await notes.until(() => opened.length === 1)
      t.strictSame(opened, [{ clientId: client.id, recovered: false }])
      t.equal(stream.state, 'open')
      await app.sse.toChannel('room', 'notification', { text: 'hi' })
      const { id } = await app.sse.send('progress', { percent: 41 })
      await notes.until(() => got.length === 5)
      t.strictSame(got, ['HI', 42, 'progress', '{"percent":41}', id])
      t.equal(stream.lastEventId, id)
      const gone = nextDisconnect(app)
      stream.close()
      t.equal((await gone).reason, 'client')
      t.strictSame(notes.states, ['connecting', 'open', 'closed'])
    })

    await t.test('comes back by itself', async t => {
      const refusals: number[] = []
      const resumptions = await comesBack(t, {
        start (t, origin) {
          const inbox = new Inbox()
          const on = Object.fromEntries(NAMES.map(name => [name, (data: unknown) => inbox.receive(name, data as string)]))
          follow(t, `${origin}/stream`, { EventSource: Implementation, raw: NAMES, on, wait: 5 })
          return Object.assign(inbox, {
            losses: [{
              title: 'it is refused four times',
              reason: 'server' as const,
              lose ({ client }: { client: { close (): void } }) {
                refusals.push(503, 502, 401, 204)
                client.close()
              }
            }]
          })
        },
        routes (app) {
          app.addHook('onRequest', async (_request, reply) => {
            const status = refusals.shift()
            if (status !== undefined) return reply.code(status).send()
          })
        }
      })
      t.ok(resumptions[0]!.query.startsWith('?lastEventId='), 'after a refusal by the query')
      t.equal(resumptions[0]!.header, undefined)
      t.ok(resumptions.slice(1).every(({ header }) => header), 'after a loss by the header')
    })

    await t.test('asks again after a refusal, behind the last event, with growing waits of which a part is random', async t => {
      const { app, url, asked, refusals } = await serve(t)
      const timers = new HeldTimers(t)
      const random = t.intercept(Math, 'random', { value: () => 0.25, writable: true })
      const notes = new Notes()
      const got: unknown[] = []
      const recovered: boolean[] = []
      const stream = follow(t, url, {
        EventSource: Implementation,
        wait: 1000.2,
        maxWait: 4500.4,
        onState: notes.onState,
        onOpen: notes.noting(opened => { recovered.push(opened.recovered) }),
        on: { message: notes.noting(data => { got.push(data) }) }
      })
      await notes.until(() => recovered.length === 1)
      await app.sse.toChannel('room', 'message', 1)
      await notes.until(() => got.length === 1)
      const id = stream.lastEventId

      // A 401 is not among them, because the EventSource of undici 8 asks twice for each.
      refusals.push(503, 502, 403, 429)
      app.sse.clients()[0]!.close()
      const refused = async (times: number): Promise<void> => notes.until(() => notes.states.filter(state => state === 'refused').length === times)
      await refused(1)
      await app.sse.toChannel('room', 'message', 2)
      for (const times of [2, 3, 4]) {
        timers.run()
        await refused(times)
      }
      Math.random = () => 0.75
      timers.run()
      await notes.until(() => got.length === 2)

      t.strictSame(timers.delays, [0.625 * 1000.2, 0.625 * 2000.4, 0.625 * 4000.8, 0.625 * 4500.4])
      t.strictSame(got, [1, 2])
      t.strictSame(recovered, [false, true])
      t.strictSame(asked, [
        { query: undefined, header: undefined }, { query: undefined, header: id }, ...Array(4).fill({ query: id, header: undefined })
      ])
      t.strictSame(notes.states, [
        'connecting', 'open', 'reconnecting', 'refused', 'connecting', 'refused', 'connecting', 'refused', 'connecting', 'refused', 'connecting', 'open'
      ])

      await t.test('and with the first wait again, once it was open', async t => {
        refusals.push(503)
        app.sse.clients()[0]!.close()
        await refused(5)
        t.equal(timers.delays.at(-1), 0.875 * 1000.2)
        t.equal(timers.count, 1)
      })

      await t.test('and at once when it is told to', async t => {
        refusals.push(503)
        stream.open()
        t.equal(timers.count, 0)
        await refused(6)
        t.equal(timers.delays.at(-1), 0.875 * 1000.2, 'the waits begin anew')
      })

      await t.test('and no more when it is closed meanwhile', t => {
        stream.close()
        t.equal(timers.count, 0)
        t.equal(notes.states.at(-1), 'closed')
        t.end()
      })
      random.restore()
    })

    await t.test('opens a stream anew in which nothing comes, behind the last event', async t => {
      const { app, url, asked } = await serve(t, { heartbeatEvent: 'beat', heartbeatInterval: 20 })
      const timers = new HeldTimers(t)
      const notes = new Notes()
      const recovered: boolean[] = []
      const stream = follow(t, url, {
        EventSource: Implementation,
        heartbeat: { event: 'beat', timeout: 45_000.5 },
        onState: notes.onState,
        onOpen: notes.noting(opened => { recovered.push(opened.recovered) })
      })
      t.equal(timers.count, 1, 'an answer that never comes is silence too')
      await app.sse.toChannel('room', 'message', 1)
      // The timer starts again when the stream opens, at the greeting, and at each heartbeat.
      await timers.asked(6)
      t.equal(timers.count, 1)
      t.equal(asked.length, 1)
      const id = stream.lastEventId
      t.not(id, '')

      const gone = nextDisconnect(app)
      timers.run()
      await notes.until(() => recovered.length === 2)
      await gone
      t.strictSame(asked.at(-1), { query: id, header: undefined })
      t.strictSame(recovered, [false, true])
      t.strictSame(notes.states, ['connecting', 'open', 'reconnecting', 'open'])
      stream.close()
      t.equal(timers.count, 0)
    })

    await t.test('tells of events that are lost while it is open', async t => {
      const { url } = await serve(t, {}, app => app.get('/gaps', (_request, reply) => {
        reply.hijack()
        reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
        reply.raw.write('event: sse:gap\ndata: {"lost":3}\n\nevent: sse:gap\ndata: {"lost":null}\n\n')
      }))
      const notes = new Notes()
      const gaps: unknown[] = []
      follow(t, url.replace('stream', 'gaps'), { EventSource: Implementation, onGap: notes.noting(gap => { gaps.push(gap) }) })
      await notes.until(() => gaps.length === 2)
      t.strictSame(gaps, [{ lost: 3 }, { lost: null }])
    })

    await t.test('goes on when a listener throws, rejects, or gets data that can\'t be parsed', async t => {
      const { app, url } = await serve(t)
      const notes = new Notes()
      const errors: unknown[] = []
      const got: unknown[] = []
      const opened = nextClient(app)
      const stream = follow(t, url, {
        EventSource: Implementation,
        parse (text) {
          if (text === '"x"') throw new Error('parse')
          return JSON.parse(text)
        },
        onOpen () { throw new Error('onOpen') },
        onState () { throw new Error('onState') },
        onError: notes.noting(error => { errors.push((error as Error).message) }),
        on: {
          throws () { throw new Error('throws') },
          async rejects () { throw new Error('rejects') },
          unreadable () { got.push('never') },
          message: notes.noting(data => { got.push(data) })
        }
      })
      await opened
      for (const name of ['throws', 'rejects', 'unreadable']) await app.sse.send(name, name === 'unreadable' ? 'x' : 'y')
      const { id } = await app.sse.send('message', 'still there')
      await notes.until(() => got.length === 1 && errors.length === 6)
      t.strictSame(got, ['still there'])
      t.strictSame(errors.sort(), ['onOpen', 'onState', 'onState', 'parse', 'rejects', 'throws'])
      t.equal(stream.lastEventId, id)
      t.equal(app.sse.stats().connections, 1)
    })

    await t.test('gives text that is no JSON as it is, and with `raw` what looks like JSON as well', async t => {
      const { app, url } = await serve(t)
      const notes = new Notes()
      const got: unknown[] = []
      const opened = nextClient(app)
      const note = notes.noting((data: unknown) => { got.push(data) })
      follow(t, url, { EventSource: Implementation, raw: ['code'], on: { message: note, code: note } })
      await opened
      await app.sse.send('message', '<b>hi</b>', { raw: true })
      await app.sse.send('message', '123', { raw: true })
      await app.sse.send('code', '123', { raw: true })
      await notes.until(() => got.length === 3)
      t.strictSame(got, ['<b>hi</b>', 123, '123'])
    })

    await t.test('reads what the hub\'s serializer wrote, and not the hub\'s own events, with `parse`', async t => {
      const { app, url } = await serve(t, { serializer: (data, event) => `${event}=${String(data)}` })
      const notes = new Notes()
      const got: unknown[] = []
      const connected = nextClient(app)
      follow(t, url, {
        EventSource: Implementation,
        parse: (text, event) => text.slice(event.length + 1),
        onOpen: notes.noting(({ clientId }) => { got.push(clientId) }),
        on: { message: notes.noting(data => { got.push(data) }) }
      })
      const { id } = await connected
      await app.sse.send('message', 'hi')
      await notes.until(() => got.length === 2)
      t.strictSame(got, [id, 'hi'])
    })

    await t.test('keeps events apart that are named as those of EventSource itself', async t => {
      const { app, url } = await serve(t)
      const notes = new Notes()
      const got: unknown[] = []
      const note = notes.noting((data: unknown) => { got.push(data) })
      follow(t, url, { EventSource: Implementation, onState: notes.onState, on: { error: note, open: note, message: note } })
      await nextClient(app)
      await app.sse.send('error', 'of the server')
      await app.sse.send('open', 'to all')
      app.sse.clients()[0]!.close()
      await nextClient(app)
      await app.sse.send('message', 'back')
      await notes.until(() => got.includes('back'))
      t.strictSame(got, ['of the server', 'to all', 'back'])
      t.strictSame(notes.states, ['connecting', 'open', 'reconnecting', 'open'])
    })

    await t.test('gives nothing more once it is closed, and what came behind when it is opened again', async t => {
      const { app, url } = await serve(t)
      const notes = new Notes()
      const got: unknown[] = []
      const connected = nextClient(app)
      const stream = follow(t, url, {
        EventSource: Implementation,
        on: {
          message: notes.noting(data => {
            got.push(data)
            if (data === 1) stream.close()
          })
        }
      })
      await connected
      const gone = nextDisconnect(app)
      // All three come in one write.
      await Promise.all([1, 2, 3].map(async data => app.sse.send('message', data)))
      await gone
      t.strictSame(got, [1])
      t.equal(stream.state, 'closed')
      stream.open()
      await notes.until(() => got.length === 3)
      t.strictSame(got, [1, 2, 3])
    })

    await t.test('closes with its signal, for good', async t => {
      const { app, url, asked } = await serve(t)
      const notes = new Notes()
      const controller = new AbortController()
      const { signal } = controller
      const connected = nextClient(app)
      const stream = follow(t, url, { EventSource: Implementation, signal, onState: notes.onState })
      await connected
      await notes.until(() => stream.state === 'open')
      const gone = nextDisconnect(app)
      controller.abort()
      t.equal(stream.state, 'closed')
      t.equal((await gone).reason, 'client')
      stream.open()
      t.equal(stream.state, 'closed')
      t.equal(asked.length, 1)
      t.strictSame(notes.states, ['connecting', 'open', 'closed'])
    })
  })
}

t.test('the status of a refusal is told where the EventSource tells it', async t => {
  const { url, refusals } = await serve(t)
  refusals.push(401)
  const notes = new Notes()
  const codes: unknown[] = []
  const stream = follow(t, url, {
    EventSource,
    onState: notes.noting((state, failure) => {
      if (state !== 'refused') return
      codes.push(failure?.code)
      stream.close()
    })
  })
  await notes.until(() => codes.length === 1)
  t.strictSame(codes, [401])
  t.equal(stream.state, 'closed')
})

t.test('a signal that is aborted already opens nothing, and a closed stream holds on to none', t => {
  const { length } = SilentSource.made
  const aborted = connect('http://localhost/', { EventSource: SilentSource, signal: AbortSignal.abort() })
  aborted.open()
  t.equal(aborted.state, 'closed')
  t.equal(SilentSource.made.length, length)
  const { signal } = new AbortController()
  const stream = connect('http://localhost/', { EventSource: SilentSource, signal })
  t.equal(getEventListeners(signal, 'abort').length, 1)
  stream.close()
  t.equal(getEventListeners(signal, 'abort').length, 0)
  t.end()
})

t.test('the address says where to begin, and is otherwise what was given', t => {
  t.equal(addressOf('http://localhost/a?b=c'), 'http://localhost/a?b=c')
  t.equal(addressOf(new URL('http://localhost/a')), 'http://localhost/a')
  t.equal(addressOf('http://localhost/a?b=c', { lastEventId: 'x y&z' }), 'http://localhost/a?b=c&lastEventId=x%20y%26z')
  t.equal(addressOf('http://localhost/a?sig=a%20b~&flag#top', { lastEventId: '2' }), 'http://localhost/a?sig=a%20b~&flag&lastEventId=2', 'a signature stays valid')
  t.equal(addressOf('http://localhost/a?lastEventId=1', { lastEventId: '2' }), 'http://localhost/a?lastEventId=1&lastEventId=2', 'the server takes the last')
  t.equal(addressOf('http://localhost/a', { lastEventId: '2', lastEventIdQuery: 'since' }), 'http://localhost/a?since=2')
  t.end()
})

t.test('onState may use the stream from its first call on', async t => {
  const told: StreamState[] = []
  const errors: unknown[] = []
  const stream: Stream = connect('http://localhost/', {
    EventSource: SilentSource,
    onState () {
      told.push(stream.state)
      stream.close()
    },
    onError: error => { errors.push(error) }
  })
  t.strictSame(told, [])
  await setImmediate()
  t.strictSame([told, errors], [['connecting', 'closed'], []])
})

t.test('an EventSource that throws when it is made again is told, and made again later', async t => {
  const timers = new HeldTimers(t)
  let throws = false
  const made: RefusedSource[] = []
  class RefusedSource implements EventSourceLike {
    readonly readyState = 2
    readonly listeners: Record<string, (event: object) => void> = {}

    constructor () {
      if (throws) throw new Error('the policy forbids it')
      made.push(this)
    }

    addEventListener (type: string, listener: (event: object) => void): void {
      this.listeners[type] = listener
    }

    close (): void {}
  }
  const states: StreamState[] = []
  const errors: unknown[] = []
  const options = { EventSource: RefusedSource, wait: 10, onState: (state: StreamState) => { states.push(state) }, onError: (error: unknown) => { errors.push(error) } }
  const stream = connect('http://localhost/', options)
  await setImmediate()
  made[0]!.listeners['error']!({})
  throws = true
  timers.run()
  await setImmediate()
  t.match(errors, [{ message: 'the policy forbids it' }])
  t.equal(stream.state, 'refused')
  throws = false
  timers.run()
  t.equal(made.length, 2)
  t.equal(stream.state, 'connecting')
  await setImmediate()
  t.strictSame(states, ['connecting', 'refused', 'connecting'])
  stream.close()
  throws = true
  const { signal } = new AbortController()
  t.throws(() => connect('http://localhost/', { ...options, signal }), { message: 'the policy forbids it' }, 'at first the caller is told')
  t.equal(getEventListeners(signal, 'abort').length, 0)
  t.equal(timers.count, 0)
})

t.test('in a page the address is relative to it, in a worker to its script', t => {
  t.intercept(globalThis, 'location' as never, { value: { href: 'http://localhost/deep/worker.js' } })
  t.equal(addressOf('stream'), 'http://localhost/deep/stream')
  t.intercept(globalThis, 'document' as never, { value: { baseURI: 'http://localhost/base/' } })
  t.equal(addressOf('stream'), 'http://localhost/base/stream')
  t.end()
})

t.test('the platform\'s EventSource is taken where none is given', t => {
  t.intercept(globalThis, 'EventSource' as never, { value: SilentSource })
  connect('http://localhost/', { withCredentials: true }).close()
  t.strictSame(SilentSource.made.at(-1), { url: 'http://localhost/', init: { withCredentials: true } })
  connect('http://localhost/').close()
  t.strictSame(SilentSource.made.at(-1)!.init, { withCredentials: false })
  t.end()
})

t.test('it says what is missing', t => {
  t.intercept(globalThis, 'EventSource' as never, { value: undefined })
  t.throws(() => connect('http://localhost/'), { name: 'TypeError', message: 'No EventSource here: give one as an option, e.g. that of npm "eventsource"' })
  t.throws(() => connect('/stream', { EventSource: SilentSource }), { name: 'TypeError', code: 'ERR_INVALID_URL' })
  // A timer with one of these times runs at once. Then streams would be opened again and again without a wait.
  for (const time of [undefined, null, NaN, 0, -1, 'soon', Infinity, 2 ** 31]) {
    const heartbeat = { event: 'heartbeat', timeout: time as number }
    t.throws(() => connect('http://localhost/', { EventSource: SilentSource, heartbeat }), { name: 'TypeError', message: /timeout/ }, `a timeout of ${time}`)
    if (time === undefined) continue
    t.throws(() => connect('http://localhost/', { EventSource: SilentSource, wait: time as number }), { name: 'TypeError', message: /"wait"/ }, `a wait of ${time}`)
    t.throws(() => connect('http://localhost/', { EventSource: SilentSource, maxWait: time as number }), { name: 'TypeError', message: /"maxWait"/ }, `a longest wait of ${time}`)
  }
  t.end()
})

t.test('what is thrown goes to the platform where `onError` is not given, or throws', async t => {
  const thrown = new Error('thrown')
  const onState = (): never => { throw thrown }
  const logged = t.capture(console, 'error')
  connect('http://localhost/', { EventSource: SilentSource, onState }).close()
  await setImmediate()
  t.strictSame(logged().map(({ args }) => args), [[thrown], [thrown]])

  const reported: unknown[] = []
  t.intercept(globalThis, 'reportError' as never, { value: (error: unknown) => { reported.push(error) } })
  connect('http://localhost/', { EventSource: SilentSource, onState, onError () { throw new Error('onError') } }).close()
  await setImmediate()
  t.strictSame(reported.map(error => (error as Error).message), ['onError', 'onError'])
  t.same(logged(), [])
})
