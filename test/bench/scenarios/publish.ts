// What a publish costs without a client, and how that cost grows with the number of channels.
import { SIZE, type Scenario } from './scenario.js'

export const publish: Scenario = {
  title: 'publishing to a channel without a subscriber',
  subjects: ['ours'],
  run: async (bench, subject) => await bench.with(subject, { hub: {} }, async ({ server }) => ({
    publishes: await server.publish({ milliseconds: bench.amount(2000), size: SIZE })
  })),
  goals: [{ name: 'publish', figure: 'publishes', unit: 'publishes/s', versus: null, atLeast: 300_000 }]
}

export const channels: Scenario = {
  title: '200,000 channels with one subscriber each, beside 1,000',
  subjects: ['ours'],
  run: async (bench, subject) => {
    const cost = (count: number) => bench.with(subject, { hub: {} }, ({ server }) =>
      server.channels({ count: bench.amount(count), publishes: bench.amount(400_000), size: SIZE }))
    const few = await cost(1000)
    const many = await cost(200_000)
    return { cost: many.perPublish / few.perPublish, bytes: many.perChannel / 1000 }
  },
  goals: [
    { name: 'channels', figure: 'cost', unit: '× the cost with 1,000', versus: null, atMost: 1.3 },
    { name: 'channels', figure: 'bytes', unit: 'kB a channel', versus: null, atMost: 1.5 }
  ]
}
