// The soak: clients of all kinds come and leave for a long time. Nothing may grow, get lost or be counted wrong.
import { setTimeout } from 'node:timers/promises'
import { Process } from '../bench/rpc.js'
import { number } from '../bench/statistics.js'
import { isOwn, unplug } from './network.js'
import type { LoadMethods, LoadSample } from './processes/load.js'
import type { Sample, ServerMethods } from './processes/server.js'
import { Checks, fifths, median, whole, type Outcome } from './report.js'

export interface SoakOptions {
  readonly seconds: number
  /** How many clients come in a second. */
  readonly rate: number
  readonly seed: number
}

/** What is published during that time. */
const PACE = { perSecond: 40, broadcastEvery: 1000, burstEvery: 5000, bulkEvery: 5000 }
/** Events to each channel after the arrivals and departures have stopped. */
const CALM_EVENTS = 100
/** The limits of growth: memory in the last fifth of the time may be 10 % and 5 MB more than in the second fifth. */
const GROWTH = 1.1
const GROWTH_BYTES = 5e6
/** How many more timers and sockets there may be: some clients are just coming or leaving. */
const TIMERS = 2
const SOCKETS = 20
/** The share of reading clients that a burst may disconnect. All of them are read by one thread, which may be late. */
const READERS_CUT = 1e-4
/** The highest p99 of the event loop's delay, in milliseconds. */
const DELAY = 20
/** Seconds in which the server must find dead clients and forget the others. */
const PATIENCE = 60

interface Moment extends Sample {
  /** Seconds since the beginning. */
  readonly at: number
  readonly load: LoadSample
}

interface Setup {
  readonly server: Process<ServerMethods>['call']
  readonly load: Process<LoadMethods>['call']
}

export async function soak (options: SoakOptions, tell: (text: string) => void): Promise<Outcome> {
  const server = new Process<ServerMethods>(new URL('./processes/server.js', import.meta.url), [], null)
  const load = new Process<LoadMethods>(new URL('./processes/load.js', import.meta.url), [], null)
  try {
    return await run({ server: server.call, load: load.call }, options, tell)
  } finally {
    await Promise.all([server.end(), load.end()])
  }
}

async function run (setup: Setup, { seconds, rate, seed }: SoakOptions, tell: (text: string) => void): Promise<Outcome> {
  const { server, load } = setup
  const checks = new Checks()
  const before = await server.sample()
  await load.begin({ port: await server.port(), seed, unplugs: isOwn })
  await server.publish(PACE)
  await load.come(rate)
  const endsAt = performance.now() + seconds * 1000
  const [moments] = await Promise.all([record(setup, seconds, tell), pullCables(setup, seconds, endsAt)])

  checkGrowth(checks, moments)
  tell('no more come and go')
  await load.calm()
  const calm = await untilServer(setup, ({ stats, dead }, { clients }) => dead === 0 && stats.clients === clients)
  checks.that('dead clients are found, and nobody else is missed', calm !== null,
    calm === null ? `still there after ${PATIENCE} s` : `${whole(calm.load.dead)} were dead: ${reasons(calm.deaths)}`)
  tell('all that is left reads')
  await server.stopPublishing()
  await checkDeliveries(checks, setup)
  tell('all leave')
  await load.leave()
  const end = await untilServer(setup, ({ stats, resources }) => stats.clients === 0 && stats.bufferedBytes === 0 && resources.TCPSocketWrap === undefined)
  checkEnd(checks, before, end ?? await moment(setup, 0))
  const left = await server.close()
  checks.that('when the app is closed, no socket and no timer is left', left.TCPSocketWrap === undefined && left.TCPServerWrap === undefined && left.Timeout === undefined,
    Object.entries(left).map(([kind, count]) => `${count} ${kind}`).join(', '))

  const dead = isOwn ? 'dead clients vanish behind a pulled cable' : 'dead clients never read and never close'
  return {
    title: `Soak: ${whole(seconds)} s, ${rate} clients a second; ${dead}; SEED=${seed}`,
    checks: checks.all,
    figures: figuresOf(moments),
    samples: moments
  }
}

async function moment ({ server, load }: Setup, at: number): Promise<Moment> {
  const [sample, loadSample] = await Promise.all([server.sample(), load.sample()])
  return { ...sample, at, load: loadSample }
}

