// All clients reconnect at the same time, and each has missed many events.
import { setTimeout } from 'node:timers/promises'
import type { Bench } from '../bench.js'
import type { SubjectName } from '../subjects/index.js'
import { SIZE, type Scenario } from './scenario.js'

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
