// A few clients never read, and many others do.
import type { Bench } from '../bench.js'
import { PEERS, type SubjectName } from '../subjects/index.js'
import type { SSEPluginOptions } from '../../../types/index.js'
import { ALL, type Scenario } from './scenario.js'

const SIZE = 10_000
const EVENTS = 2000
const PER_SECOND = 50
const CLIENTS = 1000
const STUCK = 50

async function run (bench: Bench, subject: SubjectName, hub: SSEPluginOptions, stuck: number) {
  return await bench.with(subject, { hub }, async ({ server, load, port }) => {
    await load.connect({ port, clients: bench.clients(CLIENTS), size: SIZE, stuck })
    await load.time()
    const { last } = await server.rate({ perSecond: PER_SECOND, count: bench.amount(EVENTS), size: SIZE })
    const { p99 } = await load.finish(last)
    const { peak } = await server.usage()
    return { p99, peak: peak / 2 ** 20 }
  })
}

export const slow: Scenario = {
  title: '20 MB in 10 KB events to 1,000 clients, 50 of which never read',
  subjects: ALL,
  once: PEERS,
  async run (bench, subject) {
    const without = await run(bench, subject, {}, 0)
    const disconnect = await run(bench, subject, { slowClient: 'disconnect' }, STUCK)
    const drop = subject === 'ours' ? await run(bench, subject, { slowClient: 'drop' }, STUCK) : disconnect
    return {
      disconnectMemory: disconnect.peak - without.peak,
      disconnectP99: disconnect.p99 / without.p99,
      dropMemory: drop.peak - without.peak,
      dropP99: drop.p99 / without.p99
    }
  },
  goals: (['disconnect', 'drop'] as const).flatMap(policy => [
    { name: 'slow', figure: `${policy}Memory`, unit: `MiB more, "${policy}"`, versus: null, atMost: STUCK * 1.3 },
    { name: 'slow', figure: `${policy}P99`, unit: `× the others' p99, "${policy}"`, versus: null, atMost: 1.2 }
  ])
}
