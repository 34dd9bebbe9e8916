// The load client: it opens as many event streams as the runner asks for, and checks every event of each.
import { connect as openSocket, type Socket } from 'node:net'
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { EventReader } from '../event-reader.js'
import { GzipReader, type Compressed } from '../gzip-reader.js'
import { now } from '../payload.js'
import { serve } from '../rpc.js'

export interface Connect {
  readonly port: number
  readonly clients: number
  /** How many channels there are; `perClient` says in how many of them each client is. */
  readonly channels?: number
  readonly perClient?: number
  /** Bytes of an event's data. */
  readonly size: number
  /** If set, all connections are opened first. Then all requests are sent, each with the id of the last event it had. */
  readonly lastEventIds?: readonly string[]
  /** How many of the clients stop reading after the head. */
  readonly stuck?: number
  /** How many publishers take turns with the numbers. The events of each publisher must come in its own order. */
  readonly publishers?: number
  /** Counts how often each number comes, and treats no event as an error. `tally()` gives the result. */
  readonly tallied?: boolean
  /** How the server compresses, if it does. */
  readonly compressed?: Compressed | null
}

export interface Tally {
  /** Events that some client has not got, and events that some client has got more than once. */
  readonly lost: number
  readonly doubled: number
}

export interface Result {
  /** When the last byte came, in microseconds. */
  readonly endedAt: number
  readonly deliveries: number
  readonly bytes: number
  /** Bytes that came from the sockets since the call of `time()`. */
  readonly wire: number
  /** Milliseconds from the publishing of an event until it was read. */
  readonly p50: number
  readonly p99: number
}

/** How many requests may wait for an answer at the same time. */
const AT_ONCE = 200
/** If nothing comes for this time, in milliseconds, the run has lost something. */
const SILENCE = 20_000
const ALL = Uint8Array.of(1)
/** Of the clients that share compressed bytes, one in `SAMPLE` also has its stream decoded as a whole. */
const SAMPLE = 200

// All sockets share one buffer: its bytes are read before the next socket's bytes come.
const shared = Buffer.allocUnsafeSlow(256 * 1024)

class Client {
  readonly socket: Socket
  readonly reader: EventReader
  readonly stuck: boolean
  /** Whether its connection may end. */
  mayEnd: boolean
  /** Resolves with the first byte of the stream. */
  readonly opened: Promise<void>
  readonly connected: Promise<void>
  /** How often each number has come, if that is counted. */
  readonly seen = new Map<number, number>()
  /** Bytes that came from its socket. */
  wire = 0
  #open!: () => void

