// What Node or Fastify costs alone: a bare `node:net` server that writes one prepared buffer to every socket, a bare
// `node:http` server, and a route with a small stream.
import { once } from 'node:events'
import Fastify from 'fastify'
import http from 'node:http'
import net, { type Server, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { type Payload, type Subject } from './subject.js'

const HEADERS = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no' }
const HEAD = 'HTTP/1.1 200 OK\r\n' + Object.entries(HEADERS).map(([name, value]) => `${name}: ${value}\r\n`).join('') +
  'transfer-encoding: chunked\r\n\r\n'

/** It makes the ids as long as ours. */
const EPOCH = 'bare-bare-ba-'

function eventOf ({ id, data }: Payload): string {
  return `id: ${EPOCH}${id}\nevent: message\ndata: ${JSON.stringify(data)}\n\n`
}

function chunkOf (text: string): Buffer {
  return Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`)
}

const PONG = 'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npong'
const OPENING = chunkOf(':\n\n')

async function listen (server: Server): Promise<void> {
  await once(server.listen({ host: '127.0.0.1', port: 0 }), 'listening')
}

export async function bareNet (): Promise<Subject> {
  const sockets = new Set<Socket>()
  /** The bytes that clients get after the head, and where each event begins in them. */
  let past = Buffer.alloc(0)
  const starts: number[] = []
  const server = net.createServer({ noDelay: true }, socket => {
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    let request = ''
    socket.on('data', data => {
      request += data.toString('latin1')
      if (!request.includes('\r\n\r\n')) return
      if (request.startsWith('GET /ping ')) {
        request = ''
        socket.write(PONG)
        return
      }
      const from = /\r\nlast-event-id: (\d+)/i.exec(request)
      request = ''
      socket.cork()
      socket.write(HEAD)
      if (from === null) {
        socket.write(OPENING)
      } else {
        const missed = past.subarray(starts[Number(from[1])])
        socket.write(`${missed.length.toString(16)}\r\n`)
        socket.write(missed)
        socket.write('\r\n')
      }
      socket.uncork()
      sockets.add(socket)
    })
  })
  await listen(server)
  return {
    server,
    publish (_channel, payload) {
      const chunk = chunkOf(eventOf(payload))
      for (const socket of sockets) socket.write(chunk)
    },
    async fill (payloads) {
      let text = ''
      for (const payload of payloads) {
        starts.push(text.length)
        text += eventOf(payload)
      }
      past = Buffer.from(text)
      return starts.map((_, index) => String(index))
    }
  }
}

export async function bareHttp (): Promise<Subject> {
  const responses = new Set<http.ServerResponse>()
  const server = http.createServer((_request, response) => {
    response.writeHead(200, HEADERS)
    response.write(':\n\n')
    responses.add(response)
    response.on('close', () => responses.delete(response))
  })
  await listen(server)
  return {
    server,
    publish (_channel, payload) {
      const text = eventOf(payload)
      for (const response of responses) response.write(text)
    }
  }
}

/** A plain Fastify route that sends one small stream. */
export async function smallStream (): Promise<Subject> {
  const app = Fastify({ forceCloseConnections: true })
  app.get('/events', async (_request, reply) => reply.headers(HEADERS).send(Readable.from([':\n\n'])))
  await app.listen({ host: '127.0.0.1', port: 0 })
  return { server: app.server, publish () {} }
}
