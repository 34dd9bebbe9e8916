// One app of a random program: a real hub with real clients, and the model of what it promises.
import { AsyncLocalStorage } from 'node:async_hooks'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import sse, { SSE_ERR_CLOSED, type SSEClient, type SSEConnectOptions, type SSEHub, type SSEPublished } from '../../lib/index.js'
import { Heard } from './heard.js'
import type { Open, Program } from './hub-program.js'
import { ModelHub } from './model-hub.js'
import { ModelledConnection, numberOf } from './modelled-connection.js'
import { SIZES, type Publish } from './program-publishes.js'
import { StreamClient } from './stream-client.js'
import { WatchedBroker } from './watched-broker.js'

type Request = FastifyRequest<{ Params: { opening: string } }>

/** A request for a stream. */
interface Opening {
  readonly open: Open
  readonly id: string | undefined
  readonly lastEventId: string | undefined
  readonly reader: StreamClient
  /** Whether the handler was called. */
  answered: boolean
  /** Called in the handler, before the hub makes the client. */
  readonly begun: (connection: ModelledConnection) => void
  /** Called in the handler, after that. */
  readonly opened: (connection: ModelledConnection) => void
  /** Called after the handler. It gets `null` if the hub refused. */
  readonly settle: (connection: ModelledConnection | null) => void
}

interface AppParts {
  readonly fastify: FastifyInstance
  readonly model: ModelHub
  readonly broker: WatchedBroker
  readonly socketPath: string
  /** Called with what an application must not hear. */
  readonly fail: (what: string) => void
}

/** The context of a request holds the number of its opening. There is one storage for all apps, because Node never frees one. */
const contexts = new AsyncLocalStorage<number>()
/** The number of the newest event, over all programs. */
let number = 0
/** All clients of all programs. The test checks at the end that they are not in memory any more. */
export const clients: Array<WeakRef<SSEClient>> = []

export function nextNumber (): number {
  return ++number
}

export class ModelledApp {
  readonly connections: ModelledConnection[] = []
  readonly heard: Heard
  readonly #parts: AppParts
  readonly #openings: Opening[] = []
  /** The ids of greetings, and their positions. Such an id may be that of no event. */
  readonly #heads = new Map<string, number>()
  /** Whether somebody has begun to close it. */
  closing = false

  static async start ({ historySize, slowClient, maxBufferedBytes }: Program, socketPath: string, fail: AppParts['fail']): Promise<ModelledApp> {
    const fastify = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance
    const model = new ModelHub(historySize)
    const broker = new WatchedBroker(({ data }, id) => model.delivered(numberOf(data), id))
    await fastify.register(sse, { broker, historySize, slowClient, maxBufferedBytes, closeTimeout: 10_000, reconnectSpread: 0 })
    const app = new ModelledApp({ fastify, model, broker, socketPath, fail })
    await fastify.listen({ path: socketPath })
    return app
  }