  constructor (port: number, reader: EventReader, stuck: boolean) {
    this.reader = reader
    this.stuck = this.mayEnd = stuck
    this.opened = new Promise(resolve => { this.#open = resolve })
    const onread = { buffer: shared, callback: (length: number) => this.#read(length) }
    this.socket = openSocket({ port, host: '127.0.0.1', noDelay: true, onread })
    this.connected = new Promise((resolve, reject) => {
      this.socket.on('connect', resolve).on('error', reject)
    })
    this.socket.on('error', error => this.#gone(String(error)))
    this.socket.on('close', () => this.#gone('the connection was closed'))
  }

  request (path: string, lastEventId: string | null): void {
    const resume = lastEventId === null ? '' : `last-event-id: ${lastEventId}\r\n`
    const encoding = this.reader instanceof GzipReader ? 'accept-encoding: gzip\r\n' : ''
    this.socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n${encoding}${resume}\r\n`)
  }

  /** Takes the events of several publishers: event n is from publisher (n - 1) % publishers. */
  takeTurns (publishers: number): void {
    const next = Array.from({ length: publishers }, (_, publisher) => publisher + 1)
    this.reader.onNumber = number => {
      const publisher = (number - 1) % publishers
      if (number !== next[publisher]) throw new Error(`event ${number} came where ${next[publisher]} should have`)
      next[publisher] = number + publishers
      this.reader.next++
    }
  }

  tally (): void {
    this.reader.onNumber = number => {
      this.seen.set(number, (this.seen.get(number) ?? 0) + 1)
      this.reader.next++
    }
  }

  #read (length: number): boolean {
    const { reader } = this
    const before = reader.next
    this.wire += length
    try {
      readAt = now()
      reader.read(shared, length)
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error))
      return false
    }
    if (reader.open) this.#open()
    if (reader.ended) this.#gone('the stream ended')
    if (reader.next !== before) {
      dataAt = readAt
      if (reader.next > goal && before <= goal && !this.stuck) settle()
    }
    return !(this.stuck && reader.open)
  }

  #gone (why: string): void {
    if (!this.mayEnd) fail(`at a client, ${why}`)
  }

  leave (): void {
    this.mayEnd = true
    this.socket.resetAndDestroy()
  }
}

let clients: Client[] = []
/** Rejects `failed` with the first fault. */
let fail!: (reason: string) => void
const failed = new Promise<never>((_resolve, reject) => { fail = reason => reject(new Error(reason)) })
failed.catch(() => {})
/** When something was read last, and when an event was read last. */
let readAt = 0
let dataAt = 0
/** The last event's number, after it is known; how many clients have not got that event; what to call when all have. */
let goal = Infinity
let missing = 0
let onGoal = (): void => {}
const histogram: RecordableHistogram = createHistogram({ lowest: 1, highest: 600_000_000, figures: 3 })

function settle (): void {
  if (--missing === 0) onGoal()
}

/** The channels of a client, which are the same in every run, and its distances from one event to the next. */
function subscription (index: number, channels: number, perClient: number): { path: string, first: number, steps: Uint8Array } {
  if (channels === 1) return { path: '/events', first: 1, steps: ALL }
  const own = new Set<number>()
  for (let seed = index * 7919 + 1; own.size < perClient; seed = (seed * 48271) % 2147483647) own.add(seed % channels)
  const steps = new Uint8Array(channels)
  for (let rest = 0; rest < channels; rest++) {
    let step = 1
    while (!own.has((rest + step) % channels)) step++
    steps[rest] = step
  }
  return { path: `/events?${Array.from(own, channel => `c=c${channel}`).join('&')}`, first: steps[0]!, steps }
}

const methods = {
  /** @returns when the last request was sent, in microseconds */
  async connect ({ port, clients: count, channels = 1, perClient = 1, size, lastEventIds, stuck = 0, publishers = 1, tallied = false, compressed = null }: Connect): Promise<number> {
    const create = (index: number): { client: Client, path: string } => {
      const { path, first, steps } = subscription(index, channels, perClient)
      // The id at place 0 is the id before event 1.
      const from = lastEventIds === undefined ? first : index % lastEventIds.length + 1
      const reader = compressed === null
        ? new EventReader(size, from, steps)
        : new GzipReader(size, from, steps, compressed, index % SAMPLE === 0)
      const client = new Client(port, reader, index < stuck)
      if (publishers > 1) client.takeTurns(publishers)
      if (tallied) client.tally()
      clients.push(client)
      return { client, path }
    }
    if (lastEventIds !== undefined) {
      for (let index = 0; index < count; index++) {
        create(index)
        if (index % AT_ONCE === AT_ONCE - 1) await Promise.all(clients.map(client => client.connected))
      }
      await Promise.all(clients.map(client => client.connected))
      for (const [index, client] of clients.entries()) client.request('/events', lastEventIds[index % lastEventIds.length]!)
      return now()
    }
    let next = 0
    await Promise.race([failed, Promise.all(Array.from({ length: AT_ONCE }, async () => {
      while (next < count) {
        const { client, path } = create(next++)
        await client.connected
        client.request(path, null)
        await client.opened
      }
    }))])
    return now()
  },

  /** From now on measures the time of each event. */
  time (): void {
    histogram.reset()
    for (const client of clients) {
      client.wire = 0
      client.reader.onTime = time => histogram.record(Math.max(1, readAt - time))
    }
  },

  /**
   * Waits until all clients have all events.
   * @param last the number of the last event
   */
  async finish (last: number): Promise<Result> {
    goal = last
    missing = clients.filter(client => !client.stuck && client.reader.next <= goal).length
    let seen = -1
    const silence = setInterval(() => {
      if (seen === dataAt) fail(`${missing} clients wait for events that do not come`)
      seen = dataAt
    }, SILENCE)
    const all = new Promise<void>(resolve => {
      onGoal = resolve
      if (missing === 0) resolve()
    })
    await Promise.race([all, failed])
    clearInterval(silence)
    let bytes = 0
    let deliveries = 0
    let wire = 0
    for (const client of clients) {
      const { reader } = client
      if (reader instanceof GzipReader) reader.check()
      wire += client.wire
      bytes += reader.bytes
      deliveries += reader.events
    }
    return {
      endedAt: dataAt,
      deliveries,
      bytes,
      wire,
      p50: histogram.percentile(50) / 1000,
      p99: histogram.percentile(99) / 1000
    }
  },

  /**
   * Waits until nothing has come for a time, and counts what has come.
   * @param last the number of the last event
   * @param quiet milliseconds
   */
  async tally ({ last, quiet }: { last: number, quiet: number }): Promise<Tally> {
    do await Promise.race([setTimeout(quiet / 4), failed])
    while (now() < dataAt + quiet * 1000)
    let lost = 0
    let doubled = 0
    for (let number = 1; number <= last; number++) {
      const times = clients.map(({ seen }) => seen.get(number) ?? 0)
      if (times.includes(0)) lost++
      if (times.some(count => count > 1)) doubled++
    }
    return { lost, doubled }
  },

  /**
   * Opens streams, `atOnce` at a time, and closes each when its first byte has come.
   * @returns how many in a second
   */
  async churn ({ port, milliseconds, atOnce, size }: { port: number, milliseconds: number, atOnce: number, size: number }): Promise<number> {
    const startedAt = now()
    const end = startedAt + milliseconds * 1000
    let opened = 0
    await Promise.race([failed, Promise.all(Array.from({ length: atOnce }, async () => {
      while (now() < end) {
        const client = new Client(port, new EventReader(size, 1, ALL), false)
        client.mayEnd = true
        await client.connected
        client.request('/events', null)
        await client.opened
        client.socket.destroy()
        opened++
      }
    }))])
    return opened / (now() - startedAt) * 1e6
  },

  /** Closes all connections. */
  close (): void {
    for (const client of clients) client.leave()
    clients = []
    goal = Infinity
  }
}

export type LoadMethods = typeof methods

serve(methods)
