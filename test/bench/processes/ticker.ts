// The measured process of the `states` scenario: a hub whose events may have keys. It also measures what a slow client costs.
// Slow clients connect to a Unix socket, for which the kernel buffers little.
import { createServer, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import Fastify from 'fastify'
import type { Client } from '../../../lib/client/client.js'
import sse from '../../../lib/index.js'
import { flood, flow, type Flood, type Flow } from '../pace.js'
import { now } from '../payload.js'
import { serve } from '../rpc.js'
import type { Payload, Subject } from '../subjects/subject.js'

/** There is a look at what waits every `LOOK` publishes, at most `LOOKS` times, for at most `SLOW` clients. */
const LOOK = 20
const LOOKS = 6000
const SLOW = 100

// The memory for the notes is allocated before anything is measured. For each look and client, it has the time, the bytes that
// the kernel has taken since the beginning, and the bytes that wait in the process. For each event, it has the time of
// publishing.
const samples = new Float64Array(SLOW * LOOKS * 3)
const times = new Float64Array(LOOK * LOOKS)
let looks = 0

const symbols = Number(process.argv[2])
let keyed = true
const app = Fastify({ forceCloseConnections: true })
await app.register(sse, { historySize: symbols })

/** A client on the Unix socket. */
interface Slow {
  readonly socket: Socket
  client: Client | null
  /** How many calls have written to its socket. */
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

/** Counts the calls that write to a socket. */
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
      // It looks after a number of publishes, not after a time: in a burst, each key that changes makes the line longer.
      if (Number(payload.id) % LOOK === 0) look()
      return subject.publish('all', payload)
    }, { ...how, startAt: now() })
    look()
  },
  /** The most writes that one slow client has taken so far. */
  writes: () => Math.max(...Array.from(slow.values(), ({ writes }) => writes)),
  /** For each client. */
  samples: () => Array.from({ length: slow.size }, (_, id) => Array.from({ length: looks }, (_, look) => {
    const at = (id * LOOKS + look) * 3
    return [samples[at]!, samples[at + 1]!, samples[at + 2]!] as [time: number, taken: number, waiting: number]
  })),
  times: () => Array.from(times),
  stats: () => app.sse.stats(),
  /** Bytes in use after garbage collection. */
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
