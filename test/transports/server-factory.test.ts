// Servers that the application makes itself, with Fastify's `serverFactory`.
import { createServer, ServerResponse, type RequestListener } from 'node:http'
import { connect as connectHttp2, createSecureServer, createServer as createHttp2Server } from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import { createServer as createNetServer } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import { buildApp, listen } from '../support/app.js'
import { selfSigned } from '../support/certificate.js'
import { recordDisconnects } from '../support/disconnects.js'
import { Http2Stream } from '../support/http2-stream.js'
import { RawClient } from '../support/raw-client.js'

const { key, cert } = selfSigned()

async function serve (t: Test, factory: (handler: RequestListener) => unknown, heartbeatInterval = 40): Promise<{ app: FastifyInstance, port: number }> {
  const app = await buildApp(t, { heartbeatInterval }, { serverFactory: factory } as FastifyServerOptions)
  app.get('/events', (_request, reply) => { reply.sse('room') })
  app.get('/never', (_request, reply) => { reply.hijack() })
  return { app, port: await listen(app) }
}

/** Checks what a stream must do on any server. */
async function checkStreams (t: Test, app: FastifyInstance, stream: Pick<RawClient, 'untilEvents' | 'until' | 'untilClosed' | 'text'>): Promise<void> {
  await stream.untilEvents(1)
  const data = [{ text: 'plain' }, { text: 'é漢😀'.repeat(100) }, { text: 'long '.repeat(30_000) }]
  const ids: string[] = []
  for (const item of data) ids.push((await app.sse.toChannel('room', 'message', item)).id)
  const events = (await stream.untilEvents(1 + data.length)).slice(1)
  t.same(events.map(({ id }) => id), ids)
  t.same(events.map(({ data }) => JSON.parse(data)), data)
  await stream.until(() => stream.text.includes('\n:\n'))
  const disconnects = recordDisconnects(app)
  await app.close()
  await stream.untilClosed()
  t.match(stream.text, /\nretry: \d+\n\n$/)
  t.same(disconnects.map(({ reason }) => reason), ['shutdown'])
}

function open (t: Test, port: number, secure: boolean, path = '/events'): RawClient {
  const raw = new RawClient(secure ? connectTls({ port, host: '127.0.0.1', ca: cert }) : port, { path })
  t.teardown(() => raw.destroy())
  return raw
}

class OwnResponse extends ServerResponse {}

const FACTORIES: Record<string, { readonly secure: boolean, readonly make: (handler: RequestListener) => unknown }> = {
  'of HTTP/1': { secure: false, make: handler => createServer(handler) },
  'with a response class of its own': { secure: false, make: handler => createServer({ ServerResponse: OwnResponse } as object, handler) },
  'of HTTPS': { secure: true, make: handler => createHttpsServer({ key, cert }, handler) },
  'of HTTP/2 that takes HTTP/1 as well': { secure: true, make: handler => createSecureServer({ key, cert, allowHTTP1: true }, handler as never) }
}

for (const [name, { secure, make }] of Object.entries(FACTORIES)) {
  t.test(`a server ${name}`, async t => {
    const { app, port } = await serve(t, make)
    await checkStreams(t, app, open(t, port, secure))
  })
}

t.test('a server of HTTP/2, in clear text and over TLS', async t => {
  for (const secure of [false, true]) {
    const { app, port } = await serve(t, handler => secure ? createSecureServer({ key, cert }, handler as never) : createHttp2Server(handler as never))
    const session = connectHttp2(`http${secure ? 's' : ''}://127.0.0.1:${port}`, { ca: cert })
    t.teardown(() => session.destroy())
    await checkStreams(t, app, new Http2Stream(session, '/events'))
  }
})

t.test('a server that wraps the response sees every byte of the stream', async t => {
  const seen: Buffer[] = []
  const { app, port } = await serve(t, handler => createServer((request, response) => {
    const write = response.write.bind(response)
    response.write = (chunk: Buffer) => {
      seen.push(Buffer.from(chunk))
      return write(chunk)
    }
    handler(request, response)
  }))
  const raw = open(t, port, false)
  await checkStreams(t, app, raw)
  t.ok(Buffer.concat(seen).equals(raw.body))
})

t.test('one port for HTTP and HTTPS: a server of node:net in front of two', async t => {
  for (const secure of [false, true]) {
    const { app, port } = await serve(t, handler => {
      const servers = [createServer(handler), createHttpsServer({ key, cert }, handler)] as const
      return createNetServer(socket => socket.once('data', first => {
        socket.pause()
        socket.unshift(first)
        // A TLS handshake begins with 22.
        servers[first[0] === 22 ? 1 : 0].emit('connection', socket)
        process.nextTick(() => socket.resume())
      }))
    })
    const raw = open(t, port, secure)
    const ended = raw.until(() => raw.complete).then(() => raw.destroy())
    // Fastify can't end idle connections of these servers, because it does not know them. So the client ends its connection.
    await checkStreams(t, app, raw)
    await ended
  }
})

t.test('the factory\'s limit for silent connections does not cut a stream', async t => {
  const { app, port } = await serve(t, handler => createServer(handler).setTimeout(100), 500)
  const raw = open(t, port, false)
  await raw.untilEvents(1)
  await open(t, port, false, '/never').untilClosed()
  await checkStreams(t, app, raw)
})