/** Takes all figures every second. */
async function record (setup: Setup, seconds: number, tell: (text: string) => void): Promise<Moment[]> {
  const startedAt = performance.now()
  const moments: Moment[] = []
  for (let second = 1; second <= seconds; second++) {
    await setTimeout(Math.max(0, startedAt + second * 1000 - performance.now()))
    const now = await moment(setup, second)
    moments.push(now)
    if (second % 10 !== 0) continue
    tell(`${second} s: ${now.stats.clients} clients, ${megabytes(now.heapUsed)} MB heap, ${megabytes(now.rss)} MB resident, ` +
      `event loop ${number(now.delaySoFar)} ms, ${now.load.faultCount} faults`)
  }
  return moments
}

/** At intervals, all clients of one host die. */
async function pullCables ({ load }: Setup, seconds: number, endsAt: number): Promise<void> {
  const every = Math.min(10_000, Math.max(1500, seconds * 200))
  for (;;) {
    const isLast = performance.now() + every > endsAt
    await setTimeout(isLast ? Math.max(0, endsAt - performance.now()) : every)
    const address = await load.nextHost()
    if (isOwn) await unplug(address)
    await load.bury(address)
    if (isLast) return
  }
}

/** Resolves when a condition holds on the server, or with `null` if that takes too long. */
async function untilServer (setup: Setup, condition: (sample: Sample, load: LoadSample) => boolean): Promise<Moment | null> {
  for (let tries = 0; tries < PATIENCE * 4; tries++) {
    const now = await moment(setup, 0)
    if (condition(now, now.load)) return now
    await setTimeout(250)
  }
  return null
}

function checkGrowth (checks: Checks, moments: readonly Moment[]): void {
  const { second, last } = fifths(moments)
  for (const [name, of] of [['heap', heapOf], ['memory outside of it', externalOf], ['resident memory', rssOf]] as const) {
    const from = median(second.map(of))
    const to = median(last.map(of))
    checks.full(`${name} does not grow`, to <= from * GROWTH + GROWTH_BYTES, `${megabytes(from)} MB, then ${megabytes(to)} MB`)
  }
  const timers = (moment: Moment): number => moment.resources.Timeout ?? 0
  const sockets = ({ resources, stats }: Moment): number => (resources.TCPSocketWrap ?? 0) - stats.clients
  const listeners = (moment: Moment): number => Object.values(moment.listeners).reduce((sum, count) => sum + count, 0)
  for (const [name, of, more] of [['timers', timers, TIMERS], ['listeners', listeners, 0], ['sockets without a client', sockets, SOCKETS]] as const) {
    const from = median(second.map(of))
    const to = median(last.map(of))
    // On a busy machine, more clients are just coming or leaving.
    checks[of === sockets ? 'full' : 'that'](`${name} do not become more`, to <= from + more, `${from}, then ${to}`)
  }
  const delay = moments.at(-1)!.delaySoFar
  checks.full(`the event loop's delay is at most ${DELAY} ms at p99`, delay <= DELAY, `${number(delay)} ms`)
}

/** All clients read now. What is published must come to all of them, and the counters must agree. */
async function checkDeliveries (checks: Checks, setup: Setup): Promise<void> {
  const { server, load } = setup
  // One event to each channel, so that every client has had one from each of its channels.
  await server.publishToAll(1)
  await load.caughtUp(await server.numbers())
  const before = await untilServer(setup, ({ stats }) => stats.bufferedBytes === 0) ?? await moment(setup, 0)
  await server.publishToAll(CALM_EVENTS)
  await load.caughtUp(await server.numbers())
  const after = await moment(setup, 0)
  const counted = (of: (moment: Moment) => number): number => of(after) - of(before)
  const delivered = counted(({ stats }) => stats.delivered)
  checks.same('`delivered` is what clients that read to the end have seen', delivered, counted(({ load }) => load.events))
  checks.same('and what the publishes said', delivered, counted(({ recipients }) => recipients))
  checks.same('`bytesWritten` is what they have read', counted(({ stats }) => stats.bytesWritten), counted(({ load }) => load.bytes))
}

