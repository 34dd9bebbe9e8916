// Many clients to which nothing but heartbeats is sent.
import { setTimeout } from 'node:timers/promises'
import { ALL, SIZE, type Scenario } from './scenario.js'

export const idle: Scenario = {
  title: '10,000 connections, one minute without an event',
  subjects: [...ALL, 'node:http'],
  together: true,
  run: async (bench, subject) => await bench.with(subject, { hub: {} }, async ({ server, load, port }) => {
    const clients = bench.clients(10_000)
    // What a server allocates only once does not belong to its connections. These clients make it allocate that first.
    await load.connect({ port, clients: bench.clients(500), size: SIZE })
    await load.close()
    await setTimeout(bench.amount(1000))
    const before = await server.resident()
    await load.connect({ port, clients, size: SIZE })
    await setTimeout(bench.amount(60_000))
    const after = await server.resident()
    return { bytes: (after - before) / clients / 1000 }
  }),
  goals: [{ name: 'idle', figure: 'bytes', unit: 'kB a connection', versus: null, atMost: 12.5 }]
}
