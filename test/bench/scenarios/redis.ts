// Two instances that share a Redis. It measures the latency of an event, the number of events in a second, how fast an
// instance catches up, and what is lost when Redis is killed.
import { setTimeout } from 'node:timers/promises'
import { withoutRedis } from '../../support/redis-server.js'
import type { Bench, ClusterSetup } from '../bench.js'
import { now } from '../payload.js'
import type { SubjectName } from '../subjects/index.js'
import { SIZE, type Figures, type Scenario } from './scenario.js'

const PEER = 'better-sse (Redis Pub/Sub)'
const INSTANCES = 2
/** Milliseconds from the call to publish until the first event. All servers must have the call by then. */
const AHEAD = 50

interface Load {
  /** Events of all servers together. */
  readonly perSecond: number
  readonly seconds: number
}

interface Flowed {
  /** The last event's number; `end` is when the event after it would have been due, in microseconds. */
  readonly last: number
  readonly end: number
}

/** The servers take turns: each publishes one event, then the next server does. The first number is `before` + 1. */
async function publish ({ servers }: ClusterSetup, { perSecond, seconds }: Load, before = 0, how: 'flow' | 'insist' = 'flow'): Promise<Flowed> {
  const each = Math.ceil(perSecond * seconds / servers.length)
  const gap = 1e6 / perSecond
  const startAt = now() + AHEAD * 1000
  const refused = await Promise.all(servers.map(({ call }, index) => call[how]({
    perSecond: perSecond / servers.length,
    count: each,
    size: SIZE,
    first: before + index + 1,
    step: servers.length,
    startAt: startAt + index * gap
  })))
  const sum = refused.reduce((sum, count) => sum + count, 0)
  if (sum > 0) throw new Error(`${sum} events were refused`)
  return { last: before + each * servers.length, end: startAt + each * servers.length * gap }
}

async function connect ({ servers, load }: ClusterSetup, clients: number, tallied = false): Promise<void> {
  for (const { call } of servers) {
    await load.connect({ port: await call.port(), clients, size: SIZE, publishers: servers.length, tallied })
  }
}

// Latency.

const CLIENTS = 20
const STEADY = 1000

async function latencyIn (bench: Bench, setup: ClusterSetup): Promise<{ p50: number, p99: number }> {
  await connect(setup, CLIENTS)
  const warm = await publish(setup, { perSecond: STEADY, seconds: 1 })
  await setup.load.finish(warm.last)
  await setup.load.time()
  const { last } = await publish(setup, { perSecond: STEADY, seconds: bench.amount(5) }, warm.last)
  return await setup.load.finish(last)
}

async function latency (bench: Bench, subject: SubjectName): Promise<Figures> {
  const alone = await bench.cluster({ subject: subject === PEER ? 'better-sse' : subject, instances: 1, redis: null }, setup => latencyIn(bench, setup))
  const { p50, p99 } = await bench.cluster({ subject, instances: INSTANCES, redis: [] }, setup => latencyIn(bench, setup))
  return { p50, p99, more50: p50 - alone.p50, more99: p99 - alone.p99 }
}

// Rate.

const WANTED = 50_000
/** The rate grows by this number until a rate does not hold. */
const STEP = 10_000
const STEP_SECONDS = 2
/** A rate holds if its last event is at most this late, in milliseconds. Each rate has two chances. */
const BEHIND = 100
const CHANCES = 2

/** Milliseconds of CPU time that the instances have used so far. */
async function cpuOf ({ servers }: ClusterSetup): Promise<number> {
  const usages = await Promise.all(servers.map(({ call }) => call.usage()))
  return usages.reduce((sum, { cpu }) => sum + cpu, 0) / 1000
}

async function rate (bench: Bench, subject: SubjectName): Promise<Figures> {
  return await bench.cluster({ subject, instances: INSTANCES, redis: [] }, async setup => {
    const { load } = setup
    await connect(setup, 1)
    const warm = await publish(setup, { perSecond: STEP, seconds: 1 })
    await load.finish(warm.last)
    await load.time()
    const before = await cpuOf(setup)
    const { last, end } = await publish(setup, { perSecond: WANTED, seconds: bench.amount(5) }, warm.last)
    const { p50, p99, endedAt } = await load.finish(last)
    return { p50, p99, behind: (endedAt - end) / 1000, cpu: (await cpuOf(setup) - before) / (last - warm.last) * 1000 }
  })
}

