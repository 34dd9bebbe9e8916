// What the caller of a publish is told when it fails, and what clients are told when Redis lost something. In one process.
import Fastify, { type FastifyInstance } from 'fastify'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { redisBroker } from '../../../lib/brokers/redis/index.js'
import sse, { SSE_ERR_BROKER_UNAVAILABLE } from '../../../lib/index.js'
import { opener, type OpenStream } from '../../support/open.js'
import { RedisServer, withoutRedis } from '../../support/redis-server.js'

const TIMEOUT = 500
const HEARTBEAT = ':\n\n'

async function start (t: Test, redis: RedisServer, stream = 'sse'): Promise<{ app: FastifyInstance, stream: OpenStream, client: Redis }> {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(sse, { broker: redisBroker({ url: redis.url, stream, publishTimeout: TIMEOUT }), closeTimeout: 100 })
  t.teardown(() => app.close())
  const open = await opener(t, app)
  return { app, stream: await open('room'), client: redis.connect(t) }
}

async function failure (published: Promise<unknown>): Promise<SSE_ERR_BROKER_UNAVAILABLE> {
  const error = await published.then(() => new Error('it was published'), error => error)
  if (!(error instanceof SSE_ERR_BROKER_UNAVAILABLE)) throw error
  return error
}

/** Resolves with what a stream got, without the greeting, when a condition holds. */
async function got ({ raw }: OpenStream, condition: (events: string[]) => boolean): Promise<string[]> {
  const events = (): string[] => raw.events.filter(({ event }) => event !== 'sse:open').map(({ event, data }) => `${event} ${data}`)
  await raw.until(() => condition(events()))
  return events()
}

/** Publishes until the event is accepted. It may be refused while a new epoch begins or Redis comes back. */
async function publish (app: FastifyInstance, data: unknown): Promise<void> {
  for (;;) {
    const refused = await app.sse.toChannel('room', 'n', data).then(() => null, (error: Error) => error)
    if (refused === null) return
    if (!(refused instanceof SSE_ERR_BROKER_UNAVAILABLE) || refused.inDoubt) throw refused
  }
}

