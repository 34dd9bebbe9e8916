// Everybody reconnects at once, and has missed a lot.
import { setTimeout } from 'node:timers/promises'
import type { Bench } from '../bench.js'
import type { SubjectName } from '../subjects/index.js'
import { SIZE, type Scenario } from './scenario.js'

const MISSED = 1000
/** Times that they reconnect before the one that counts. */
const WARM_UP = 3

/** @param ranges how many different places clients go on from */
async function replay (bench: Bench, subject: SubjectName, clients: number, ranges: number): Promise<number> {
  return await bench.with(subject, { hub: { historySize: 2 * MISSED } }, async ({ server, load, port }) => {
    const count = MISSED + ranges - 1
    const ids = await server.fill({ count, size: SIZE })
    const reconnect = { port, clients, size: SIZE, lastEventIds: ids.slice(0, ranges) }
    // A server that has run for a while has compiled what it does.
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
