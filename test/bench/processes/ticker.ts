// The process that is measured where events are states: a hub whose events may have keys, and what a slow client costs it.
// Those come over a Unix socket, for which the kernel holds little.
import { createServer, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import Fastify from 'fastify'
import type { Client } from '../../../lib/client.js'
import sse from '../../../lib/index.js'
import { flood, flow, type Flood, type Flow } from '../pace.js'
import { now } from '../payload.js'
import { serve } from '../rpc.js'
import type { Payload, Subject } from '../subjects/subject.js'

/** Between two looks at what waits, in milliseconds. */
const LOOK = 100

const symbols = Number(process.argv[2])
let keyed = true
const app = Fastify({ forceCloseConnections: true })
await app.register(sse, { historySize: symbols })

/** A client that comes over the Unix socket. */
interface Slow {
  readonly socket: Socket
  client: Client | null
  /** Calls that wrote. */
  writes: number
  /** When, what the kernel had taken since the beginning, and what waited for it in the process. */
  readonly samples: Array<[time: number, taken: number, waiting: number]>
}

const slow = new Map<string, Slow>()
const bySocket = new Map<Socket, Slow>()

app.get<{ Querystring: { slow?: string } }>('/events', (request, reply) => {
  const { slow: id } = request.query
  const client = reply.sse('all', { replay: id === undefined ? 'none' : 'all' })
  if (id === undefined) return
  const one = bySocket.get(request.raw.socket)!
  one.client = client as unknown as Client
  slow.set(id, one)
})
await app.listen({ host: '127.0.0.1', port: 0 })
createServer(socket => {
  const one: Slow = { socket, client: null, writes: 0, samples: [] }
  bySocket.set(socket, one)
  countWrites(one)
  app.server.emit('connection', socket)
}).listen(process.argv[3])

/** Counts what leaves the process by a call each. */
function countWrites (one: Slow): void {
  const socket = one.socket as unknown as Record<'_write' | '_writev', (...args: unknown[]) => unknown>
  for (const method of ['_write', '_writev'] as const) {
    const write = socket[method]
    socket[method] = function (...args) {
      one.writes++
      return write.apply(this, args)
    }
  }
}

/** When each event was published, by its number. */
const times: number[] = []

const subject: Subject = {
  server: app.server,
  publish (channel: string, { id, data }: Payload) {
    times[Number(id)] = now()
    return keyed ? app.sse.toChannel(channel, 'message', data, { key: `S${Number(id) % symbols}` }) : app.sse.toChannel(channel, 'message', data)
  }
}

function look (): void {
  const time = now()
  for (const { socket, client, samples } of slow.values()) {
    const waiting = client!.bufferedBytes
    samples.push([time, socket.bytesWritten - socket.writableLength, waiting])
  }
}

const methods = {
  port: () => (app.server.address() as { port: number }).port,
  flood ({ keys, ...how }: Flood & { keys: boolean }) {
    keyed = keys
    return flood(subject, how)
  },
  async flow (how: Omit<Flow, 'startAt'>) {
    const looking = setInterval(look, LOOK)
    await flow(payload => subject.publish('all', payload), { ...how, startAt: now() })
    clearInterval(looking)
    look()
  },
  /** Most calls that one slow client's bytes have taken so far. */
  writes: () => Math.max(...Array.from(slow.values(), ({ writes }) => writes)),
  samples: () => Object.fromEntries(Array.from(slow, ([id, { samples }]) => [id, samples])),
  times: () => times,
  stats: () => app.sse.stats(),
  /** Bytes in use, with the garbage gone. */
  async used (): Promise<number> {
    for (let rounds = 0; rounds < 3; rounds++) {
      gc!()
      await setTimeout(100)
    }
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
}

export type TickerMethods = typeof methods

serve(methods)
