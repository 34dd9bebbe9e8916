// Runs a program of test/support/hub-program.ts on a real hub with real clients, beside the model of what it promises, and
// compares what came.
import { EventEmitter, once } from 'node:events'
import Fastify, { type FastifyInstance } from 'fastify'
import sse, { type SSEClient, type SSEConnectOptions, type SSEDisconnectReason } from '../../lib/index.js'
import { SIZES, SLOTS, type Open, type Program, type Publish } from './hub-program.js'
import { ModelHub, type ModelConnection } from './model-hub.js'
import { StreamClient } from './stream-client.js'

/** One connection: what it must get, and both its ends. */
interface Connection {
  readonly model: ModelConnection
  readonly reader: StreamClient
  readonly client: SSEClient
  readonly replay: Open['replay']
  paused: boolean
  /** It did not read for a while: it may be too slow. */
  wasPaused: boolean
  /** The client's end cut it: what did not come by then need not. */
  wasCut: boolean
  reason: SSEDisconnectReason | null
  /** How many of what it must get it had by then. */
  had: number
}

interface App {
  readonly fastify: FastifyInstance
  readonly model: ModelHub
  readonly socketPath: string
  readonly openings: Array<{ channels: string[], options: SSEConnectOptions }>
  readonly connections: Connection[]
}

/** Each app has a socket of its own, since one that hangs does not give it back. */
let apps = 0
/** Tells one event from another, over all programs. */
let number = 0
/** All that there ever were: whether what they held can be let go of is seen at the end. */
export const clients: Array<WeakRef<SSEClient>> = []

/** Without parsing the rest, which may be long. */
function numberOf (data: string): number {
  return Number.parseInt(data.slice('{"n":'.length))
}

/** One run of a program: on a real hub, and on the model. */
export class HubRun {
  readonly #program: Program
  /** Begins the paths of its sockets. */
  readonly #path: string
  readonly #connections: Array<Connection | undefined> = new Array(SLOTS).fill(undefined)
  readonly #lastIds: Array<string | undefined> = new Array(SLOTS).fill(undefined)
  /** Ids that greetings told, which may be of no event, and their places: in the present app. */
  readonly #heads = new Map<string, number>()
  #app!: App

  constructor (program: Program, path: string) {
    this.#program = program
    this.#path = path
  }

