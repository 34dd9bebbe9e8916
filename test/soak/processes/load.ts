// The clients: they connect, do what their kind does, and leave. Every event of every client is checked.
import http from 'node:http'
import { createHistogram } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { now } from '../../bench/payload.js'
import { serve } from '../../bench/rpc.js'
import { Random } from '../../support/random.js'
import { BULK, SMALL, type Numbers } from '../channels.js'
import { Client, type ClientHost, type Closing, type Kind } from '../client.js'

export interface Begin {
  readonly port: number
  readonly seed: number
  /** Whether hosts can vanish from the network. If not, dead clients only stop reading and never close. */
  readonly unplugs: boolean
}

export interface LoadSample {
  /** Clients that are connected or will come back. */
  readonly clients: number
  /** How many streams were opened. */
  readonly opened: number
  /** How many of them were resumed, how many of those did not recover, and how many events those clients lost. */
  readonly resumed: number
  readonly unrecovered: number
  readonly lost: number
  /** Events and bytes of event stream that came. */
  readonly events: number
  readonly bytes: number
  /** How many clients are dead, and how many the server has cut, by kind. */
  readonly dead: number
  readonly cut: Readonly<Partial<Record<Kind, number>>>
  /** Streams that the server was asked to end, and whose last events are checked. */
  readonly ended: number
  /** Milliseconds from the publishing of an event until a reader had it, p99. */
  readonly latency: number
  /** Milliseconds from connecting to the greeting, p99. */
  readonly connecting: number
  readonly faultCount: number
  /** The first faults. */
  readonly faults: readonly string[]
}

export interface Return {
  /** Seconds until the last client was back. The others are the milliseconds that a connect and its greeting took. */
  readonly lasted: number
  readonly p50: number
  readonly p99: number
  readonly max: number
  readonly recovered: number
}

/** How long clients stay, and how long those that come back are away, in milliseconds. */
const STAY = [500, 14_500] as const
const AWAY = [50, 2000] as const
/** All clients of a storm are back within this time, in milliseconds. */
const STORM_AWAY = 1000
const KINDS: ReadonlyArray<readonly [kind: Kind, share: number]> = [['reader', 0.65], ['resumer', 0.22], ['quiet', 0.07], ['slow', 0.05], ['dead', 0.01]]
/** Arrivals in a second at the beginning, until the usual number of clients is there. */
const FILL = 500
/** How many requests of a storm's clients may wait for an answer at the same time, at the beginning. */
const AT_ONCE = 200
/** How long anything may take, in milliseconds. */
const PATIENCE = 60_000
const FAULTS = 20

interface Visitor {
  readonly client: Client
  readonly endsAt: number
  /** The host of a client that will be dead. */
  readonly host: string | null
  /** Calls what the client does next. */
  timer: NodeJS.Timeout | null
  /** Whether it leaves and does not come back. */
  leaves: boolean
}

let random = new Random(0)
let unplugs = false
let port = 0
/** If set, no client arrives or leaves, and none reads slowly. */
let calm = false
const visitors = new Map<Client, Visitor>()
/** Clients whose streams the server should end. */
let leaving: Client[] = []
/** How many requests for that are not answered yet. */
let asking = 0
/** They are kept so that the garbage collector does not close them. */
const dead: Client[] = []
let hosts = 0
const counts = { opened: 0, resumed: 0, unrecovered: 0, lost: 0, events: 0, bytes: 0, ended: 0, faultCount: 0 }
const cut: Partial<Record<Kind, number>> = {}
const faults: string[] = []
const latency = createHistogram({ lowest: 1, highest: 600_000, figures: 3 })
const connecting = createHistogram({ lowest: 1, highest: 600_000, figures: 3 })

const host: ClientHost = {
  get port () {
    return port
  },

  fault (text) {
    counts.faultCount++
    if (faults.length < FAULTS) faults.push(text)
  },

  opened (client, recovered, milliseconds) {
    counts.opened++
    connecting.record(Math.max(1, Math.round(milliseconds)))
    if (recovered !== null) counts.resumed++
    if (recovered === false) counts.unrecovered++
    const visitor = visitors.get(client)
    if (visitor !== undefined) act(visitor)
  },

  closed (client, how) {
    const visitor = visitors.get(client)
    if (visitor === undefined) return
    stop(visitor)
    if (visitor.leaves) visitors.delete(client)
    else comeBack(visitor, how)
  },

  received (bytes) {
    counts.bytes += bytes
  },

  event (client, milliseconds) {
    counts.events++
    // The other kinds read late on purpose.
    if (client.kind === 'reader' && !calm) latency.record(Math.max(1, Math.round(milliseconds)))
  },

  lost (events) {
    counts.lost += events
  }
}

function between ([from, to]: readonly [number, number]): number {
  return from + random.next() * (to - from)
}

