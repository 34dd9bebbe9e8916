// The process that is measured where events are states: a hub whose events may have keys, and what a slow client costs it.
// Those come over a Unix socket, for which the kernel holds little.
import { createServer, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import Fastify from 'fastify'
import type { Client } from '../../../lib/client/client.js'
import sse from '../../../lib/index.js'
import { flood, flow, type Flood, type Flow } from '../pace.js'
import { now } from '../payload.js'
import { serve } from '../rpc.js'
import type { Payload, Subject } from '../subjects/subject.js'

/** Publishes between two looks at what waits, how many looks there may be, and at how many clients. */
const LOOK = 20
const LOOKS = 6000
const SLOW = 100

// What is taken note of is in memory before any is measured: for each look and client when, what the kernel had taken since
// the beginning, and what waited for it in the process; and when each event was published, by its number.
const samples = new Float64Array(SLOW * LOOKS * 3)
const times = new Float64Array(LOOK * LOOKS)
let looks = 0

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
  const one: Slow = { socket, client: null, writes: 0 }
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

const subject: Subject = {
  server: app.server,
  publish (channel: string, { id, data }: Payload) {
    if (Number(id) < times.length) times[Number(id)] = now()
    return keyed ? app.sse.toChannel(channel, 'message', data, { key: `S${Number(id) % symbols}` }) : app.sse.toChannel(channel, 'message', data)
  }
}

function look (): void {
  const time = now()
  for (const [id, { socket, client }] of slow) {
    const waiting = client!.bufferedBytes
    samples.set([time, socket.bytesWritten - socket.writableLength, waiting], (Number(id) * LOOKS + looks) * 3)
  }
  looks++
}

const methods = {
  port: () => (app.server.address() as { port: number }).port,
  flood ({ keys, ...how }: Flood & { keys: boolean }) {
    keyed = keys
    return flood(subject, how)
  },
  async flow (how: Omit<Flow, 'startAt'>) {
    await flow(payload => {
      // By publishes, not by time: in a burst, each key that changes makes the line longer.
      if (Number(payload.id) % LOOK === 0) look()
      return subject.publish('all', payload)
    }, { ...how, startAt: now() })
    look()
  },
  /** Most calls that one slow client's bytes have taken so far. */
  writes: () => Math.max(...Array.from(slow.values(), ({ writes }) => writes)),
  /** Of each client. */
  samples: () => Array.from({ length: slow.size }, (_, id) => Array.from({ length: looks }, (_, look) => {
    const at = (id * LOOKS + look) * 3
    return [samples[at]!, samples[at + 1]!, samples[at + 2]!] as [time: number, taken: number, waiting: number]
  })),
  times: () => Array.from(times),
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
