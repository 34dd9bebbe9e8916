// Many clients get events at a rate that all can keep up with. It measures the latency of an event, what the event costs the
// server, and the effect on its other users.
import { ALL, SIZE, type Goal, type Scenario } from './scenario.js'

const SECONDS = 5
const PINGS_PER_SECOND = 50

function scenario (name: string, clients: number, perSecond: number, neighbour: readonly Goal[]): Scenario {
  return {
    title: `${clients.toLocaleString('en')} clients in one channel, ${perSecond} events/s`,
    subjects: [...ALL, 'node:net'],
    run: async (bench, subject) => await bench.with(subject, { hub: {} }, async ({ server, load, pinger, port }) => {
      await load.connect({ port, clients: bench.clients(clients), size: SIZE })
      await load.time()
      const before = await server.usage()
      await pinger.start({ port, perSecond: PINGS_PER_SECOND })
      const { last } = await server.rate({ perSecond, count: Math.ceil(bench.amount(SECONDS) * perSecond), size: SIZE })
      const { p50, p99 } = await load.finish(last)
      const pings = await pinger.stop()
      const after = await server.usage()
      return { p50, p99, cpu: (after.cpu - before.cpu) / 1000, ping50: pings.p50, ping99: pings.p99 }
    }),
    goals: [
      { name, figure: 'p50', unit: 'ms, p50', versus: 'peers', atMost: 0.5 },
      { name, figure: 'p99', unit: 'ms, p99', versus: 'peers', atMost: 0.5 },
      { name, figure: 'cpu', unit: 'ms of CPU', versus: 'peers', atMost: 0.5 },
      ...neighbour
    ]
  }
}

export const rates: readonly Scenario[] = [
  scenario('rate-1k', 1000, 40, []),
  scenario('rate-10k', 10_000, 4, [
    { name: 'neighbour', figure: 'ping99', unit: 'ms, p99 of GET /ping', versus: 'peers', atMost: 1 / 40 },
    { name: 'neighbour', figure: 'ping50', unit: 'ms, p50 of GET /ping', versus: 'peers' }
  ])
]
