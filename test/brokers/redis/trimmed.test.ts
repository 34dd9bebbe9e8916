// A channel's history is removed or trimmed while an instance loads it.
import Fastify from 'fastify'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { redisBroker } from '../../../lib/brokers/redis/index.js'
import sse from '../../../lib/index.js'
import { portOf } from '../../support/app.js'
import { Instance } from '../../support/instances.js'
import { Ledger, none } from '../../support/ledger.js'
import { Reader } from '../../support/reader.js'
import { RedisProxy } from '../../support/redis-proxy.js'
import { RedisServer, withoutRedis } from '../../support/redis-server.js'

const HISTORY = 1000

/** What happens to the history, and whether the client must be told that it missed something. */
const FATES: ReadonlyArray<readonly [what: string, told: boolean, trim: (client: Redis, key: string, publish: () => Promise<void>) => Promise<unknown>]> = [
  ['taken away', true, async (client, key) => await client.del(key)],
  ['emptied', true, async (client, key) => await client.xtrim(key, 'MAXLEN', 0)],
  ['trimmed but for its end', true, async (client, key) => await client.xtrim(key, 'MAXLEN', 10)],
  ['trimmed by newer events', true, async (_client, _key, publish) => await publish()],
  ['left with a hole', true, async (client, key) => {
    const rows = await client.xrange(key, '-', '+')
    await client.xdel(key, ...rows.slice(500, 900).map(([id]) => id))
  }],
  ['left alone', false, async () => {}]
]

/** Starts a new instance in this process. Resolves with its port. */
async function fresh (t: Test, url: string): Promise<number> {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(sse, { replay: 'missed', historySize: HISTORY, broker: redisBroker({ url, publishTimeout: 60_000 }) })
  app.get<{ Querystring: { channels: string } }>('/', (request, reply) => { reply.sse(request.query.channels) })
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  return portOf(app as never)
}

t.test('a history that goes while it is fetched', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const proxy = await RedisProxy.start(t, redis.port)
  const client = redis.connect(t)
  const ledger = new Ledger()
  const first = await Instance.start(t, ledger, { broker: { url: redis.url }, hub: { historySize: HISTORY } })
  for (const [i, [what, told, trim]] of FATES.entries()) {
    for (const pages of i === 0 ? [0, 2] : [2]) {
      await t.test(`where it is ${what} behind ${pages} pages, the client ${told ? 'is told' : 'gets everything'}`, async t => {
        const channel = `channel-${i}-${pages}`
        const publish = async (name: string, count: number): Promise<void> => {
          first.publish({ name: `${name} ${channel}`, count, targets: [[channel]] })
          await first.done(`${name} ${channel}`)
        }
        let { port } = first
        const reader = await Reader.open(t, ledger, { name: channel, channels: [channel], port: () => port })
        await publish('seen', 1)
        await reader.untilEvent(`seen ${channel}`, 1)
        reader.end()
        await publish('missed', HISTORY - 1)
        port = await fresh(t, proxy.url)
        const held = proxy.hold('xrange', pages)
        const back = reader.comeBack()
        const release = await held
        const [key] = await client.keys(`{sse}:h:*:${channel}`) as [string]
        await trim(client, key, async () => await publish('newer', HISTORY))
        release()
        await back
        await publish('behind', 1)
        await reader.untilEvent(`behind ${channel}`, 1)
        t.strictSame(ledger.losses.filter(loss => loss.startsWith(channel)), told ? [`${channel}: lost`] : [])
        t.strictSame(ledger.faults(), none)
        reader.end()
        ledger.traces.length = 0
      })
    }
  }
})
