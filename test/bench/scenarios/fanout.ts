// Many clients get events as fast as the server can publish.
import type { Bench } from '../bench.js'
import type { SubjectName } from '../subjects/index.js'
import { ALL, SIZE, type Figures, type Goal, type Scenario } from './scenario.js'

interface Shape {
  readonly clients: number
  readonly perTurn: number
  readonly channels?: number
  readonly perClient?: number
}

const SECONDS = 3

async function flood (bench: Bench, subject: SubjectName, { clients, perTurn, channels = 1, perClient = 1 }: Shape): Promise<Figures> {
  return await bench.with(subject, { hub: {} }, async ({ server, load, port }) => {
    await load.connect({ port, clients: bench.clients(clients), channels, perClient, size: SIZE })
    const { last, startedAt } = await server.flood({ milliseconds: bench.amount(SECONDS * 1000), perTurn, channels, size: SIZE })
    const { endedAt, deliveries } = await load.finish(last)
    const { peak } = await server.usage()
    return { deliveries: deliveries / (endedAt - startedAt) * 1e6, peak: peak / 2 ** 20 }
  })
}

function scenario (title: string, shape: Shape, goals: readonly Goal[], others: readonly SubjectName[] = []): Scenario {
  return { title, subjects: [...ALL, ...others], run: (bench, subject) => flood(bench, subject, shape), goals }
}

const delivered = { figure: 'deliveries', unit: 'deliveries/s', versus: 'peers' } as const

export const fanout: readonly Scenario[] = [
  scenario('1,000 clients in one channel, one publish a turn', { clients: 1000, perTurn: 1 },
    [{ name: 'fanout-1k', ...delivered, atLeast: 4 }]),
  scenario('10,000 clients in one channel, one publish a turn', { clients: 10_000, perTurn: 1 }, [
    { name: 'fanout-10k', ...delivered, atLeast: 20 },
    { name: 'peak', figure: 'peak', unit: 'MiB at most', versus: 'peers', atMost: 0.5 }
  ], ['node:http']),
  scenario('1,000 clients in one channel, 10 publishes a turn', { clients: 1000, perTurn: 10 },
    [{ name: 'burst', ...delivered, atLeast: 14 }], ['better-sse (batched by hand)']),
  ...[1, 16, 100].map(perTurn => scenario(
    `1,000 clients, each in 3 of 50 channels, ${perTurn} publish${perTurn === 1 ? '' : 'es'} a turn`,
    { clients: 1000, perTurn, channels: 50, perClient: 3 },
    [{ name: 'multi', ...delivered, atLeast: 4 }])),
  {
    title: '1,000 clients in one channel, each event when all sockets have taken the one before',
    subjects: [...ALL, 'node:net'],
    run: async (bench, subject) => await bench.with(subject, { hub: {} }, async ({ server, load, port }) => {
      await load.connect({ port, clients: bench.clients(1000), size: SIZE })
      const { last, startedAt } = await server.single({ milliseconds: bench.amount(SECONDS * 1000), size: SIZE })
      const { endedAt, deliveries } = await load.finish(last)
      return { deliveries: deliveries / (endedAt - startedAt) * 1e6 }
    }),
    goals: [
      { name: 'single', ...delivered, atLeast: 1.5 },
      { name: 'single', ...delivered, versus: 'node:net', atLeast: 0.92 }
    ]
  }
]