function kind (): Kind {
  let rest = random.next()
  return KINDS.find(([, share]) => (rest -= share) < 0)?.[0] ?? 'reader'
}

function channelsOf (kind: Kind): string[] {
  if (kind === 'quiet') return []
  // In a network that does not report dead hosts, the server finds dead clients only by large events. A client that comes
  // back to a large burst while its replay is sent counts as slow, and resumers must not count as slow.
  const bulk = kind === 'slow' ? 1 : kind === 'reader' ? 0.05 : kind === 'resumer' ? 0 : unplugs ? 0.5 : 1
  if (random.chance(bulk)) return [BULK]
  const first = random.below(SMALL.length)
  return random.chance(0.5) ? [SMALL[first]!] : [SMALL[first]!, SMALL[(first + 1 + random.below(SMALL.length - 1)) % SMALL.length]!]
}

function arrive (kind: Kind, channels: readonly string[], stay: number): void {
  const address = kind === 'dead' && unplugs ? hostAddress(hosts) : null
  const client = new Client(host, kind, channels, address)
  visitors.set(client, { client, endsAt: now() / 1000 + stay, host: kind === 'dead' ? hostAddress(hosts) : null, timer: null, leaves: false })
  client.connect()
}

function hostAddress (index: number): string {
  return `127.0.${9 + Math.floor(index / 250)}.${1 + index % 250}`
}

function later (visitor: Visitor, milliseconds: number, work: () => void): void {
  visitor.timer = setTimeout(() => {
    visitor.timer = null
    work()
  }, milliseconds)
}

function stop (visitor: Visitor): void {
  if (visitor.timer !== null) clearTimeout(visitor.timer)
  visitor.timer = null
}

/** Plans what the client does while it is connected. */
function act (visitor: Visitor): void {
  const { client, endsAt } = visitor
  if (calm || visitor.leaves) return
  const left = Math.max(0, endsAt - now() / 1000)
  switch (client.kind) {
    case 'reader':
    case 'quiet':
      return later(visitor, left, () => leave(visitor))
    case 'resumer': {
      const wait = between([300, 4000])
      return later(visitor, Math.min(left, wait), () => {
        if (left <= wait) leave(visitor)
        else client.cut(random.chance(0.5) ? 'destroy' : 'resetAndDestroy')
      })
    }
    case 'slow':
      if (left === 0) return leave(visitor)
      return later(visitor, between([300, 1000]), () => {
        client.pause()
        // Sometimes the pause is so long that the server disconnects the client.
        later(visitor, random.chance(0.15) ? 12_000 : between([300, 2500]), () => {
          client.resume()
          act(visitor)
        })
      })
    case 'dead':
    case 'storm':
  }
}

/** The client leaves and does not come back: the server ends its stream, or its connection is cut. */
function leave (visitor: Visitor, asks = random.chance(0.5)): void {
  stop(visitor)
  visitor.leaves = true
  visitor.client.resume()
  if (visitor.client.away) visitors.delete(visitor.client)
  else if (asks && visitor.client.connected) leaving.push(visitor.client)
  else visitor.client.cut(random.chance(0.5) ? 'destroy' : 'resetAndDestroy')
}

function comeBack (visitor: Visitor, how: Closing): void {
  const { client, endsAt } = visitor
  if (how === 'cut') cut[client.kind] = (cut[client.kind] ?? 0) + 1
  if (how === 'ended') host.fault(`${String(client)}: its stream was ended`)
  const isStorm = client.kind === 'storm'
  if (client.kind === 'dead' || (!isStorm && !calm && now() / 1000 > endsAt)) visitors.delete(client)
  else later(visitor, isStorm ? random.next() * STORM_AWAY : calm ? 0 : between(AWAY), () => client.connect())
}

const agent = new http.Agent({ keepAlive: true })

function post (path: string, body: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const request = http.request({ port, host: '127.0.0.1', path, method: 'POST', agent, headers: { 'content-type': 'application/json' } }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', part => { text += part }).on('end', () => {
        if (response.statusCode === 200) resolve(JSON.parse(text))
        else reject(new Error(`${path} was answered with ${response.statusCode}`))
      })
    })
    request.on('error', reject).end(JSON.stringify(body))
  })
}

setInterval(() => {
  if (leaving.length === 0) return
  const clients = leaving
  leaving = []
  asking++
  post('/leave', clients.map(({ id }) => id)).then(answer => {
    asking--
    const { numbers, unknown } = answer as { numbers: Numbers, unknown: string[] }
    for (const client of clients) {
      // The server has already cut this client as slow, so it can't end its stream.
      if (unknown.includes(client.id)) {
        client.cut('destroy')
        visitors.delete(client)
        continue
      }
      counts.ended++
      client.endsAt(numbers)
    }
  }, error => host.fault(String(error)))
}, 100)

