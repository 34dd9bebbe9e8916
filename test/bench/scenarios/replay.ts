// Clients that get many kept events: all reconnect at the same time, or each has rooms of its own, or the events except somebody.
import { setTimeout } from 'node:timers/promises'
import type { Bench } from '../bench.js'
import type { Replays } from '../in-process.js'
import type { SubjectName } from '../subjects/index.js'
import { SIZE, type Figures, type Scenario } from './scenario.js'

const MISSED = 1000
/** How often they reconnect before the measured time. */
const WARM_UP = 3

/** @param ranges at how many different positions the clients resume */
async function replay (bench: Bench, subject: SubjectName, clients: number, ranges: number): Promise<number> {
  return await bench.with(subject, { hub: { historySize: 2 * MISSED } }, async ({ server, load, port }) => {
    const count = MISSED + ranges - 1
    const ids = await server.fill({ count, size: SIZE })
    const reconnect = { port, clients, size: SIZE, lastEventIds: ids.slice(0, ranges) }
    // The server compiles its code in these rounds, like a server that has run for some time.
    for (let wave = 0; wave < WARM_UP; wave++) {
      await load.connect(reconnect)
      await load.finish(count)
      await load.close()
      await setTimeout(500)
    }
    const startedAt = await load.connect(reconnect)
    const { endedAt, deliveries } = await load.finish(count)
    return deliveries / (endedAt - startedAt) * 1e6
  })
}

export const replays: Scenario = {
  title: '1,000 clients reconnect at once, each missing 1,000 events, the same or at least 1,000 different ones',
  subjects: ['ours', 'node:net'],
  run: async (bench, subject) => ({
    same: await replay(bench, subject, bench.clients(1000), 1),
    different: await replay(bench, subject, bench.clients(1000), bench.clients(1000))
  }),
  goals: [
    { name: 'replay', figure: 'same', unit: 'events/s, the same range', versus: 'node:net', atLeast: 0.8 },
    { name: 'replay', figure: 'different', unit: 'events/s, different ranges', versus: 'node:net', atLeast: 0.5 }
  ]
}

/** What a replay costs in the hub alone, without sockets. */
async function cost (bench: Bench, subject: SubjectName, shape: Omit<Replays, 'size'>): Promise<Figures> {
  return await bench.with(subject, { hub: {} }, async ({ server }) => {
    const { perReplay, perVisit } = await server.replays({ ...shape, clients: bench.amount(shape.clients), size: SIZE })
    return { replay: perReplay, visit: perVisit }
  })
}

/** No visit may hold the process for longer, in microseconds. */
const LONGEST_VISIT = 5000

export const replayShapes: readonly Scenario[] = [
  {
    title: 'a client in one of 1,000 rooms that each keep 50 events, published in turn',
    subjects: ['ours'],
    run: (bench, subject) => cost(bench, subject, { rooms: 1000, events: 50, joined: 1, except: false, clients: 1000 }),
    goals: [{ name: 'replay-rooms', figure: 'replay', unit: 'µs a client', versus: null, atMost: 30 }]
  },
  {
    title: 'a client in 100 of these rooms, other ones than those of the clients before',
    subjects: ['ours'],
    run: (bench, subject) => cost(bench, subject, { rooms: 1000, events: 50, joined: 100, except: false, clients: 500 }),
    goals: [
      { name: 'replay-many', figure: 'replay', unit: 'µs a client', versus: null, atMost: 3000 },
      { name: 'replay-many', figure: 'visit', unit: 'µs, a client\'s longest visit', versus: null, atMost: LONGEST_VISIT }
    ]
  },
  {
    title: 'a client in a room that keeps 1,000 events, each with an except of somebody else',
    subjects: ['ours'],
    run: (bench, subject) => cost(bench, subject, { rooms: 1, events: 1000, joined: 1, except: true, clients: 5000 }),
    goals: [{ name: 'replay-except', figure: 'replay', unit: 'µs a client', versus: null, atMost: 15 }]
  }
]
