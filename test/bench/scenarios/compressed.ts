// Streams as gzip: what they save on the wire, and what they cost the server. They are compared with the same streams without
// compression, and with a gzip stream for each client.
import { setTimeout } from 'node:timers/promises'
import type { Bench } from '../bench.js'
import type { Compressed } from '../gzip-reader.js'
import { ORDERS, TRADE } from '../payload.js'
import type { SubjectName } from '../subjects/index.js'
import type { Figures, Goal, Scenario } from './scenario.js'

const PLAIN = 'ours'
const SHARED = 'ours (compressed)'
const SMALL = 'ours (compressed, threshold 0)'
const PER_CLIENT = 'gzip per client'
const SECONDS = 5

function compressedOf (subject: SubjectName): Compressed | null {
  return subject === PLAIN ? null : subject === PER_CLIENT ? 'stream' : 'blocks'
}

interface Paced {
  readonly clients: number
  /** How many turns with events there are; `perTurn` says how many events a turn has. */
  readonly perSecond: number
  readonly perTurn: number
  readonly channels?: number
  readonly perClient?: number
  readonly size: number
}

/** Publishes at a rate. With one channel, a turn also waits until all clients have the events of the turn before. */
async function paced (bench: Bench, subject: SubjectName, { clients, perSecond, perTurn, channels = 1, perClient = 1, size }: Paced): Promise<Figures> {
  return await bench.with(subject, { hub: {} }, async ({ server, load, port }) => {
    await load.connect({ port, clients: bench.clients(clients), channels, perClient, size, compressed: compressedOf(subject) })
    await load.time()
    const before = await server.usage()
    const count = Math.ceil(bench.amount(SECONDS) * perSecond)
    const { last } = await server.rate({ perSecond, count, perTurn, channels, apart: channels === 1, size, content: 'market' })
    const { p50, p99, wire, deliveries } = await load.finish(last)
    const after = await server.usage()
    return { bytes: wire / deliveries, cpu: (after.cpu - before.cpu) / 1000, p50, p99 }
  })
}

/** Publishes as fast as possible. */
async function flooded (bench: Bench, subject: SubjectName): Promise<Figures> {
  return await bench.with(subject, { hub: {} }, async ({ server, load, port }) => {
    await load.connect({ port, clients: bench.clients(10_000), size: TRADE, compressed: compressedOf(subject) })
    await load.time()
    const { last, startedAt } = await server.flood({ milliseconds: bench.amount(3000), perTurn: 1, channels: 1, size: TRADE, content: 'market' })
    const { endedAt, wire, deliveries } = await load.finish(last)
    return { deliveries: deliveries / (endedAt - startedAt) * 1e6, bytes: wire / deliveries }
  })
}

/** Resident bytes for each client, after each has had some events and garbage is collected. */
async function memory (bench: Bench, subject: SubjectName, clients: number): Promise<number> {
  return await bench.with(subject, { hub: { replay: 'missed' } }, async ({ server, load, port }) => {
    const size = ORDERS
    const compressed = compressedOf(subject)
    // What a server allocates only once does not belong to its connections. These clients make it allocate that first.
    await load.connect({ port, clients: bench.clients(500), size, compressed })
    const { last } = await server.rate({ perSecond: 10, count: 10, size, content: 'market' })
    await load.finish(last)
    await load.close()
    await setTimeout(bench.amount(1000))
    const before = await server.resident()
    await load.connect({ port, clients, size, compressed })
    await load.finish((await server.rate({ perSecond: 2, count: 10, size, content: 'market' })).last)
    return (await server.resident() - before) / clients
  })
}

type Unnamed = Omit<Goal, 'name'>

const judged = { of: SHARED, versus: PLAIN } as const

function rate (name: string, shape: Paced, goals: readonly Unnamed[]): Scenario {
  const { clients, perSecond, perTurn, size, channels, perClient } = shape
  const events = perTurn === 1 ? `${perSecond} events/s` : `${perTurn} events at once, ${perSecond} times a second`
  const where = channels === undefined ? 'in one channel' : `each in ${perClient} of ${channels} channels`
  return {
    title: `${clients.toLocaleString('en')} clients ${where}, ${events} of ${size} bytes`,
    subjects: [PLAIN, SHARED, ...(size === TRADE ? [SMALL] as const : []), PER_CLIENT],
    once: [PER_CLIENT],
    run: (bench, subject) => paced(bench, subject, shape),
    goals: goals.map(goal => ({ ...goal, name }))
  }
}

const bytes = { figure: 'bytes', unit: 'bytes on the wire an event and client', ...judged } as const
const cpu = { figure: 'cpu', unit: 'ms of CPU', ...judged } as const
const costs: readonly Unnamed[] = [
  { ...bytes, atMost: 0.4 },
  { ...cpu, atMost: 1.05 },
  { figure: 'p99', unit: 'ms, p99', ...judged, atMost: 1.1 },
  { figure: 'p50', unit: 'ms, p50', ...judged }
]
const sizes: readonly Unnamed[] = [bytes, { ...bytes, of: SMALL }, { ...bytes, of: PER_CLIENT }, cpu, { ...cpu, of: SMALL }]
const groups: readonly Unnamed[] = [{ ...cpu, atMost: 1.3 }, bytes]
const smallGroups: readonly Unnamed[] = [...groups, { ...cpu, of: SMALL, atMost: 1.3 }, { ...bytes, of: SMALL }]

export const compressed: readonly Scenario[] = [
  rate('compressed-2k', { clients: 2000, perSecond: 20, perTurn: 1, size: ORDERS }, costs),
  rate('compressed-10k', { clients: 10_000, perSecond: 4, perTurn: 1, size: ORDERS }, costs),
  ...[1, 10].map(perTurn => rate('compressed-small', { clients: 1000, perSecond: 20, perTurn, size: TRADE }, sizes)),
  // These run at a rate. At full speed, the cost of a batch would decide how many events are in it.
  ...[[1, 250, ORDERS], [16, 40, ORDERS], [100, 10, ORDERS], [16, 40, TRADE]].map(([perTurn, perSecond, size]) => rate('compressed-multi',
    { clients: 1000, perSecond: perSecond!, perTurn: perTurn!, channels: 50, perClient: 3, size: size! }, size === ORDERS ? groups : smallGroups)),
  {
    title: '10,000 clients in one channel, one publish a turn, compressed',
    subjects: [PLAIN, SHARED, SMALL, PER_CLIENT],
    once: [PER_CLIENT],
    run: flooded,
    goals: [
      { name: 'compressed-flood', figure: 'deliveries', unit: 'deliveries/s', ...judged, atLeast: 0.9 },
      { name: 'compressed-flood', ...bytes }
    ]
  },
  {
    title: '10,000 connections that have had some events, compressed beside uncompressed',
    subjects: [SHARED, PER_CLIENT],
    once: [PER_CLIENT],
    async run (bench, subject) {
      // A gzip stream for one client takes a quarter of a megabyte.
      const clients = bench.clients(subject === PER_CLIENT ? 2000 : 10_000)
      return { more: (await memory(bench, subject, clients) - await memory(bench, PLAIN, clients)) / 1000 }
    },
    goals: [{ name: 'compressed-memory', figure: 'more', unit: 'kB more a connection', of: SHARED, versus: null, atMost: 1 }]
  }
]