/** Resolves when a condition holds. */
async function until (condition: () => boolean, what: () => string): Promise<void> {
  const end = now() + PATIENCE * 1000
  while (!condition()) {
    if (now() > end) throw new Error(`waited ${PATIENCE / 1000} s for ${what()}`)
    await sleep(20)
  }
}

/** Describes the clients that should be connected and are not, or should have left and have not. */
function whoIsLate (): string {
  const late = [...visitors.values()].filter(({ client, leaves }) => !client.connected || leaves)
  const [first] = late
  return first === undefined ? 'nobody' : `${late.length} clients, among them ${String(first.client)} to ${first.leaves ? 'go' : 'be there'}`
}

function * connected (): Generator<Client> {
  for (const { client } of visitors.values()) if (client.connected) yield client
}

/** Lets clients arrive at a rate, while there should be more. */
async function arrivals (perSecond: number, more: () => boolean): Promise<void> {
  const startedAt = now()
  for (let count = 0; more();) {
    const due = (now() - startedAt) / 1e6 * perSecond
    for (; count < due; count++) {
      const next = kind()
      arrive(next, channelsOf(next), between(STAY))
    }
    await sleep(10)
  }
}

const methods = {
  begin (begin: Begin): void {
    port = begin.port
    unplugs = begin.unplugs
    random = new Random(begin.seed)
  },

  /** From now on clients arrive at a rate. Resolves when the usual number of clients is there. */
  async come (perSecond: number): Promise<void> {
    const usual = perSecond * (STAY[0] + STAY[1]) / 2000
    await arrivals(Math.max(FILL, perSecond), () => visitors.size < usual)
    await until(() => counts.opened >= usual, () => `${Math.ceil(usual - counts.opened)} clients to be answered`)
    arrivals(perSecond, () => !calm).catch(error => host.fault(String(error)))
  },

  sample (): LoadSample {
    return { ...counts, clients: visitors.size, dead: dead.length, cut, latency: latency.percentile(99), connecting: connecting.percentile(99), faults }
  },

  /**
   * From now on, clients that will be dead get another address.
   * @returns the address until now
   */
  nextHost: (): string => hostAddress(hosts++),

  /** All clients with this address are dead from now on. */
  bury (address: string): void {
    for (const [client, visitor] of visitors) {
      if (visitor.host !== address) continue
      visitors.delete(client)
      if (client.connected) dead.push(client)
      if (unplugs || !client.connected) client.cut('destroy')
      else client.pause()
    }
  },

  /** Stops all arrivals and departures. Resolves when all clients that stay are connected and read. */
  async calm (): Promise<void> {
    calm = true
    for (const visitor of visitors.values()) {
      const { client, leaves } = visitor
      if (leaves) continue
      stop(visitor)
      client.resume()
      if (client.kind !== 'reader' && client.kind !== 'resumer') leave(visitor)
      else if (client.away) comeBack(visitor, 'own')
    }
    await until(() => [...visitors.values()].every(({ client, leaves }) => client.connected && !leaves), () => whoIsLate())
  },

  /** Resolves when all connected clients have all published events. */
  async caughtUp (numbers: Numbers): Promise<void> {
    const late = (): Client | undefined => [...connected()].find(client => !client.has(numbers))
    await until(() => late() === undefined, () => `events to come to ${String(late())}`)
  },

  /** All clients leave: the server ends half of the streams, and the other clients just close. */
  async leave (): Promise<void> {
    let asks = false
    for (const visitor of visitors.values()) leave(visitor, asks = !asks)
    await until(() => visitors.size === 0 && leaving.length === 0 && asking === 0, () => `${visitors.size} clients to go`)
    agent.destroy()
  },

  /** Opens clients that stay. Each is in one of the small channels. */
  async open (count: number): Promise<void> {
    for (let index = 0; index < count; index++) {
      arrive('storm', [SMALL[index % SMALL.length]!], 0)
      await until(() => visitors.size - counts.opened < AT_ONCE, () => 'clients to be answered')
    }
    await until(() => counts.opened === count, () => `${count - counts.opened} clients to be answered`)
    connecting.reset()
  },

  /** Resets all connections. */
  cut (): void {
    for (const client of connected()) client.cut('resetAndDestroy')
  },

  /** Resolves when all clients are back: that is when as many new streams were opened as there are clients. */
  async back (opened: number): Promise<Return> {
    const startedAt = now()
    const { resumed, unrecovered } = counts
    await until(() => counts.opened >= opened + visitors.size, () => `${opened + visitors.size - counts.opened} clients to be back`)
    const figures = { p50: connecting.percentile(50), p99: connecting.percentile(99), max: connecting.max }
    connecting.reset()
    return { lasted: (now() - startedAt) / 1e6, ...figures, recovered: counts.resumed - resumed - (counts.unrecovered - unrecovered) }
  }
}

export type LoadMethods = typeof methods

serve(methods)
