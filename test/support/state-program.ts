// Random programs about states, for test/history/states-properties.test.ts. They publish with and without keys, and their
// clients read, stop reading, read a little, are cut and come back. They run on a real hub with real clients. The received
// events are compared with the published ones.
import Fastify, { type FastifyInstance } from 'fastify'
import type { EventSourceMessage } from 'eventsource-parser'
import fc from 'fast-check'
import sse, { type SSEClient, type SSEPublishOptions } from '../../lib/index.js'
import type { Client } from '../../lib/client/client.js'
import { StreamClient } from './stream-client.js'

const CHANNELS = ['red', 'green']
const SLOTS = 3
/** The data of an event that fills a socket. */
const FILL = 'x'.repeat(40_000)

const publish = fc.record({
  channels: fc.oneof<Array<fc.WeightedArbitrary<string[]>>>(
    { weight: 6, arbitrary: fc.constantFrom('red', 'red', 'red', 'green').map(channel => [channel]) },
    { weight: 2, arbitrary: fc.constant([...CHANNELS]) },
    // For all clients.
    { weight: 1, arbitrary: fc.constant(['']) }
  ),
  // There are few states, so that many are replaced.
  name: fc.constantFrom('a', 'a', 'a', 'b'),
  key: fc.oneof({ weight: 5, arbitrary: fc.constantFrom('k', 'k', 'l', 'l', 'm') }, { weight: 1, arbitrary: fc.constant('') }),
  remove: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  transient: fc.oneof({ weight: 6, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  /** Additional bytes. Several small events fit into one write; large events need several writes for one round of the states. */
  size: fc.constantFrom(0, 0, 0, 3000, 30_000)
})

const slot = fc.nat(SLOTS - 1)

const command = fc.oneof(
  { weight: 18, arbitrary: publish.map(publish => ({ do: 'publish' as const, publish })) },
  { weight: 5, arbitrary: fc.record({ slot, resumes: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }) }).map(open => ({ do: 'open' as const, ...open })) },
  { weight: 3, arbitrary: slot.map(slot => ({ do: 'pause' as const, slot })) },
  { weight: 2, arbitrary: slot.map(slot => ({ do: 'resume' as const, slot })) },
  { weight: 2, arbitrary: fc.record({ slot, turns: fc.nat(4) }).map(sip => ({ do: 'sip' as const, ...sip })) },
  { weight: 3, arbitrary: fc.record({ slot, taste: fc.boolean(), lost: fc.nat(6) }).map(cut => ({ do: 'cut' as const, ...cut })) },
  // It tests the middle of a round of states, which single commands seldom do. The client stops reading, then reads a part of
  // what came, and is cut.
  { weight: 6, arbitrary: fc.record({ slot, publishes: fc.array(publish, { minLength: 2, maxLength: 6 }), lost: fc.nat(6) }).map(lap => ({ do: 'lap' as const, ...lap })) },
  { weight: 1, arbitrary: slot.map(slot => ({ do: 'direct' as const, slot })) }
)

export const program = fc.record({
  compress: fc.boolean(),
  commands: fc.array(command, { minLength: 4, maxLength: 40, size: 'max' })
})

type Publish = typeof publish extends fc.Arbitrary<infer Value> ? Value : never
export type Program = typeof program extends fc.Arbitrary<infer Value> ? Value : never

/** One published event. */
interface Published extends Publish {
  readonly n: number
}

/** One stream of a slot. */
interface Connection {
  readonly reader: StreamClient
  readonly client: SSEClient
  /** How many events had been published when it was opened. */
  readonly from: number
  /** The events that had come when it was cut. */
  seen: readonly EventSourceMessage[] | null
  paused: boolean
  /** Whether it did not read for some time. Then it may have got only the newest states. */
  wasPaused: boolean
}

/** One browser: its streams since it last began without an id. */
interface Slot {
  readonly channels: readonly string[]
  readonly names: readonly string[] | undefined
  connections: Connection[]
  /** Whether it is connected. */
  open: boolean
}

let apps = 0

export class StateRun {
  readonly #program: Program
  readonly #socketPath: string
  readonly #published: Published[] = []
  readonly #slots: readonly Slot[]
  #app!: FastifyInstance

  constructor (program: Program, path: string) {
    this.#program = program
    this.#socketPath = `${path}-${++apps}`
    this.#slots = Array.from({ length: SLOTS }, (_, i) => ({ channels: CHANNELS.slice(0, 1 + i % 2), names: i === 2 ? ['a', 'end', 'taste'] : undefined, connections: [], open: false }))
  }

