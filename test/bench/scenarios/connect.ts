// Opens new streams as fast as the server can.
import { SIZE, type Scenario } from './scenario.js'

export const connect: Scenario = {
  title: 'opening streams',
  subjects: ['ours', 'small stream'],
  run: async (bench, subject) => await bench.with(subject, { hub: {} }, async ({ server, load, port }) => {
    const before = await server.usage()
    const milliseconds = bench.amount(4000)
    const perSecond = await load.churn({ port, milliseconds, atOnce: 100, size: SIZE })
    const { cpu } = await server.usage()
    return { streams: perSecond, perCpu: perSecond * milliseconds / 1000 / (cpu - before.cpu) * 1e6 }
  }),
  goals: [
    { name: 'connect', figure: 'streams', unit: 'streams/s', versus: 'small stream', atLeast: 0.9 },
    { name: 'connect', figure: 'perCpu', unit: 'streams a second of CPU', versus: 'small stream', atLeast: 0.9 }
  ]
}
