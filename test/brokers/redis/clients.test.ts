// Redis clients that the application gives to the broker. The broker's own connections must work with any options of these.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { selfSigned } from '../../support/certificate.js'
import { Cluster, TARGETS } from '../../support/cluster.js'
import type { InstanceOptions } from '../../support/instances.js'
import { none } from '../../support/ledger.js'
import { freePort } from '../../support/programs.js'
import { RedisServer, startRedisCluster, withoutRedis } from '../../support/redis-server.js'
import { root } from '../../support/root.js'

/** Options that an application may choose for its own client, and that would break the broker. */
const HOSTILE = {
  autoResendUnfulfilledCommands: false,
  commandTimeout: 20,
  blockingTimeout: 20,
  maxRetriesPerRequest: 0,
  enableOfflineQueue: false,
  enableAutoPipelining: true,
  lazyConnect: true,
  stringNumbers: true,
  keyPrefix: 'app:',
  replyMapping: 'resp3'
}

/** Two instances publish while all connections to Redis are lost twice. Then a third one starts, and all readers move to it. */
async function run (t: Test, options: InstanceOptions, admins: readonly Redis[]): Promise<Cluster> {
  const cluster = await Cluster.start(t, 2, { ...options, hub: { historySize: 1000 } })
  const { ledger, readers, instances: [first, second] } = cluster
  await cluster.connect(10)
  first!.publish({ name: 'with keys', burst: 5, targets: TARGETS, keyed: true })
  second!.publish({ name: 'without', burst: 5, targets: TARGETS })
  for (let i = 0; i < 2; i++) {
    await ledger.untilAcknowledged(ledger.acknowledged.size + 200)
    for (const admin of admins) await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  }
  await ledger.untilAcknowledged(ledger.acknowledged.size + 200)
  const third = await cluster.add()
  cluster.instances.splice(0, 2, third)
  for (const reader of readers) reader.cut()
  await Promise.all(readers.map(async reader => await reader.until(() => reader.connections === 2)))
  await first!.finish('with keys')
  await second!.finish('without')
  await cluster.settled(third)
  t.strictSame(ledger.losses, [])
  t.strictSame(ledger.faults(), none)
  t.ok(ledger.rejections.every(({ code }) => code === 'SSE_ERR_BROKER_UNAVAILABLE'))
  t.ok((await first!.stats()).broker!.reconnects >= 2)
  return cluster
}

t.test('a client with options that would break the broker, a password, a prefix of its own and another database', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t, '--requirepass', 'secret')
  const admin = redis.connect(t, { password: 'secret', db: 2 })
  await run(t, { broker: {}, client: { ...HOSTILE, port: redis.port, password: 'secret', db: 2 } }, [admin])
  const keys = await admin.keys('*')
  t.ok(keys.includes('app:{sse}:meta'))
  t.strictSame(keys.filter(key => !key.startsWith('app:{sse}:')), [])
})

t.test('a user that may do what the documentation says, and nothing else', { skip: withoutRedis }, async t => {
  const page = readFileSync(`${root}docs/production/instances.md`, 'utf8')
  const rights = /^ACL SETUSER sse on >secret (.*)$/m.exec(page)![1]!.split(' ')
  const redis = await RedisServer.start(t)
  const admin = redis.connect(t)
  await admin.call('ACL', 'SETUSER', 'sse', 'reset', 'on', '>secret', ...rights)
  const { instances } = await run(t, { broker: { stream: 'chat' }, client: { port: redis.port, username: 'sse', password: 'secret' } }, [admin])
  // The broker makes again what is lost, and an instance that closes removes its own keys.
  await admin.flushall()
  instances[0]!.publish({ name: 'behind', count: 10, targets: TARGETS })
  await instances[0]!.done('behind')
  await instances[0]!.close()
  t.strictSame(await admin.call('ACL', 'LOG'), [], 'and it tries nothing else')
})

t.test('a client over TLS', { skip: withoutRedis }, async t => {
  const tlsPort = await freePort()
  const { key, cert } = selfSigned()
  const redis = await RedisServer.start(t, ...tlsArgs(t, tlsPort, key, cert))
  await run(t, { broker: {}, client: { port: tlsPort, host: '127.0.0.1', tls: { ca: cert } } }, [redis.connect(t)])
})

t.test('a cluster of three masters, with options that would break the broker', { skip: withoutRedis }, async t => {
  const servers = await startRedisCluster(t, 'secret')
  const admins = servers.map(server => server.connect(t, { password: 'secret' }))
  const { keyPrefix, ...hostile } = HOSTILE
  const cluster = { nodes: servers.map(({ port }) => ({ host: '127.0.0.1', port })), options: { keyPrefix, enableAutoPipelining: true, enableOfflineQueue: false, lazyConnect: true, scaleReads: 'all', redisOptions: { ...hostile, password: 'secret' } } }
  await run(t, { broker: {}, cluster }, admins)
  const keys = await Promise.all(admins.map(async admin => (await admin.keys('*')).length > 0))
  t.equal(keys.filter(Boolean).length, 1, 'a hub is in one slot')
})

function tlsArgs (t: Test, port: number, key: string, cert: string): string[] {
  const folder = t.testdir()
  writeFileSync(join(folder, 'key.pem'), key)
  writeFileSync(join(folder, 'cert.pem'), cert)
  return ['--tls-port', String(port), '--tls-cert-file', join(folder, 'cert.pem'), '--tls-key-file', join(folder, 'key.pem'), '--tls-auth-clients', 'no']
}