  /** Rejects where the hub does otherwise than the model. */
  async run (): Promise<void> {
    this.#app = await this.#start()
    try {
      for (const command of this.#program.commands) await this.#do(command)
      await this.#settle()
      for (const connection of this.#app.connections) this.#check(connection)
      await this.#checkEnd()
    } finally {
      for (const { reader } of this.#app.connections) reader.destroy()
      await this.#app.fastify.close()
    }
  }

  async #start (): Promise<App> {
    const { historySize, slowClient, maxBufferedBytes } = this.#program
    const fastify = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance
    const openings: App['openings'] = []
    await fastify.register(sse, { historySize, slowClient, maxBufferedBytes, closeTimeout: 10_000, reconnectSpread: 0 })
    fastify.get<{ Params: { opening: number } }>('/:opening', (request, reply) => {
      const { channels, options } = openings[request.params.opening]!
      reply.sse(channels, options)
    })
    const connections: Connection[] = []
    fastify.sse.on('disconnect', (client, reason) => {
      const connection = connections.find(connection => connection.client === client)
      if (connection === undefined) return
      connection.reason = reason
      const last = connection.reader.own.at(-1)
      connection.had = last === undefined ? 0 : connection.model.expected.indexOf(numberOf(last.data)) + 1
    })
    const socketPath = `${this.#path}-${++apps}`
    await fastify.listen({ path: socketPath })
    return { fastify, model: new ModelHub(historySize), socketPath, openings, connections }
  }

  async #do (command: Program['commands'][number]): Promise<void> {
    switch (command.do) {
      case 'publish': return this.#publish(command.publish)
      case 'burst': {
        // The kernel has room for one: so only readers that pause are slow.
        await this.#caughtUp()
        await Promise.all(Array.from({ length: command.times }, () => this.#publish({ ...command.publish, key: undefined })))
        return this.#caughtUp()
      }
      case 'flood':
        for (let n = 0; n < command.times; n++) {
          await this.#caughtUp()
          await this.#publish({ ...command.publish, size: 'large', key: undefined })
        }
        return this.#caughtUp()
      case 'open': return this.#open(command.open)
      case 'restart': return this.#restart()
    }
    const connection = this.#connections[command.slot]
    if (connection === undefined) return
    const { client, reader, model } = connection
    switch (command.do) {
      case 'cut': return this.#cut(connection)
      case 'close': return client.close()
      case 'pause':
        connection.paused = connection.wasPaused = true
        return reader.pause()
      case 'resume':
        connection.paused = false
        return reader.resume()
      case 'direct': {
        const n = ++number
        if (!client.closed) model.expected.push(n)
        client.send('direct', { n })
        return
      }
      case 'join':
        client.join(command.channel)
        model.targets.add(command.channel)
        return
      case 'leave':
        client.leave(command.channel)
        model.targets.delete(command.channel)
    }
  }

  async #publish ({ to, name, size, transient, except, key }: Publish): Promise<void> {
    const { fastify: { sse: hub }, model, connections } = this.#app
    const n = ++number
    const data = { n, pad: 'x'.repeat(SIZES[size]) }
    const options = { transient, ...except === undefined ? {} : { except }, ...key === undefined ? {} : { idempotencyKey: key } }
    const before = model.known(key)
    const targets = to === 'all' ? ['*'] : typeof to === 'string' ? [`client ${to}`] : to
    const { event, to: recipients } = before === undefined
      ? model.publish({ n, targets, name, except, transient }, key, connections.filter(({ client }) => !client.closed).map(({ model }) => model))
      : { event: before, to: null }
    const published = await (to === 'all'
      ? hub.send(name, data, options)
      : typeof to === 'string'
        ? hub.toClient(to, name, data, options)
        : to.length === 1
          ? hub.toChannel(to[0]!, name, data, options)
          : hub.toChannels(to, name, data, options))
    if (before === undefined) event.id = published.id as string | null
    if (published.id !== event.id) throw new Error(`event ${n} has the id ${String(published.id)}, and not ${String(event.id)}`)
    if (recipients !== null && published.recipients !== recipients.length) throw new Error(`event ${n} had ${published.recipients} recipients, not ${recipients.length}`)
  }

  async #open ({ slot, channels, replay, names, broadcast, resumes, paused }: Open): Promise<void> {
    const before = this.#connections[slot]
    if (before !== undefined) this.#cut(before)
    const { fastify, model, socketPath, openings, connections } = this.#app
    const lastId = resumes ? this.#lastIds[slot] : undefined
    const id = this.#program.stable ? `c${slot % 2}` : undefined
    const options: SSEConnectOptions = { replay, broadcast, ...id === undefined ? {} : { id }, ...names === undefined ? {} : { events: names } }
    const connected = once(fastify.sse as never, 'connect') as Promise<[SSEClient]>
    const reader = new StreamClient({ socketPath }, `/${openings.push({ channels, options }) - 1}`, lastId === undefined ? {} : { 'last-event-id': lastId })
    if (paused) reader.pause()
    const [client] = await connected
    const targets = new Set([...channels, `client ${client.id}`, ...broadcast ? ['*'] : []])
    const connection: Connection = {
      model: model.connect({ targets, id: client.id, names }, model.place(lastId, this.#heads), replay),
      reader,
      client,
      replay,
      paused,
      wasPaused: paused,
      wasCut: false,
      reason: null,
      had: 0
    }
    connections.push(connection)
    clients.push(new WeakRef(client))
    this.#connections[slot] = connection
    this.#watch(connection, slot, model.position)
  }

  /** Keeps the last id of a slot up to date, and learns the places of ids that greetings tell. */
  #watch (connection: Connection, slot: number, position: number): void {
    const { reader } = connection
    const app = this.#app
    reader.changes.on('change', () => {
      const { greeting } = reader
      if (greeting?.id !== undefined && app === this.#app) this.#heads.set(greeting.id, position)
      if (this.#connections[slot] === connection && !connection.wasCut) this.#lastIds[slot] = reader.lastEventId ?? this.#lastIds[slot]
    })
  }

  #cut (connection: Connection): void {
    connection.wasCut = true
    connection.reader.destroy()
  }

  /** The app closes, and another one takes its place: it knows nothing of the first one's events. */
  async #restart (): Promise<void> {
    const { fastify, connections } = this.#app
    // It would wait for those that don't read.
    for (const connection of connections) if (connection.paused) this.#cut(connection)
    await fastify.close()
    for (const { reader } of connections) await reader.untilClosed()
    for (const connection of connections) this.#check(connection)
    this.#connections.fill(undefined)
    this.#heads.clear()
    this.#app = await this.#start()
  }

  /** Resolves when those that have always read have everything. */
  async #caughtUp (): Promise<void> {
    const waits = ({ model, reader, client, wasPaused, wasCut }: Connection): boolean => {
      const last = reader.events.at(-1)
      if (client.closed || wasPaused || wasCut || model.expected.length === 0 || last?.event === 'sse:gap') return false
      return last === undefined || numberOf(last.data) !== model.expected.at(-1)
    }
    while (this.#app.connections.some(waits)) await new Promise(resolve => setImmediate(resolve))
  }

  /** All read, until all is there. */
  async #settle (): Promise<void> {
    await Promise.all(this.#app.connections.map(async connection => {
      const { reader, client, model } = connection
      if (connection.wasCut) return
      if (connection.paused) reader.resume()
      connection.paused = false
      const marked = (): boolean => reader.events.at(-1)?.event === 'mark'
      while (!client.closed && !reader.closed && !marked()) {
        const n = ++number
        model.expected.push(n)
        // Where it is dropped like all that waits, it is sent again.
        if (await client.send('mark', { n })) while (!reader.closed && !marked()) await once(reader.changes, 'change')
        else await new Promise(resolve => setImmediate(resolve))
      }
      if (client.closed) await reader.untilClosed()
    }))
  }

  /** Compares what came with what the model promises. */
  #check (connection: Connection): void {
    const { model, reader, reason, had, wasCut, wasPaused, client, replay } = connection
    const fail = (what: string): never => {
      const came = reader.events.map(({ id, event, data }) => `${event} ${data.slice(0, 60)}${id === undefined ? '' : ` [${id}]`}`)
      throw new Error(`${what}\nexpected: ${model.expected.join(' ')}\ncame: ${came.join('\n      ')}\nreplay ${replay}, ${wasCut ? 'cut' : `ended: ${String(reason)}`}`)
    }
    let at = 0
    /** How many events are told to be lost since the last one that came. */
    let told = 0
    /** A replay tells as soon as it finds out that something ahead of it is gone, and does not know how much. */
    let ahead = false
    let missed = 0
    const missing = (from: number, to: number): void => {
      const replayed = Math.max(0, Math.min(to, model.replayed) - from)
      if (replayed > 0 && !ahead) fail(`${replayed} events are missing in a replay, and nobody told`)
      missed += replayed
      const live = to - from - replayed
      if (live !== told) fail(`${told} events are told to be lost, and ${live} are missing`)
      told = 0
    }
    for (const [index, { event, data }] of reader.events.entries()) {
      if (event === 'sse:open') {
        const { recovered } = JSON.parse(data) as { recovered: boolean }
        if (index > 0) fail('the greeting is not the first')
        if (model.recovered !== null && recovered !== model.recovered) fail(`recovered is ${recovered}`)
      } else if (event === 'sse:gap') {
        const { lost } = JSON.parse(data) as { lost: number | null }
        if (lost === null) ahead = true
        else told += lost
      } else {
        const n = numberOf(data)
        const found = model.expected.indexOf(n, at)
        if (found === -1) fail(model.expected.includes(n) ? `event ${n} came twice, or late` : `event ${n} is not for this client`)
        missing(at, found)
        at = found + 1
      }
    }
    if (!wasCut && reason !== 'slow') {
      missing(at, model.expected.length)
      if (ahead && missed === 0 && !model.cautious) fail('events are told to be lost, and none is')
    }
    // More than may wait can come while a long replay still fills its socket: then it has to come back for it, however fast
    // it reads. What counts is what it had when it was ended: what its socket held by then, it reads afterwards.
    const replaying = had < model.replayed
    if (reason === 'slow' && ((!wasPaused && !replaying) || this.#program.slowClient === 'drop')) fail('a client that reads was taken for slow')
    if (reason !== null && !wasCut && !['slow', 'server', 'shutdown'].includes(reason)) fail('it should not have gone')
    if (client.closed && reason === null) fail('nobody was told that it went')
  }

  /** What the hub counted, and that nothing is left when all have gone. */
  async #checkEnd (): Promise<void> {
    const { fastify: { sse: hub }, model, connections } = this.#app
    const same = (what: string, actual: unknown, expected: unknown): void => {
      if (actual !== expected) throw new Error(`${what} is ${String(actual)}, not ${String(expected)}`)
    }
    const { published, connections: opened, dropped, delivered, replayed } = hub.stats()
    same('published', published, model.published)
    same('connections', opened, connections.length)
    const seen = connections.reduce((count, { reader }) => count + reader.own.length, 0)
    const lost = connections.flatMap(({ reader }) => reader.events.filter(({ event }) => event === 'sse:gap')).reduce((count, { data }) => count + (JSON.parse(data).lost ?? 0), 0)
    // What was on its way to those that were cut, nobody saw.
    const whole = connections.every(({ wasCut, reason }) => !wasCut && reason !== 'slow')
    if (whole ? delivered + replayed !== seen : delivered + replayed < seen) throw new Error(`${delivered} delivered and ${replayed} replayed, ${seen} seen`)
    if (whole ? dropped !== lost : dropped < lost) throw new Error(`${dropped} dropped, ${lost} told`)
    for (const { reader } of connections) reader.destroy()
    while (hub.clientCount() > 0 || hub.stats().bufferedBytes > 0) await new Promise(resolve => setImmediate(resolve))
    same('channels', hub.channels().length, 0)
    same('listeners', (hub as EventEmitter).listenerCount('disconnect'), 1)
  }
}
