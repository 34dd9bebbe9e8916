// What the README's table says of other packages, and what no pair of the pages for their users shows.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createChannel, createSession, type Channel } from 'better-sse'
import Fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify'
import { Server } from 'socket.io'
import { io as connectSocket } from 'socket.io-client'
import t, { type Test } from 'tap'
import sse from '../../lib/index.js'
import { listen } from '../support/app.js'

// Its types declare another `reply.sse`, so the compiler must not see them.
const { default: fastifySse } = await import('@fastify/sse' as string) as { default: FastifyPluginAsync }

const MB = 1024 * 1024
const TEXT = 'x'.repeat(MB)
/** What each client that reads nothing is sent, in MB. */
const SENT = 64

interface Subject {
  readonly name: string
  /** Adds a route for streams, or a server for sockets. Returns what sends a text to all clients. */
  readonly prepare: (app: FastifyInstance) => Promise<(text: string) => unknown>
  readonly path: string
  /** Whether what waits for a client that reads nothing is bounded. */
  readonly bounded: boolean
}

const SUBJECTS: Subject[] = [
  {
    name: 'fastify-sse-hub',
    async prepare (app) {
      await app.register(sse, { historySize: 0 })
      app.get('/events', (_request, reply) => { reply.sse() })
      return text => app.sse.send('message', text.slice(100))
    },
    path: '/events',
    bounded: true
  },
  {
    name: '@fastify/sse',
    async prepare (app) {
      await app.register(fastifySse)
      const replies = new Set<{ send (message: object): Promise<unknown> }>()
      app.get('/events', { sse: true } as never, async (_request, reply) => {
        const stream = (reply as unknown as { sse: { keepAlive (): void, send (message: object): Promise<unknown> } }).sse
        stream.keepAlive()
        await stream.send({ data: 'hello' })
        replies.add(stream)
      })
      return text => { for (const reply of replies) reply.send({ data: text }).catch(() => {}) }
    },
    path: '/events',
    bounded: false
  },
  {
    name: 'better-sse',
    async prepare (app) {
      const channel: Channel = createChannel()
      app.get('/events', async (request, reply) => {
        reply.hijack()
        channel.register(await createSession(request.raw, reply.raw))
      })
      return text => { channel.broadcast(text) }
    },
    path: '/events',
    bounded: false
  }
]

/** Opens a stream and reads nothing after its head. */
async function openStuck (t: Test, port: number, path: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n`)
  await once(socket, 'data')
  socket.pause()
  return socket
}

/** Bytes that wait in the server's sockets and in the responses on them. */
function waiting (sockets: Iterable<Socket>): number {
  return [...sockets].reduce((sum, socket) => sum + socket.writableLength, 0)
}

function socketsOf (app: FastifyInstance): Set<Socket> {
  const sockets = new Set<Socket>()
  app.server.on('connection', socket => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return sockets
}

for (const { name, prepare, path, bounded } of SUBJECTS) {
  t.test(`${name}: what waits for a client that reads nothing ${bounded ? 'is bounded' : 'is not bounded'}`, async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    const sockets = socketsOf(app)
    const send = await prepare(app)
    await openStuck(t, await listen(app), path)
    t.teardown(() => { for (const socket of sockets) socket.destroy() })
    let most = 0
    for (let sent = 0; sent < SENT; sent++) {
      await send(TEXT)
      await new Promise(resolve => setImmediate(resolve))
      most = Math.max(most, waiting(sockets))
    }
    t.equal(most < 8 * MB, bounded, `${Math.round(most / MB)} MB of ${SENT} waited at most`)
  })
}

async function socketServer (t: Test): Promise<{ app: FastifyInstance, io: Server, port: number, hooks: string[] }> {
  const app = Fastify()
  const io = new Server(app.server)
  const hooks: string[] = []
  app.addHook('onRequest', async request => { hooks.push(request.url) })
  const port = await listen(app)
  t.teardown(async () => {
    await io.close()
    await app.close()
  })
  return { app, io, port, hooks }
}

t.test('socket.io: what waits for a client that reads nothing is not bounded', async t => {
  const { app, io, port } = await socketServer(t)
  const sockets = socketsOf(app)
  const client = connectSocket(`http://127.0.0.1:${port}`, { transports: ['websocket'], forceNew: true, reconnection: false })
  t.teardown(() => client.disconnect())
  await once(client as never, 'connect')
  const { _socket: raw } = (client.io.engine.transport as unknown as { ws: { _socket: Socket } }).ws
  raw.pause()
  for (let sent = 0; sent < SENT; sent++) io.emit('message', TEXT)
  // The hub would have ended such a client by now.
  await new Promise(resolve => setImmediate(resolve))
  t.ok(waiting(sockets) > SENT / 2 * MB, `${Math.round(waiting(sockets) / MB)} MB wait`)
  t.equal(io.engine.clientsCount, 1, 'the client is there')
  raw.destroy()
})

t.test('socket.io: hooks do not run, an EventSource is refused, and app.close() waits for clients', async t => {
  const { app, io, port, hooks } = await socketServer(t)
  const refused = await fetch(`http://127.0.0.1:${port}/socket.io/`, { headers: { accept: 'text/event-stream' } })
  t.equal(refused.status, 400)
  const client = connectSocket(`http://127.0.0.1:${port}`, { transports: ['websocket'], forceNew: true, reconnection: false })
  t.teardown(() => client.disconnect())
  await once(client as never, 'connect')
  t.same(hooks, [])
  let closed = false
  const closing = app.close().then(() => { closed = true })
  while (app.server.listening) await new Promise(resolve => setImmediate(resolve))
  t.notOk(closed)
  t.equal(io.engine.clientsCount, 1, 'the client is still connected')
  client.disconnect()
  await closing
  t.ok(closed)
})
