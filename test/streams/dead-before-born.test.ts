// Streams that nobody ever reads: those of HEAD requests, and of readers that left before `reply.sse()`. Their handlers clean up
// when the client's `signal` is aborted. So it must be aborted like the signal of any other client.
import { createHook } from 'node:async_hooks'
import { addAbortListener, once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance, FastifyReply } from 'fastify'
import t, { type Test } from 'tap'
import type { SSEClient } from '../../lib/index.js'
import { buildApp } from '../support/app.js'
import { recordDisconnects } from '../support/disconnects.js'
import { requestText } from '../support/raw-client.js'
import { unixSocket } from '../support/unix-socket.js'

const REQUESTS = 3000
const AT_A_TIME = 20

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** What the handlers of streams begin, and what their clean-up has ended. */
class Begun {
  readonly ended: Record<string, number> = {}
  /** For how many clients the last part of the clean-up has run. */
  whole = 0
  unexpected = 0
  readonly clients: Array<WeakRef<SSEClient>> = []

  /** Registers clean-up in all ways in which a handler may do so. */
  watch (client: SSEClient): void {
    const { signal } = client
    this.clients.push(new WeakRef(client))
    const timer = setInterval(() => client.send('tick', 1), 3_600_000)
    const count = (way: string): void => { this.ended[way] = (this.ended[way] ?? 0) + 1 }
    const removed = (): void => { this.unexpected++ }
    const removedObject = { handleEvent: removed }
    signal.addEventListener('abort', removed)
    signal.addEventListener('abort', removedObject)
    signal.addEventListener('abort', () => {
      clearInterval(timer)
      count('a listener')
    })
    signal.addEventListener('abort', () => count('a listener with once'), { once: true })
    signal.addEventListener('abort', { handleEvent: () => count('an object with handleEvent') })
    const twice = (): void => count('a listener that is added twice')
    signal.addEventListener('abort', twice)
    signal.addEventListener('abort', twice)
    signal.onabort = removed
    signal.onabort = () => count('onabort')
    addAbortListener(signal, () => count('addAbortListener()'))
    addAbortListener(signal, removed)[Symbol.dispose]()
    signal.removeEventListener('abort', removed)
    signal.removeEventListener('abort', removedObject)
    signal.addEventListener('abort', () => { this.whole++ })
  }

  /** Resolves when all clean-up that was registered has run. */
  async over (): Promise<void> {
    while (this.whole < this.clients.length) await setImmediate()
  }

  check (t: Test, count: number): void {
    t.strictSame(this.ended, Object.fromEntries(WAYS.map(way => [way, count])), 'each clean-up runs once')
    t.equal(this.unexpected, 0, 'and none that was removed or replaced')
  }
}

const WAYS = ['a listener', 'a listener with once', 'an object with handleEvent', 'a listener that is added twice', 'onabort', 'addAbortListener()']

/** The asynchronous contexts that the hub made for clients and that are still in memory, by Node's numbers for them. */
const contexts = new Set<number>()
const hook = createHook({
  init (id, type) { if (type === 'fastify-sse-hub.client') contexts.add(id) },
  destroy (id) { contexts.delete(id) }
}).enable()
t.teardown(() => hook.disable())

/** What stays if something is not cleaned up: timers, and listeners on connections that serve the next request. */
function resources (sockets: ReadonlySet<Socket>): { timers: number, listeners: number } {
  let listeners = 0
  for (const socket of sockets) for (const event of socket.eventNames()) listeners += socket.listenerCount(event)
  return { timers: process.getActiveResourcesInfo().filter(name => name === 'Timeout').length, listeners }
}

interface Setting {
  readonly app: FastifyInstance
  readonly path: string
  readonly begun: Begun
  /** The server's ends of its open connections. */
  readonly sockets: ReadonlySet<Socket>
}