  private constructor (parts: AppParts) {
    this.#parts = parts
    const { fastify, fail } = parts
    fastify.sse.setMaxListeners(0)
    this.heard = new Heard({ hub: fastify.sse, contexts, connectionOf: opening => this.connections.find(connection => connection.opening === opening)!, fail })
    fastify.addHook('onRequest', (request, _reply, done) => contexts.run(Number((request as Request).params.opening), done))
    fastify.get('/:opening', (request, reply) => this.#answer(request as Request, reply))
  }

  get hub (): SSEHub {
    return this.#parts.fastify.sse
  }

  /**
   * Resolves when the hub has made the client, or with `null` if it refused.
   * @param begun gets the connection before its client is made
   * @param opened gets the connection after that, in the route's handler
   */
  open (open: Open, id: string | undefined, lastEventId: string | undefined, begun: Opening['begun'], opened: Opening['opened']): Promise<ModelledConnection | null> {
    const reader = new StreamClient({ socketPath: this.#parts.socketPath }, `/${this.#openings.length}`, lastEventId === undefined ? {} : { 'last-event-id': lastEventId })
    if (open.paused) reader.pause()
    return new Promise(resolve => {
      this.#openings.push({ open, id, lastEventId, reader, answered: false, begun, opened, settle: resolve })
      reader.changes.on('change', () => { if (reader.closed) resolve(null) })
    })
  }

  /** The route's handler. */
  #answer ({ params }: Request, reply: FastifyReply): void {
    const { model } = this.#parts
    const opening = this.#openings[Number(params.opening)]!
    const { open, id, lastEventId, reader, begun, opened, settle } = opening
    const { channels, replay, names, broadcast } = open
    opening.answered = true
    const options: SSEConnectOptions = { replay, broadcast, metadata: { opening: Number(params.opening) }, ...id === undefined ? {} : { id }, ...names === undefined ? {} : { events: names } }
    const asked = { targets: new Set([...channels, ...broadcast ? ['*'] : [], ...id === undefined ? [] : [`client ${id}`]]), id: id ?? '', names }
    const place = model.place(lastEventId, this.#heads)
    const { position } = model
    const connection = new ModelledConnection(model.connect(asked, place, replay), reader, Number(params.opening), open)
    this.connections.push(connection)
    const askedNow = { ...asked, targets: connection.model.targets }
    connection.retarget = () => model.retarget(connection.model, askedNow, place, position, replay)
    begun(connection)
    try {
      connection.client = reply.sse(channels, options)
    } catch (error) {
      this.connections.splice(this.connections.indexOf(connection), 1)
      settle(null)
      throw error
    }
    clients.push(new WeakRef(connection.client))
    // The hub has asked for a tick in which the stream begins. This tick comes after it.
    process.nextTick(() => model.begun(connection.model, askedNow, place, position, replay))
    reader.changes.on('change', () => {
      if (reader.greeting?.id !== undefined) this.#heads.set(reader.greeting.id, position)
    })
    if (open.signal === 'handler') this.heard.watch(connection)
    opened(connection)
    settle(connection)
  }

  /** Publishes on the hub and on the model. Rejects if the hub does something else than the model. */
  async publish (publish: Publish): Promise<void> {
    const { broker, model } = this.#parts
    const { to, name, transient, except, key } = publish
    const n = nextNumber()
    if (broker.closed) return await this.#refused(n, this.#send(n, publish))
    const targets = to === 'all' ? ['*'] : typeof to === 'string' ? [`client ${to}`] : to
    const event = model.known(key) ?? model.publish({ n, targets, name, except, transient }, key, this.connections.filter(({ open }) => open).map(({ model }) => model))
    const { id, recipients } = await this.#send(n, publish)
    if (id !== event.id) throw new Error(`event ${n} has the id ${String(id)}, and not ${String(event.id)}`)
    if (recipients !== event.recipients) throw new Error(`event ${n} had ${recipients} recipients, not ${event.recipients}`)
  }

  #send (n: number, { to, name, size, transient, except, key }: Publish): Promise<SSEPublished> {
    const { hub } = this
    const data = { n, pad: 'x'.repeat(SIZES[size]) }
    const options = { transient, ...except === undefined ? {} : { except }, ...key === undefined ? {} : { idempotencyKey: key } }
    if (to === 'all') return hub.send(name, data, options)
    if (typeof to === 'string') return hub.toClient(to, name, data, options)
    return to.length === 1 ? hub.toChannel(to[0]!, name, data, options) : hub.toChannels(to, name, data, options)
  }

  async #refused (n: number, sent: Promise<SSEPublished>): Promise<void> {
    let refused = false
    await sent.catch(error => {
      if (!(error instanceof SSE_ERR_CLOSED)) throw error
      refused = true
    })
    if (!refused) throw new Error(`event ${n} is said to be published, and the hub was closed`)
  }

  /** May be called several times. */
  async close (): Promise<void> {
    this.closing = true
    // The request may be refused. A paused reader would not read that answer, and a server that closes would wait for it.
    for (const { open, reader, answered } of this.#openings) if (open.paused && !answered) reader.destroy()
    await this.#parts.fastify.close()
    for (const { settle } of this.#openings) settle(null)
  }

  /** Checks the app after its close. */
  async checkClosed (): Promise<void> {
    const { hub, connections } = this
    if (!this.#parts.broker.closed) throw new Error('the app is closed, and its broker is not')
    await this.publish({ to: 'all', name: 'late', size: 'small', transient: false, except: undefined, key: undefined })
    await this.heard.atRest()
    same('clients', hub.clientCount(), 0)
    for (const { reader } of connections) await reader.untilClosed()
  }

  /** Checks what the hub counted, and that nothing is left when all clients are gone. */
  async checkEnd (): Promise<void> {
    const { hub, connections } = this
    const { published, connections: opened, dropped, delivered, replayed } = hub.stats()
    same('published', published, this.#parts.model.published)
    same('connections', opened, connections.length)
    const seen = connections.reduce((count, { reader }) => count + reader.own.length, 0)
    const lost = connections.flatMap(({ reader }) => reader.events.filter(({ event }) => event === 'sse:gap')).reduce((count, { data }) => count + (JSON.parse(data).lost ?? 0), 0)
    // Nobody saw the events that were on their way to a client when it was cut.
    const whole = connections.every(({ wasCut, reason, told }) => told && !wasCut && reason !== 'slow')
    if (whole ? delivered + replayed !== seen : delivered + replayed < seen) throw new Error(`${delivered} delivered and ${replayed} replayed, ${seen} seen`)
    if (whole ? dropped !== lost : dropped < lost) throw new Error(`${dropped} dropped, ${lost} told`)
    for (const { reader } of connections) reader.destroy()
    while (hub.clientCount() > 0 || hub.stats().bufferedBytes > 0) await new Promise(resolve => setImmediate(resolve))
    same('channels', hub.channels().length, 0)
  }
}

function same (what: string, actual: unknown, expected: unknown): void {
  if (actual !== expected) throw new Error(`${what} is ${String(actual)}, not ${String(expected)}`)
}
