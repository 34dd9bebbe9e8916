// A ticker: it sends the newest values of many keys to many clients, some of which read slowly. It also measures what keys cost
// where all clients read fast.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Bench } from '../bench.js'
import type { LoadMethods } from '../processes/load.js'
import type { PacedMethods } from '../processes/paced.js'
import type { TickerMethods } from '../processes/ticker.js'
import { Process } from '../rpc.js'
import { summary } from '../statistics.js'
import { SIZE, type Figures, type Scenario } from './scenario.js'

const SYMBOLS = 1000
const PER_SECOND = 1000
const CLIENTS = 1000
const SLOW = 100
/** How fast the slow clients read. */
const BYTES_PER_SECOND = 5000
const SECONDS = 100
const FLOOD_SECONDS = 1
const FLOODS = 9

interface Setup {
  readonly ticker: Process<TickerMethods>['call']
  readonly load: Process<LoadMethods>['call']
  readonly paced: Process<PacedMethods>['call']
  readonly port: number
  /** The Unix socket to which slow clients connect. */
  readonly path: string
}

async function withTicker<Result> (work: (setup: Setup) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'sse-'))
  const path = join(folder, 'socket')
  const program = (name: string): URL => new URL(import.meta.resolve(`../processes/${name}.js`))
  const ticker = new Process<TickerMethods>(program('ticker'), [String(SYMBOLS), path], 0)
  const load = new Process<LoadMethods>('load', [], 1)
  const paced = new Process<PacedMethods>(program('paced'), [], 1)
  try {
    const port = await ticker.call.port()
    return await work({ ticker: ticker.call, load: load.call, paced: paced.call, port, path })
  } finally {
    await Promise.all([ticker.end(), load.end(), paced.end()])
    await rm(folder, { recursive: true })
  }
}

async function slowReaders (bench: Bench): Promise<Figures> {
  return await withTicker(async ({ ticker, load, paced, port, path }) => {
    const slow = Math.min(SLOW, bench.clients(SLOW))
    await load.connect({ port, clients: bench.clients(CLIENTS - SLOW), size: SIZE })
    // After these events all symbols have a value, and the server has compiled its code.
    const before = 3 * SYMBOLS
    await ticker.flood({ keys: true, milliseconds: 0, perTurn: before, channels: 1, size: SIZE })
    await load.finish(before)
    const used = await ticker.used()
    await paced.connect({ path, count: slow, events: SYMBOLS })
    const writes = await ticker.writes()
    await paced.pace(BYTES_PER_SECOND)
    const count = bench.amount(SECONDS) * PER_SECOND
    await ticker.flow({ perSecond: PER_SECOND, count, size: SIZE, first: before + 1, step: 1 })
    const memory = (await ticker.used() - used) / slow / 1024
    const { excess, lag, lap } = await paced.judge({ symbols: SYMBOLS, times: await ticker.times(), samples: await ticker.samples() })
    // The load client checks that the other clients got all events in order.
    await load.finish(before + count)
    const { conflated, slowDisconnects } = await ticker.stats()
    if (slowDisconnects > 0 || (conflated === 0 && bench.amount(SECONDS) === SECONDS)) throw new Error(`${slowDisconnects} were disconnected, ${conflated} events replaced`)
    return { writes, memory, excess, lag, lap }
  })
}

/** Floods without and with keys, one after the other in one process, so that other work of the machine affects both. */
async function throughput (bench: Bench): Promise<Figures> {
  return await withTicker(async ({ ticker, load, port }) => {
    const flood = async (keys: boolean): Promise<number> => {
      await load.connect({ port, clients: bench.clients(CLIENTS), size: SIZE })
      const { last, startedAt } = await ticker.flood({ keys, milliseconds: bench.amount(FLOOD_SECONDS * 1000), perTurn: 1, channels: 1, size: SIZE })
      const { endedAt, deliveries } = await load.finish(last)
      await load.close()
      while ((await ticker.stats()).clients > 0) await setTimeout(20)
      return deliveries / (endedAt - startedAt) * 1e6
    }
    const plain: number[] = []
    const keyed: number[] = []
    await flood(true)
    for (let turn = 0; turn < FLOODS; turn++) {
      plain.push(await flood(false))
      keyed.push(await flood(true))
    }
    return { plain: summary(plain).median, keyed: summary(keyed).median, ratio: summary(keyed.map((value, turn) => value / plain[turn]!)).median }
  })
}

export const states: readonly Scenario[] = [
  {
    title: `${CLIENTS} clients in one channel, one publish a turn, of ${SYMBOLS} keys in turn`,
    subjects: ['ours'],
    run: throughput,
    goals: [{ name: 'states', figure: 'ratio', unit: '× the deliveries/s without keys', versus: null, atLeast: 0.95 }]
  },
  {
    title: `${SYMBOLS} keys, ${PER_SECOND} updates/s, ${CLIENTS} clients, ${SLOW} of which read ${BYTES_PER_SECOND / 1000} KB/s`,
    subjects: ['ours'],
    run: slowReaders,
    goals: [
      { name: 'states', figure: 'excess', unit: 's that a key was behind beyond one lap', versus: null, atMost: 1 },
      { name: 'states', figure: 'lap', unit: 's, the longest lap', versus: null },
      { name: 'states', figure: 'lag', unit: 's, the farthest that a key was behind', versus: null },
      { name: 'states', figure: 'memory', unit: 'KiB a slow client', versus: null, atMost: 256 },
      { name: 'states', figure: 'writes', unit: 'writes for a new client\'s 1,000 states', versus: null, atMost: 1 }
    ]
  }
]