async function setting (t: Test, handler: (reply: FastifyReply, begun: Begun) => unknown): Promise<Setting> {
  const app = await buildApp(t, { maxClients: 10 })
  const begun = new Begun()
  app.get('/', (_request, reply) => handler(reply, begun))
  const path = unixSocket(t)
  const sockets = new Set<Socket>()
  app.server.on('connection', socket => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await app.listen({ path })
  return { app, path, begun, sockets }
}

/** Checks that the hub, the process and the memory are as before. */
async function nothingIsLeft (t: Test, { app, begun, sockets }: Setting, before: ReturnType<typeof resources>): Promise<void> {
  await begun.over()
  t.match(app.sse.stats(), { clients: 0, channels: 0, connections: 0, refused: 0, bufferedBytes: 0 })
  t.equal(app.sse.cleanupDisconnected(), 0)
  const { timers, listeners } = resources(sockets)
  // A timer that another test has left may end in the meantime.
  t.ok(timers <= before.timers, `${timers} timers are left, and there were ${before.timers}`)
  t.equal(listeners, before.listeners)
  // Objects that only the current turn holds can be freed after a few turns.
  for (let turn = 0; turn < 10; turn++) await setImmediate()
  gc()
  await setImmediate()
  gc()
  const alive = begun.clients.filter(client => client.deref() !== undefined).length
  // Node keeps some objects to use them again. These may hold the last clients.
  t.ok(alive <= 2 * AT_A_TIME, `${alive} of ${begun.clients.length} clients are still in memory`)
  t.ok(contexts.size <= 2 * AT_A_TIME, `and ${contexts.size} of their contexts`)
}

/** Sends a HEAD request and resolves with the answer. */
async function head (socket: Socket): Promise<string> {
  socket.write(requestText({ method: 'HEAD' }))
  const [head] = await once(socket, 'data') as [Buffer]
  return head.toString()
}

/** Handlers that open a stream and then register their clean-up. */
const handlers: Record<string, (reply: FastifyReply, begun: Begun) => unknown> = {
  'a handler' (reply, begun) {
    begun.watch(reply.sse('room'))
  },
  'an async handler' (reply, begun) {
    return (async () => begun.watch(reply.sse('room')))()
  },
  'an async handler that awaits something and returns its client' (reply, begun) {
    return (async () => {
      await setImmediate()
      const client = reply.sse('room')
      begun.watch(client)
      return client
    })()
  }
}

for (const [name, handler] of Object.entries(handlers)) {
  t.test(`3,000 HEAD requests leave nothing of what ${name} began`, async t => {
    const hub = await setting(t, handler)
    const disconnects = recordDisconnects(hub.app)
    const sockets = await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
      const socket = connect(hub.path)
      await head(socket)
      return socket
    }))
    await hub.begun.over()
    const before = resources(hub.sockets)
    await Promise.all(sockets.map(async socket => {
      for (let n = 1; n < REQUESTS / AT_A_TIME; n++) {
        const answer = await head(socket)
        if (!answer.startsWith('HTTP/1.1 200 ')) t.fail(answer)
      }
    }))
    await nothingIsLeft(t, hub, before)
    hub.begun.check(t, REQUESTS)
    t.strictSame(disconnects, [], 'and nobody has heard of them')
    for (const socket of sockets) socket.destroy()
  })
}

t.test('readers that left while the handler awaited something leave nothing of what it began after that', async t => {
  const count = 300
  let entered: () => void = () => {}
  const gates: Array<() => void> = []
  const hub = await setting(t, async (reply, begun) => {
    const { socket } = reply.raw
    entered()
    await new Promise<void>(resolve => gates.push(resolve))
    if (!socket!.destroyed) await once(socket!, 'close')
    begun.watch(reply.sse('room'))
  })
  const disconnects = recordDisconnects(hub.app)
  const before = resources(hub.sockets)
  for (let n = 0; n < count; n++) {
    const inHandler = new Promise<void>(resolve => { entered = resolve })
    const socket = connect(hub.path)
    socket.write(requestText({}))
    await inHandler
    socket.destroy()
    gates[n]!()
  }
  while (hub.begun.clients.length < count) await setImmediate()
  await nothingIsLeft(t, hub, before)
  hub.begun.check(t, count)
  t.strictSame(disconnects, [])
})

t.test('a signal that is asked for only after it was aborted is aborted', async t => {
  const clients: SSEClient[] = []
  const { app, path } = await setting(t, reply => { clients.push(reply.sse()) })
  const socket = connect(path)
  socket.write(requestText({ method: 'HEAD' }))
  await once(socket, 'data')
  await setImmediate()
  await setImmediate()
  t.equal(clients[0]!.signal.aborted, true)
  socket.destroy()
  await app.close()
})
