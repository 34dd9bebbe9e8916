// The watched process: an app with the hub, its publishing, and its figures as the process itself sees them.
import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import sse, { type SSEDisconnectReason, type SSEStats } from '../../../lib/index.js'
import { now, payloadOf } from '../../bench/payload.js'
import { serve } from '../../bench/rpc.js'
import { BROADCAST, BULK, SMALL, sizeOf, type Numbers } from '../channels.js'
import type { Kind } from '../client.js'

/** What is published until it is stopped. `perSecond` is a rate; the others are in milliseconds. */
export interface Pace {
  /** Events to the small channels, one channel after the other. */
  readonly perSecond: number
  /** Milliseconds between two broadcasts. */
  readonly broadcastEvery: number
  /** Milliseconds between two bursts to a small channel; `bulkEvery` for the bulk channel. With 0 there are none. */
  readonly burstEvery: number
  readonly bulkEvery: number
}

const BURST = 200
/**
 * A large burst is more than may wait for a client that does not read: the client is disconnected as slow. With small
 * bursts it is disconnected as stalled before that.
 */
const BULK_BURSTS = [45, 45, 150]

export interface Sample {
  readonly heapUsed: number
  /** It includes array buffers. */
  readonly external: number
  readonly rss: number
  /** CPU time until now, in microseconds. */
  readonly cpu: number
  /** How many resources of each kind keep the event loop alive: sockets, timers and others. */
  readonly resources: Readonly<Record<string, number>>
  readonly listeners: { readonly process: number, readonly server: number, readonly hub: number }
  readonly stats: SSEStats
  /** These are counted by this process, not by the hub. */
  readonly published: number
  readonly recipients: number
  readonly connects: number
  readonly disconnects: Readonly<Partial<Record<SSEDisconnectReason, number>>>
  /** The disconnects of dead clients; `dead` is how many clients of that kind are connected now. */
  readonly deaths: Readonly<Partial<Record<SSEDisconnectReason, number>>>
  readonly dead: number
  /** Event loop delay in milliseconds: `delay` is the p99 since the last sample, `delaySoFar` since the beginning. */
  readonly delay: number
  readonly delaySoFar: number
}

/** How many connections are cut in one turn of the event loop. */
const SLICE = 50
/** Milliseconds between two looks of the monitors. They count this time as delay. */
const RESOLUTION = 1

const app = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance
// The history is large enough for the longest absence of a client. The stall timeout is short enough for a short run.
await app.register(sse, { historySize: 500, heartbeatInterval: 3000, stallTimeout: 5000, maxBufferedBytes: 512 * 1024 })

const streams = new Set<Socket>()
app.get<{ Querystring: { c?: string | string[], kind: Kind } }>('/events', (request, reply) => {
  const { socket } = request.raw
  streams.add(socket)
  socket.once('close', () => streams.delete(socket))
  const { c = [], kind } = request.query
  reply.sse(c, { metadata: { kind }, replay: 'missed', broadcast: kind !== 'quiet' })
})
/** Ends streams on the server, and answers what was published until then. */
app.post<{ Body: string[] }>('/leave', async request => {
  const unknown: string[] = []
  for (const id of request.body) {
    const client = app.sse.client(id)
    if (client === undefined) unknown.push(id)
    else client.close()
  }
  return { numbers, unknown }
})
app.get('/ping', async () => 'pong')
// All clients of a storm may wait to be accepted at the same time. The kernel has its own limit (net.core.somaxconn).
await app.listen({ host: '127.0.0.1', port: 0, backlog: 8192 })

const numbers: Record<string, number> = Object.fromEntries([...SMALL, BULK, BROADCAST].map(channel => [channel, 0]))
let published = 0
let recipients = 0
let connects = 0
let dead = 0
const disconnects: Partial<Record<SSEDisconnectReason, number>> = {}
const deaths: Partial<Record<SSEDisconnectReason, number>> = {}
app.sse.on('connect', ({ metadata }) => {
  connects++
  if (metadata.kind === 'dead') dead++
})
app.sse.on('disconnect', ({ metadata }, reason) => {
  disconnects[reason] = (disconnects[reason] ?? 0) + 1
  if (metadata.kind !== 'dead') return
  dead--
  deaths[reason] = (deaths[reason] ?? 0) + 1
})

