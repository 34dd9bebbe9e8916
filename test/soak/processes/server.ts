// The process that is watched: an app with the hub, what it publishes, and what it looks like from inside.
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

/** What goes on until it is stopped, in events a second and in milliseconds. */
export interface Pace {
  /** To one small channel after the other. */
  readonly perSecond: number
  /** Between two broadcasts. */
  readonly broadcastEvery: number
  /** Between two bursts to a small channel, and to the bulk channel; 0 for none. */
  readonly burstEvery: number
  readonly bulkEvery: number
}

const BURST = 200
/** Who does not read has more waiting than it may after one large burst; after small ones it is stalled before. */
const BULK_BURSTS = [45, 45, 150]

export interface Sample {
  readonly heapUsed: number
  /** With array buffers. */
  readonly external: number
  readonly rss: number
  /** CPU time so far, in microseconds. */
  readonly cpu: number
  /** What keeps the event loop alive, by kind: sockets, timers … */
  readonly resources: Readonly<Record<string, number>>
  readonly listeners: { readonly process: number, readonly server: number, readonly hub: number }
  readonly stats: SSEStats
  /** What the process itself has counted. */
  readonly published: number
  readonly recipients: number
  readonly connects: number
  readonly disconnects: Readonly<Partial<Record<SSEDisconnectReason, number>>>
  /** Of dead clients, and of those that will be, alone; and how many of them are there now. */
  readonly deaths: Readonly<Partial<Record<SSEDisconnectReason, number>>>
  readonly dead: number
  /** Event loop delay in milliseconds: the p99 of this sample's time, and of all so far. */
  readonly delay: number
  readonly delaySoFar: number
}

/** Connections that are cut in one turn of the event loop. */
const SLICE = 50
/** Milliseconds between two looks of the monitors, which they count as delay. */
const RESOLUTION = 1

const app = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance
// Kept for as long as a client may be away; stalled ones are to go within a short run.
await app.register(sse, { historySize: 500, heartbeatInterval: 3000, stallTimeout: 5000, maxBufferedBytes: 512 * 1024 })

const streams = new Set<Socket>()
app.get<{ Querystring: { c?: string | string[], kind: Kind } }>('/events', (request, reply) => {
  const { socket } = request.raw
  streams.add(socket)
  socket.once('close', () => streams.delete(socket))
  const { c = [], kind } = request.query
  reply.sse(c, { metadata: { kind }, replay: 'missed', broadcast: kind !== 'quiet' })
})
/** Ends streams from this side, and tells what was published until then. */
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
// All clients of a storm may be waiting to be accepted at once. The kernel has a limit of its own (net.core.somaxconn).
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

/** Calls over and over, each time when it is due, or at once where that has passed. */
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

  /** So many to each channel; of large ones no more than may wait for who reads late. */
  async publishToAll (each: number): Promise<void> {
    for (const channel of Object.keys(numbers)) await publishSome(channel, channel === BULK ? Math.min(each, 20) : each)
  },

  numbers: (): Numbers => numbers,

  sample (): Sample {
    const delay = p99(second)
    second.reset()
    // A collection takes longer than a turn of the event loop may, and is this measurement's alone. One in a second
    // does not reach the p99 of all turns.
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

  /** Cuts all streams' connections, some in each turn: to close them all takes longer than a turn may. */
  async cut (): Promise<void> {
    let count = 0
    for (const socket of [...streams]) {
      socket.destroy()
      if (++count % SLICE === 0) await setImmediate()
    }
  },

  /** Closes the app, and tells what is left then. */
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