function checkEnd (checks: Checks, before: Sample, { stats, published, recipients, connects, disconnects, resources, load, listeners }: Moment): void {
  const gone = Object.values(disconnects).reduce((sum, count) => sum + count, 0)
  checks.that('when all have left, there are no clients, no waiting bytes and no sockets',
    stats.clients === 0 && stats.bufferedBytes === 0 && resources.TCPSocketWrap === undefined,
    `${stats.clients}, ${stats.bufferedBytes}, ${resources.TCPSocketWrap ?? 0}`)
  checks.same('`connections` is the number of disconnects', stats.connections, gone)
  checks.same('and of connects', stats.connections, connects)
  checks.that('and at least the number of streams that clients have had', stats.connections >= load.opened, `${whole(stats.connections)} and ${whole(load.opened)}`)
  checks.same('`published` is what was published', stats.published, published)
  checks.same('`slowDisconnects` is who went for that reason', stats.slowDisconnects, (disconnects.slow ?? 0) + (disconnects.stalled ?? 0))
  checks.that('what was seen is at most what was `delivered` and `replayed`, and that at most what was to be',
    load.events <= stats.delivered + stats.replayed && stats.delivered <= recipients,
    `${whole(load.events)} ≤ ${whole(stats.delivered)} + ${whole(stats.replayed)}; ${whole(stats.delivered)} ≤ ${whole(recipients)}`)
  checks.that('nothing was `dropped`, and no client failed', stats.dropped === 0 && disconnects.error === undefined, reasons(disconnects))
  checks.that('the listeners are those of the beginning', Object.entries(before.listeners).every(([of, count]) => listeners[of as keyof typeof listeners] === count),
    `${Object.entries(listeners).map(([of, count]) => `${of} ${count}`).join(', ')}`)
  checks.that('every client saw its channels\' events in order, none twice, none missing unless it was told so', load.faultCount === 0,
    load.faultCount > 0 ? load.faults.join('; ') : `${whole(load.events)} events in ${whole(load.opened)} streams, ${whole(load.ended)} of them to the end`)
  checks.that('clients that come back have missed nothing, or are told so', load.resumed > 0,
    `${whole(load.resumed)} came back, ${whole(load.unrecovered)} were told so, of ${whole(load.lost)} events`)
  const cutReaders = Object.entries(load.cut).reduce((sum, [kind, count]) => kind === 'slow' ? sum : sum + count, 0)
  checks.full('at most one in 10,000 clients that read was cut', cutReaders <= load.opened * READERS_CUT,
    Object.entries(load.cut).map(([kind, count]) => `${count} ${kind}`).join(', ') || 'none was')
}

function reasons (counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts).map(([reason, count]) => `${whole(count)} ${reason}`).join(', ')
}

function figuresOf (moments: readonly Moment[]): string[][] {
  const { second, last } = fifths(moments)
  const cpu = moments.map(({ cpu, at }, index) => {
    const before = moments[index - 1]
    return before === undefined ? 0 : (cpu - before.cpu) / (at - before.at) / 1e4
  })
  const rows: Array<readonly [name: string, of: (moment: Moment, index: number) => number]> = [
    ['heap after a collection, MB', moment => heapOf(moment) / 1e6],
    ['outside of it, MB', moment => externalOf(moment) / 1e6],
    ['resident, MB', moment => rssOf(moment) / 1e6],
    ['clients', ({ stats }) => stats.clients],
    ['sockets', ({ resources }) => resources.TCPSocketWrap ?? 0],
    ['timers', ({ resources }) => resources.Timeout ?? 0],
    ['listeners: process, server and hub', ({ listeners }) => listeners.process + listeners.server + listeners.hub],
    ['kept events', ({ stats }) => stats.historyEvents],
    ['waiting for clients, kB', ({ stats }) => stats.bufferedBytes / 1e3],
    ['CPU of the server, %', ({ at }) => cpu[at - 1]!],
    ['event loop delay, p99 of a second, ms', ({ delay }) => delay],
    ['from connecting to the greeting, p99 so far, ms', ({ load }) => load.connecting],
    ['from publish to a reader, p99 so far, ms', ({ load }) => load.latency]
  ]
  return [
    ['median', 'second fifth', 'last fifth', 'highest'],
    ...rows.map(([name, of]) => [name, number(median(second.map(of))), number(median(last.map(of))), number(Math.max(...moments.map(of)))])
  ]
}

function heapOf ({ heapUsed }: Sample): number {
  return heapUsed
}

function externalOf ({ external }: Sample): number {
  return external
}

function rssOf ({ rss }: Sample): number {
  return rss
}

function megabytes (bytes: number): string {
  return number(bytes / 1e6)
}
