// The reconnect storm: all clients are cut at the same time and come back within a second. Other routes must answer
// meanwhile.
import { setTimeout } from 'node:timers/promises'
import { mostClients } from '../bench/files.js'
import type { PingerMethods, Pings } from '../bench/processes/pinger.js'
import { Process } from '../bench/rpc.js'
import { number } from '../bench/statistics.js'
import type { LoadMethods, Return } from './processes/load.js'
import type { ServerMethods } from './processes/server.js'
import { Checks, whole, type Outcome } from './report.js'

export interface StormOptions {
  readonly clients: number
  readonly seed: number
}

const PACE = { perSecond: 16, broadcastEvery: 1000, burstEvery: 0, bulkEvery: 0 }
const PINGS = 200
/** How long the other route is measured without a storm, in milliseconds. */
const QUIET = 1000
const STORMS = ['the server cuts all', 'the network cuts all'] as const
/**
 * The highest p99 of the other route during the storm, in milliseconds, on connections that are open. If connections are reset
 * at the same time, Node closes them all in one turn. With 5,000 responses of bare Fastify without a hub, p99 is 130 to
 * 200 ms.
 */
const ANSWER: Readonly<Record<typeof STORMS[number], number>> = { 'the server cuts all': 100, 'the network cuts all': 300 }

interface Setup {
  readonly server: Process<ServerMethods>['call']
  readonly load: Process<LoadMethods>['call']
  readonly pinger: Process<PingerMethods>['call']
}

interface Storm extends Return {
  readonly pings: Pings
  readonly connections: number
  readonly replayed: number
}

export async function storm (options: StormOptions, tell: (text: string) => void): Promise<Outcome> {
  const server = new Process<ServerMethods>(new URL('./processes/server.js', import.meta.url), [], null)
  const load = new Process<LoadMethods>(new URL('./processes/load.js', import.meta.url), [], null)
  const pinger = new Process<PingerMethods>('pinger', [], null)
  try {
    return await run({ server: server.call, load: load.call, pinger: pinger.call }, options, tell)
  } finally {
    await Promise.all([server.end(), load.end(), pinger.end()])
  }
}

async function run (setup: Setup, { clients: wanted, seed }: StormOptions, tell: (text: string) => void): Promise<Outcome> {
  const { server, load, pinger } = setup
  const clients = Math.min(wanted, mostClients)
  const checks = new Checks()
  const port = await server.port()
  await load.begin({ port, seed, unplugs: false })
  await server.publish(PACE)
  await load.open(clients)
  // Each client has now had an event of each of its channels, or gets one in a moment.
  await pinger.open(port)
  await pinger.start({ port, perSecond: PINGS })
  await setTimeout(QUIET)
  await pinger.take()
  await setTimeout(QUIET)
  const quiet = await pinger.take()
  tell(`${clients} clients are there`)

  const storms: Storm[] = []
  for (const cause of STORMS) {
    const result = await once(setup, cause)
    storms.push(result)
    tell(`${cause}: back after ${number(result.lasted)} s`)
    checks.same(`${cause}: all come back, and with them what was published meanwhile`, result.recovered, clients)
    checks.same(`${cause}: each connects once`, result.connections, clients)
    checks.full(`${cause}: other routes answer within ${ANSWER[cause]} ms at p99`, result.pings.p99 <= ANSWER[cause], `${number(result.pings.p99)} ms`)
  }
  // It fails if one of its requests failed.
  const { count: rest } = await pinger.stop()
  const requests = [quiet, ...storms.map(({ pings }) => pings)].reduce((sum, { count }) => sum + count, rest)
  await server.stopPublishing()
  await server.publishToAll(1)
  await load.caughtUp(await server.numbers())
  const { faultCount, faults } = await load.sample()
  checks.that('no request fails, and every client saw its channels\' events in order, none twice, none missing', faultCount === 0,
    faultCount > 0 ? faults.join('; ') : `${whole(clients * (STORMS.length + 1))} streams, and ${whole(requests)} other requests`)

  return {
    title: `Reconnect storm: ${whole(clients)} clients${clients < wanted ? ` (in place of ${whole(wanted)}: ulimit -n)` : ''}`,
    checks: checks.all,
    figures: figuresOf(quiet, storms),
    samples: storms
  }
}

/** Cuts all clients, and waits until they are back and have the events that they missed. */
async function once ({ server, load, pinger }: Setup, cause: typeof STORMS[number]): Promise<Storm> {
  const { stats: before } = await server.sample()
  const { opened } = await load.sample()
  await pinger.take()
  const back = load.back(opened)
  await (cause === 'the server cuts all' ? server.cut() : load.cut())
  const result = await back
  const pings = await pinger.take()
  await server.publishToAll(1)
  await load.caughtUp(await server.numbers())
  const { stats: after } = await server.sample()
  return { ...result, pings, connections: after.connections - before.connections, replayed: after.replayed - before.replayed }
}

function figuresOf (quiet: Pings, storms: readonly Storm[]): string[][] {
  return [
    ['', 'nothing happens', ...STORMS],
    ['until all are back, s', '', ...storms.map(({ lasted }) => number(lasted))],
    ['from connecting to the greeting, p50, ms', '', ...storms.map(({ p50 }) => number(p50))],
    ['p99, ms', '', ...storms.map(({ p99 }) => number(p99))],
    ['longest, ms', '', ...storms.map(({ max }) => number(max))],
    ['events that they had missed', '', ...storms.map(({ replayed }) => whole(replayed))],
    ['another route meanwhile, p50, ms', ...[quiet, ...storms.map(({ pings }) => pings)].map(({ p50 }) => number(p50))],
    ['p99, ms', ...[quiet, ...storms.map(({ pings }) => pings)].map(({ p99 }) => number(p99))],
    ['longest, ms', ...[quiet, ...storms.map(({ pings }) => pings)].map(({ max }) => number(max))],
    ['requests', ...[quiet, ...storms.map(({ pings }) => pings)].map(({ count }) => whole(count))]
  ]
}