async function publish (channel: string): Promise<void> {
  const { data } = payloadOf(++numbers[channel]!, sizeOf(channel))
  const accepted = await (channel === BROADCAST ? app.sse.send(channel, data) : app.sse.toChannel(channel, channel, data))
  published++
  recipients += accepted.recipients
}

async function publishSome (channel: string, count: number): Promise<void> {
  for (let index = 0; index < count; index++) await publish(channel)
}

const stopping = new AbortController()
let publishing: Promise<unknown> = Promise.resolve()

/** Calls `work` again and again. Each call has its time. A call that is late is made at once. */
async function every (milliseconds: number, work: (turn: number) => Promise<void>): Promise<void> {
  if (milliseconds === 0) return
  const startedAt = now()
  for (let turn = 0; !stopping.signal.aborted; turn++) {
    const wait = (startedAt - now()) / 1000 + turn * milliseconds
    if (wait > 0) await setTimeout(wait)
    await work(turn)
  }
}

function count (emitter: Pick<EventEmitter, 'eventNames' | 'listenerCount'>): number {
  return emitter.eventNames().reduce((sum, name) => sum + emitter.listenerCount(name), 0)
}

function resources (): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

const second = monitor()
const whole = monitor()

function monitor (): IntervalHistogram {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION })
  histogram.enable()
  return histogram
}

function p99 (histogram: IntervalHistogram): number {
  return Math.max(0, histogram.percentile(99) / 1e6 - RESOLUTION)
}

const methods = {
  port: () => (app.server.address() as { port: number }).port,

  publish ({ perSecond, broadcastEvery, burstEvery, bulkEvery }: Pace): void {
    const burst = (turn: number): Promise<void> => publishSome(SMALL[turn % SMALL.length]!, BURST)
    publishing = Promise.all([
      every(1000 / perSecond, turn => publish(SMALL[turn % SMALL.length]!)),
      every(broadcastEvery, () => publish(BROADCAST)),
      every(burstEvery, burst),
      every(bulkEvery, turn => publishSome(BULK, BULK_BURSTS[turn % BULK_BURSTS.length]!))
    ])
  },

  async stopPublishing (): Promise<void> {
    stopping.abort()
    await publishing
  },

  /** Publishes events to each channel. The bulk channel gets fewer, because more may not wait for a client that reads late. */
  async publishToAll (each: number): Promise<void> {
    for (const channel of Object.keys(numbers)) await publishSome(channel, channel === BULK ? Math.min(each, 20) : each)
  },

  numbers: (): Numbers => numbers,

  sample (): Sample {
    const delay = p99(second)
    second.reset()
    // Garbage collection takes longer than a turn of the event loop may, and only this measurement needs it. One collection
    // in a second does not change the p99 of all turns.
    gc!()
    const { heapUsed, external, rss } = process.memoryUsage()
    const { user, system } = process.cpuUsage()
    return {
      heapUsed,
      external,
      rss,
      cpu: user + system,
      resources: resources(),
      listeners: { process: count(process), server: count(app.server), hub: count(app.sse as unknown as EventEmitter) },
      stats: app.sse.stats(),
      published,
      recipients,
      connects,
      disconnects,
      deaths,
      dead,
      delay,
      delaySoFar: p99(whole)
    }
  },

  /** Cuts the connections of all streams, some in each turn: closing all of them takes longer than a turn may. */
  async cut (): Promise<void> {
    let count = 0
    for (const socket of [...streams]) {
      socket.destroy()
      if (++count % SLICE === 0) await setImmediate()
    }
  },

  /** Closes the app, and tells which resources are left. */
  async close (): Promise<Record<string, number>> {
    await app.close()
    second.disable()
    whole.disable()
    await setTimeout(0)
    return resources()
  }
}

export type ServerMethods = typeof methods

serve(methods)