  /** Rejects if a client did not get what the hub promises. */
  async run (): Promise<void> {
    this.#app = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance
    // The limits are so high that no event is lost.
    await this.#app.register(sse, { historySize: 1000, maxBufferedBytes: 50_000_000, compress: this.#program.compress, reconnectSpread: 0 })
    this.#app.get<{ Params: { slot: number } }>('/:slot', (request, reply) => {
      const { channels, names } = this.#slots[request.params.slot]!
      reply.sse(channels, names === undefined ? {} : { events: names })
    })
    await this.#app.listen({ path: this.#socketPath })
    try {
      for (const command of this.#program.commands) await this.#do(command)
      await this.#quiet()
      for (const slot of this.#slots) this.#check(slot)
    } finally {
      for (const { connections } of this.#slots) for (const { reader } of connections) reader.destroy()
      await this.#app.close()
    }
  }

  async #do (command: Program['commands'][number]): Promise<void> {
    if (command.do === 'publish') return await this.#publish(command.publish)
    const slot = this.#slots[command.slot]!
    if (command.do === 'open') return await this.#open(slot, command.resumes)
    const connection = slot.connections.at(-1)
    if (connection === undefined || !slot.open) return
    switch (command.do) {
      case 'pause': return await this.#pause(connection)
      case 'resume':
        connection.paused = false
        return connection.reader.resume()
      case 'sip':
        if (!connection.paused) return
        connection.reader.resume()
        await turns(command.turns)
        return connection.reader.pause()
      case 'cut':
        return await this.#cut(slot, command.taste, command.lost)
      case 'lap':
        await this.#pause(connection)
        for (const publish of command.publishes) await this.#publish(publish)
        await this.#cut(slot, true, command.lost)
        return await this.#open(slot, true)
      case 'direct':
        connection.client.send('direct', null)
    }
  }

  /** The client stops reading. Resolves when its socket refuses bytes. */
  async #pause (connection: Connection): Promise<void> {
    connection.paused = connection.wasPaused = true
    connection.reader.pause()
    while (!(connection.client as Client).blocked && !connection.client.closed) {
      connection.client.send('fill', FILL, { raw: true, compress: false })
      await turns(1)
    }
  }

  /**
   * @param taste whether the client first reads until something comes
   * @param lost how many of the last events do not arrive
   */
  async #cut (slot: Slot, taste: boolean, lost: number): Promise<void> {
    const connection = slot.connections.at(-1)!
    const { reader, client } = connection
    if (taste) {
      client.send('taste', null)
      const before = reader.events.filter(isTasty).length
      reader.resume()
      await reader.until(() => reader.events.filter(isTasty).length > before)
    }
    slot.open = false
    reader.destroy()
    connection.seen = reader.events.slice(0, Math.max(1, reader.events.length - lost))
    await reader.untilClosed()
  }

  async #open (slot: Slot, resumes: boolean): Promise<void> {
    if (slot.open) await this.#cut(slot, false, 0)
    const lastEventId = slot.connections.flatMap(({ seen }) => seen!).findLast(({ id }) => id !== undefined)?.id
    const comesBack = resumes && lastEventId !== undefined
    if (!comesBack) slot.connections = []
    const connected = new Promise<SSEClient>(resolve => this.#app.sse.once('connect', resolve))
    const headers = { ...comesBack && { 'last-event-id': lastEventId }, ...this.#program.compress && { 'accept-encoding': 'gzip' } }
    const reader = new StreamClient({ socketPath: this.#socketPath }, `/${this.#slots.indexOf(slot)}`, headers)
    const connection: Connection = { reader, client: await connected, from: this.#published.length, seen: null, paused: false, wasPaused: false }
    slot.connections.push(connection)
    slot.open = true
    await reader.untilEvent('sse:open')
    if (reader.greeting!.recovered !== comesBack) throw new Error(`recovered is ${reader.greeting!.recovered}`)
  }

  async #publish (publish: Publish): Promise<void> {
    const { channels, name, key, transient, size } = publish
    const n = this.#published.length
    const remove = publish.remove && key !== ''
    this.#published.push({ ...publish, remove, n })
    const options: SSEPublishOptions = { transient, ...key !== '' && { key, remove } }
    const data = { n, pad: 'x'.repeat(size) }
    const { sse } = this.#app
    await (channels[0] === '' ? sse.send(name, data, options) : channels.length === 1 ? sse.toChannel(channels[0]!, name, data, options) : sse.toChannels(channels, name, data, options))
  }

  /** All clients read again. Resolves when they have the last event. */
  async #quiet (): Promise<void> {
    await this.#app.sse.send('end', null, { transient: true })
    for (const { open, connections } of this.#slots) {
      if (!open) continue
      const { reader } = connections.at(-1)!
      reader.resume()
      await reader.untilEvent('end')
    }
  }

  #check (slot: Slot): void {
    if (!slot.open) return
    const isFor = ({ channels, name }: Published): boolean =>
      (slot.names?.includes(name) ?? true) && channels.some(channel => channel === '' || slot.channels.includes(channel))
    const seen = slot.connections.map(({ reader, seen }) => (seen ?? reader.events).flatMap(({ event, data }) => /^[ab]$/.test(event!) ? [this.#published[JSON.parse(data).n]!] : []))
    for (const event of seen.flat()) if (!isFor(event)) throw new Error(`${event.n} is not for it`)
    this.#checkPlain(seen, this.#published.filter(event => isFor(event) && event.key === ''))
    for (const channel of ['', ...slot.channels]) {
      for (const name of slot.names ?? ['a', 'b']) {
        for (const key of ['k', 'l', 'm']) {
          const says = (event: Published): boolean => event.key === key && event.name === name && event.channels.includes(channel)
          this.#checkState(`${channel} ${name} ${key}`, slot, seen.map(events => events.filter(says)), this.#published.filter(says))
        }
      }
    }
    for (const [i, { from, wasPaused }] of slot.connections.entries()) {
      if (wasPaused) continue
      const until = i === slot.connections.length - 1 ? Infinity : seen[i]!.at(-1)?.n ?? -1
      const live = this.#published.filter(event => isFor(event) && event.n >= from && event.n <= until)
      const got = new Set(seen[i])
      for (const event of live) if (!got.has(event)) throw new Error(`${event.n} did not come to one who reads`)
    }
  }

  /**
   * Whether, when `before` events had been published, one of the event's channels kept nothing newer for its key. If so, a
   * client that comes then gets it.
   */
  #isNewestKept (event: Published, before: number): boolean {
    const { name, key } = event
    return event.channels.some(channel => event === this.#published.findLast(other =>
      other.n < before && !other.transient && other.name === name && other.key === key && other.channels.includes(channel)))
  }

  #checkPlain (seen: Published[][], published: Published[]): void {
    for (const events of seen) checkGrows('without a key', events.filter(({ key }) => key === ''))
    const all = new Set(seen.flat())
    for (const event of published) if (!event.transient && !all.has(event)) throw new Error(`${event.n} is lost`)
  }

  #checkState (state: string, slot: Slot, seen: Published[][], published: Published[]): void {
    for (const events of seen) checkGrows(state, events)
    let last: Published | undefined
    for (const [i, events] of seen.entries()) {
      const [first] = events
      // A client that comes back does not get events that are not kept.
      if (first !== undefined && last !== undefined && first.n < last.n && !last.transient && !this.#isNewestKept(first, slot.connections[i]!.from)) {
        throw new Error(`${state} goes back from ${last.n} to ${first.n}`)
      }
      last = events.at(-1) ?? last
    }
    const newest = published.at(-1)
    if (newest === last || newest === undefined) return
    const kept = published.findLast(({ transient }) => !transient)
    // A client that came later does not get events that are not kept. A client that never knew a state need not learn of its
    // removal.
    const present = slot.connections.at(-1)!.from <= newest.n
    if (!present && (last === undefined ? kept === undefined || kept.remove : last.n >= (kept?.n ?? -1))) return
    // The state was removed from one channel, but the client got it as the state of another channel.
    if (!present && kept?.remove === true && last!.channels.length > 1) return
    throw new Error(`${state} is at ${last?.n}, and should be at ${newest.n}`)
  }
}

function checkGrows (what: string, events: readonly Published[]): void {
  for (const [i, { n }] of events.entries()) {
    if (i > 0 && n <= events[i - 1]!.n) throw new Error(`${what}: ${n} comes behind ${events[i - 1]!.n}`)
  }
}

/** Whether an event ends the wait of a `taste`. */
function isTasty ({ event }: EventSourceMessage): boolean {
  return event === 'a' || event === 'b' || event === 'taste'
}

/** Resolves after this number of turns of the event loop. */
async function turns (count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}
