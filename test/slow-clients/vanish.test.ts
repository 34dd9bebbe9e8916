// Clients that vanish without a word: their packets are lost on the way, with no FIN, no RST and no answer. The kernel's settings are
// the defaults, with which it gives up after 15 minutes. So these tests would time out.
import t, { type Test } from 'tap'
import { Process } from '../bench/rpc.js'
import type { SSEPluginOptions } from '../../lib/index.js'
import type { FarServer } from '../support/processes/far-server.js'
import { ownHost } from '../support/hosts.js'

const host = ownHost()
const skip = host === null && !process.env.CI ? 'unshare, ip or a network of its own is not permitted here' : false
// Both tests wait for most of their time.
t.jobs = 2
const PROTOCOLS = ['http', 'https', 'http2'] as const

type Opening = Parameters<FarServer['open']>[0]

async function start (t: Test, options: SSEPluginOptions, ...flags: string[]): Promise<Process<FarServer>> {
  const server = new Process<FarServer>(new URL('../support/processes/far-server.js', import.meta.url), [], null, flags, host!)
  t.teardown(() => server.end())
  await server.call.start({ maxBufferedBytes: 16_000_000, ...options })
  return server
}

t.test('readers that vanish, in the kernel\'s default settings', { skip, timeout: 120_000, buffered: true }, async t => {
  const { call: server } = await start(t, { heartbeatInterval: 500, stallTimeout: 3000 })
  let readers = 10
  const open = async (opening: Omit<Opening, 'reader'>): Promise<number> => {
    const reader = readers++
    await server.open({ reader, ...opening })
    return reader
  }
  const openAll = async (channel: string): Promise<number[]> => {
    const opened: number[] = []
    for (const protocol of PROTOCOLS) opened.push(await open({ protocol, channel }))
    return opened
  }
  const here = [...await openAll('quiet'), ...await openAll('busy')]
  const slow = await open({ protocol: 'http', channel: 'large', slow: 1000 })
  const lossy = await open({ protocol: 'http', channel: 'busy' })
  await server.publish()

  await t.test('they are disconnected as stalled: quiet, busy or with much that waits, over HTTP/1.1, HTTPS and HTTP/2, over IPv4 and IPv6', async t => {
    // More than the kernel takes waits for the readers of large events. Node must destroy even these sockets.
    const silent = [...await openAll('quiet'), ...await openAll('busy'), ...await openAll('large'), await open({ protocol: 'http', channel: 'quiet', v6: true })]
    for (const reader of silent) await server.vanish({ reader })
    t.same(await server.untilGone(silent), silent.map(() => 'stalled'))
  })

  await t.test('so are those of whom a router says that they are not there, and those to whom the server has no way', async t => {
    const gone: number[] = []
    for (const how of ['unreachable', 'unroutable'] as const) {
      for (const channel of ['quiet', 'busy']) {
        const reader = await open({ protocol: 'http', channel })
        await server.vanish({ reader, how })
        gone.push(reader)
      }
    }
    t.same(await server.untilGone(gone), gone.map(() => 'stalled'))
  })

  await t.test('a reader whose packets are lost for a while, again and again, stays', async t => {
    for (let times = 0; times < 6; times++) {
      await server.vanish({ reader: lossy })
      await server.untilSentAgain(lossy)
      await server.comeBack(lossy)
      await server.untilRead({ reader: lossy, bytes: 2000 })
    }
    t.notOk((await server.gone()).includes(lossy))
  })

  await t.test('readers that are there stay, also one that reads slowly', async t => {
    for (const reader of [...here, slow, lossy]) await server.untilRead({ reader, bytes: 1 })
    const gone = new Set(await server.gone())
    t.same([...here, slow, lossy].filter(reader => gone.has(reader)), [])
  })

  await t.test('when the server\'s own link goes down, all are disconnected, and counted as slow', async t => {
    await server.unlink()
    t.same(new Set(await server.untilGone(Array.from({ length: readers - 10 }, (_, at) => at + 10))), new Set(['stalled']))
    const stats = await server.stats()
    t.equal(stats.reduce((sum, { slowDisconnects }) => sum + slowDisconnects, 0), readers - 10)
    t.same(stats.map(({ clients }) => clients), [0, 0, 0])
  })

  await t.test('when the apps are closed, none of their sockets is left', () => server.close())
})

t.test('with no heartbeats, and on a system that does not tell of its connections', { skip, timeout: 120_000, buffered: true }, async t => {
  const { call: server } = await start(t, { heartbeatInterval: 0, stallTimeout: 2000 }, '--import', import.meta.resolve('../support/processes/without-table.js'))
  for (const [at, protocol] of PROTOCOLS.entries()) {
    await server.open({ protocol, channel: 'quiet', reader: 10 + at })
    await server.open({ protocol, channel: 'quiet', reader: 20 + at })
  }

  await t.test('a quiet reader that vanishes is found by TCP keep-alive or by a ping, and those that are there stay', async t => {
    for (const reader of [10, 11, 12]) await server.vanish({ reader })
    t.same(await server.untilGone([10, 11, 12]), ['client', 'client', 'stalled'])
    t.same(new Set(await server.gone()), new Set([10, 11, 12]))
  })

  await t.test('when the apps are closed, none of their sockets is left', () => server.close())
})