async function highestRate (bench: Bench, subject: SubjectName): Promise<Figures> {
  return await bench.cluster({ subject, instances: INSTANCES, redis: [] }, async setup => {
    const { load } = setup
    await connect(setup, 1)
    let { last } = await publish(setup, { perSecond: STEP, seconds: 1 })
    await load.finish(last)
    const holds = async (perSecond: number): Promise<boolean> => {
      for (let chance = 0; chance < CHANCES; chance++) {
        const flowed = await publish(setup, { perSecond, seconds: STEP_SECONDS }, last)
        const { endedAt } = await load.finish(last = flowed.last)
        if (endedAt <= flowed.end + BEHIND * 1000) return true
      }
      return false
    }
    const most = bench.amount(500_000)
    let highest = 0
    try {
      while (highest < most && await holds(highest + STEP)) highest += STEP
    } catch {
      // Events were refused or lost, so this rate does not hold.
    }
    return { highest }
  })
}

// One instance is stopped for some seconds.

async function catchUp (bench: Bench, subject: SubjectName): Promise<Figures> {
  return await bench.cluster({ subject, instances: INSTANCES, redis: [] }, async setup => {
    const { servers: [publisher, stopped], load } = setup
    // The stopped instance publishes nothing.
    for (const { call } of setup.servers) await load.connect({ port: await call.port(), clients: 1, size: SIZE })
    const alone = { ...setup, servers: [publisher!] }
    const warm = await publish(alone, { perSecond: STEP, seconds: 1 })
    await load.finish(warm.last)
    stopped!.signal('SIGSTOP')
    const { last } = await publish(alone, { perSecond: 20_000, seconds: bench.amount(5) }, warm.last).finally(() => stopped!.signal('SIGCONT'))
    const startedAt = now()
    const { endedAt } = await load.finish(last)
    return { events: (last - warm.last) / (endedAt - startedAt) * 1e6 }
  })
}

// Redis is killed.

async function kill (bench: Bench, subject: SubjectName): Promise<Figures> {
  return await bench.cluster({ subject, instances: INSTANCES, redis: ['--appendonly', 'yes', '--appendfsync', 'always'] }, async setup => {
    const { redis, load } = setup
    const phase = bench.amount(3)
    await connect(setup, 1, true)
    const published = publish(setup, { perSecond: STEADY, seconds: 3 * phase }, 0, 'insist')
    published.catch(() => {})
    await setTimeout(phase * 1000)
    await redis!.kill()
    await setTimeout(phase * 1000)
    await redis!.run()
    // Every event is published again until it is acknowledged.
    const { last } = await published
    const { lost, doubled } = await load.tally({ last, quiet: 1000 })
    return { acknowledged: last, lost, doubled }
  })
}

const common = { subjects: ['ours', PEER], skip: withoutRedis } as const

export const redis: readonly Scenario[] = [
  {
    ...common,
    title: '2 instances and Redis, 1,000 events/s, published by both in turn, to 20 clients on each; beside it one instance without Redis',
    run: latency,
    goals: [
      { name: 'redis-latency', figure: 'more50', unit: 'ms more than without Redis, p50', versus: null, atMost: 1 },
      { name: 'redis-latency', figure: 'more99', unit: 'ms more than without Redis, p99', versus: null, atMost: 5 },
      { name: 'redis-latency', figure: 'p50', unit: 'ms, p50', versus: PEER },
      { name: 'redis-latency', figure: 'p99', unit: 'ms, p99', versus: PEER }
    ]
  },
  {
    ...common,
    title: '2 instances and Redis, each publishes 25,000 events/s and delivers all 50,000',
    run: rate,
    goals: [
      { name: 'redis-rate', figure: 'behind', unit: 'ms from when the last event was due until it was delivered', versus: null, atMost: BEHIND },
      { name: 'redis-rate', figure: 'p50', unit: 'ms, p50', versus: null, atMost: 2 },
      { name: 'redis-rate', figure: 'p99', unit: 'ms, p99', versus: null, atMost: 20 },
      { name: 'redis-rate', figure: 'cpu', unit: 'µs of CPU an event, both instances', versus: null }
    ]
  },
  {
    ...common,
    title: '2 instances and Redis, both publish and deliver all, in steps of 10,000 events/s',
    run: highestRate,
    goals: [{ name: 'redis-rate', figure: 'highest', unit: 'events/s, the last step that held', versus: null, atLeast: WANTED }]
  },
  {
    ...common,
    subjects: ['ours'],
    title: 'one of 2 instances stands still for 5 s while the other publishes 100,000 events',
    run: catchUp,
    goals: [{ name: 'redis-catch-up', figure: 'events', unit: 'events/s delivered then', versus: null }]
  },
  {
    ...common,
    once: [PEER],
    title: 'Redis is killed and 3 s later restarted from its append-only file, while 1,000 events/s are published until each is acknowledged',
    run: kill,
    goals: [
      { name: 'redis-kill', figure: 'lost', unit: 'events acknowledged and lost', versus: null, atMost: 0 },
      { name: 'redis-kill', figure: 'doubled', unit: 'events delivered twice', versus: null, atMost: 0 },
      { name: 'redis-kill', figure: 'acknowledged', unit: 'events acknowledged', versus: null }
    ]
  }
]