t.test('publishing while something is wrong with Redis', { skip: withoutRedis }, async t => {
  await t.test('rejects in doubt what a Redis that does not answer was given, and it is there once or not at all', async t => {
    const redis = await RedisServer.start(t)
    const { app, stream } = await start(t, redis)
    redis.signal('SIGSTOP')
    t.equal((await failure(app.sse.toChannel('room', 'n', 1))).inDoubt, true)
    redis.signal('SIGCONT')
    await publish(app, 2)
    const events = await got(stream, events => events.includes('n 2'))
    t.ok(events.filter(event => event === 'n 1').length <= 1)
    t.equal(app.sse.stats().broker!.publishFailures, 1)
  })

  await t.test('rejects without a doubt what a Redis that is away was not given, and goes on when it is back', async t => {
    const redis = await RedisServer.start(t, '--appendonly', 'yes', '--appendfsync', 'always')
    const { app, stream } = await start(t, redis)
    await redis.kill()
    while (app.sse.stats().broker!.state === 'ready') await new Promise(resolve => setTimeout(resolve, 5))
    const failures = await Promise.all([1, 2, 3].map(data => failure(app.sse.toChannel('room', 'n', data))))
    t.same(failures.map(({ inDoubt }) => inDoubt), [false, false, false])
    await redis.run()
    await publish(app, 4)
    t.same(await got(stream, events => events.length > 0), ['n 4'])
    t.equal(app.sse.stats().broker!.reconnects, 1)
  })

  await t.test('tries again what a Redis without memory refuses, and rejects it without a doubt at the end', async t => {
    const redis = await RedisServer.start(t)
    const { app, stream, client } = await start(t, redis)
    await client.config('SET', 'maxmemory', '1')
    const first = app.sse.toChannel('room', 'n', 1)
    const second = new Promise(resolve => setImmediate(resolve)).then(() => app.sse.toChannel('room', 'n', 2))
    t.same((await Promise.all([failure(first), failure(second)])).map(({ inDoubt }) => inDoubt), [false, false])
    const waiting = app.sse.toChannel('room', 'n', 3)
    await client.config('SET', 'maxmemory', '0')
    await waiting
    t.same(await got(stream, events => events.length > 0), ['n 3'])
  })

  await t.test('tells clients of a loss once, and begins anew, wherever in Redis something is gone', async t => {
    const redis = await RedisServer.start(t)
    const losses: Array<[string, (client: Redis, keys: string) => Promise<unknown>]> = [
      ['everything', client => client.flushall()],
      ['the epoch', (client, keys) => client.del(`${keys}meta`)],
      ['the log', (client, keys) => client.del(`${keys}log`)],
      ['the newest numbers', async (client, keys) => client.del(`${keys}last:${await client.hget(`${keys}meta`, 'e')}`)],
      ['the last events', (client, keys) => client.hset(`${keys}meta`, 'n', 0)]
    ]
    for (const [what, lose] of losses) {
      await t.test(what, async t => {
        const { app, stream, client } = await start(t, redis, what)
        await publish(app, 'before')
        await got(stream, events => events.length === 1)
        await lose(client, `{${what}}:`)
        // Nothing is published here. The reader finds the loss by itself.
        await got(stream, events => events.length === 2)
        await publish(app, 'after')
        t.same(await got(stream, events => events.length === 3), ['n "before"', 'sse:gap {"lost":null}', 'n "after"'])
        await app.close()
      })
    }
  })

  await t.test('tells clients of what was trimmed before it was read', async t => {
    const redis = await RedisServer.start(t)
    const { app, stream, client } = await start(t, redis)
    const reader = /id=(\d+)/.exec((await client.client('LIST') as string).split('\n').find(line => line.includes('cmd=xread'))!)![1]!
    // All in one transaction: when the reader is back, it finds event 7, but not 1 to 6, as if these had been trimmed.
    const transaction = client.multi().client('KILL', 'ID', reader)
    const entry = (n: number): string[] => ['e', '', 'n', String(n), 't', String(Date.now()), 'b', '[[["room"],"n","1"]]']
    const epoch = await client.hget('{sse}:meta', 'e')
    const [seconds] = await client.time()
    transaction.xadd('{sse}:log', `${Number(seconds) * 1000 + 5000}-0`, ...entry(7).with(1, epoch!))
    transaction.hset('{sse}:meta', 'n', 7)
    await transaction.exec()
    t.same(await got(stream, events => events.length === 2), ['sse:gap {"lost":null}', 'n 1'])
    await publish(app, 2)
    t.same((await got(stream, events => events.length === 3)).at(-1), 'n 2')
  })
})

t.test('a client that resumes on a fresh instance while Redis does not answer begins after publishTimeout', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const first = await start(t, redis)
  const { id } = await first.app.sse.toChannel('room', 'n', 1)
  await first.app.sse.toChannel('room', 'n', 2)
  const app = Fastify({ forceCloseConnections: true })
  await app.register(sse, { broker: redisBroker({ url: redis.url, publishTimeout: TIMEOUT }), closeTimeout: 100, heartbeatInterval: 20, stallTimeout: 100 })
  t.teardown(() => app.close())
  const open = await opener(t, app)
  redis.signal('SIGSTOP')
  t.teardown(() => redis.signal('SIGCONT'))
  const { raw } = await open('room', {}, { 'last-event-id': id })
  await raw.until(() => raw.text.includes('event: sse:open'))
  t.ok(raw.text.startsWith(HEARTBEAT.repeat(2)), 'it gets heartbeats while it waits')
  t.match(raw.events.at(-1)!.data, '"recovered":false')
  t.equal(app.sse.stats().slowDisconnects, 0)
})
