// What an application hears of its clients, by the hub's events and by their signals. It checks that the events of
// each client come once, in order and in the context of the client's request, and that they agree with what the hub itself says.
import type { AsyncLocalStorage } from 'node:async_hooks'
import type { EventEmitter } from 'node:events'
import type { SSEClient, SSEHub, SSEHubEvents, SSEMetadata } from '../../lib/index.js'
import { CHANNELS } from './program-places.js'
import type { ModelledConnection } from './modelled-connection.js'

/** A listener's stack has at most this many frames, even if listeners cause each other. */
const MAX_STACK = 100
/** One stack is measured for this many events. */
const SAMPLE = 8
/** After this many turns of the event loop, the queue of the hub is empty. */
const TURNS = 200
const EVENTS = ['connect', 'disconnect', 'join', 'leave'] as const

/** What was heard of one connection. */
interface Story {
  connected: boolean
  disconnected: boolean
  readonly channels: Set<string>
  /** Whether this file listens to its signal, and whether the signal was aborted. */
  watched: boolean
  aborted: boolean
}

export interface HeardParts {
  readonly hub: SSEHub
  /** The context of each request holds the number of its opening. */
  readonly contexts: AsyncLocalStorage<number>
  readonly connectionOf: (opening: number) => ModelledConnection
  readonly fail: (what: string) => void
}

export class Heard {
  readonly #parts: HeardParts
  readonly #stories = new Map<ModelledConnection, Story>()
  /** How many events came to the first listeners, and how many to the listeners that `listenLast` added. */
  #first = 0
  #last = 0
  #events = 0

  /** Must be called before any other listener is added. */
  constructor (parts: HeardParts) {
    this.#parts = parts
    const { hub } = parts
    hub.on('connect', client => this.#hear('connect', client.metadata, (story, connection) => {
      connection.client = client
      connection.told = true
      this.#connected(client, story)
      if (connection.asksForSignal === 'connect') this.watch(connection)
    }))
    hub.on('disconnect', (client, reason) => this.#hear('disconnect', client.metadata, (story, connection) => {
      connection.reason = reason
      this.#disconnected(client, story)
    }))
    hub.on('join', ({ metadata }, channel) => this.#hear('join', metadata, (story, { client }) => this.#joined(client!, story, channel)))
    hub.on('leave', ({ metadata }, channel) => this.#hear('leave', metadata, story => this.#left(story, channel)))
  }

  /** Adds listeners after those of the program. They must hear all events, even if a listener before them throws. */
  listenLast (): void {
    for (const event of EVENTS) (this.#parts.hub as EventEmitter<SSEHubEvents>).on(event, () => { this.#last++ })
  }

  /** Listens to a connection's signal. */
  watch (connection: ModelledConnection): void {
    const story = this.#storyOf(connection)
    const { signal } = connection.client!
    story.aborted = signal.aborted
    story.watched = true
    signal.addEventListener('abort', () => {
      this.check(connection, 'signal')
      if (story.aborted) this.#parts.fail('a signal was aborted twice')
      if (story.disconnected) this.#parts.fail('a signal was aborted after "disconnect"')
      if (connection.open) this.#parts.fail('a signal was aborted while its client is open')
      story.aborted = true
    })
  }

  /** Checks how a listener about a connection runs: in the context of the connection's request, and on a short stack. */
  check (connection: ModelledConnection, event: string): void {
    const { contexts, fail } = this.#parts
    const context = contexts.getStore()
    if (context !== connection.opening) fail(`a listener of "${event}" about client ${connection.opening} runs in the context of ${String(context)}`)
    if (++this.#events % SAMPLE !== 0) return
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = Infinity
    const frames = new Error().stack!.split('\n').length
    Error.stackTraceLimit = stackTraceLimit
    if (frames > MAX_STACK) fail(`the stack of a listener of "${event}" has ${frames} frames`)
  }

  /** Resolves when the events agree with what the hub says. Rejects if they do not after `TURNS` turns. */
  async atRest (): Promise<void> {
    for (let turn = 0; ; turn++) {
      const difference = this.#difference()
      if (difference === null) return
      if (turn === TURNS) throw new Error(difference)
      // The queue may go on in the next turn.
      await new Promise(resolve => setImmediate(resolve))
    }
  }

  #difference (): string | null {
    const { hub } = this.#parts
    if (this.#first !== this.#last) return `the first listeners heard ${this.#first} events, and the last ones ${this.#last}`
    const named = (clients: readonly SSEClient[]): string => clients.map(({ metadata }) => metadata.opening).join(' ')
    const stories = [...this.#stories]
    const there = stories.filter(([, { connected, disconnected }]) => connected && !disconnected).map(([{ client }]) => client!)
    if (!isSame(there, hub.clients())) return `by the events the clients ${named(there)} are there, and by the hub ${named(hub.clients())}`
    for (const channel of CHANNELS) {
      const inside = stories.filter(([, { channels }]) => channels.has(channel)).map(([{ client }]) => client!)
      const clients = hub.channelClients(channel)
      if (!isSame(inside, clients)) return `by the events the clients ${named(inside)} are in "${channel}", and by the hub ${named(clients)}`
    }
    for (const [{ client, opening, open }, { watched, aborted }] of stories) {
      if (watched && aborted === open) return `client ${opening} is ${open ? 'open' : 'closed'}, and its signal is ${aborted ? '' : 'not '}aborted`
      if (!open && !client!.signal.aborted) return `client ${opening} is closed, and its signal, made after that, is not aborted`
    }
    return null
  }

  #storyOf (connection: ModelledConnection): Story {
    let story = this.#stories.get(connection)
    if (story === undefined) {
      story = { connected: false, disconnected: false, channels: new Set(), watched: false, aborted: false }
      this.#stories.set(connection, story)
    }
    return story
  }

  #hear (event: string, metadata: SSEMetadata, tell: (story: Story, connection: ModelledConnection) => void): void {
    this.#first++
    const connection = this.#parts.connectionOf(metadata.opening as number)
    tell(this.#storyOf(connection), connection)
    this.check(connection, event)
  }

  #connected (client: SSEClient, story: Story): void {
    const { fail } = this.#parts
    if (story.connected) fail('"connect" is told twice')
    if (client.closed) fail('"connect" is told of a client that is closed')
    story.connected = true
  }

  #disconnected (client: SSEClient, story: Story): void {
    const { hub, fail } = this.#parts
    if (!story.connected) fail('"disconnect" is told without "connect"')
    if (story.disconnected) fail('"disconnect" is told twice')
    if (story.watched && !story.aborted) fail('"disconnect" is told before the signal is aborted')
    if (!client.closed || hub.clients().includes(client)) fail('"disconnect" is told of a client that is still there')
    for (const channel of client.channels) if (hub.channelClients(channel).includes(client)) fail(`"disconnect" is told of a client that is still in "${channel}"`)
    story.disconnected = true
  }

  #joined (client: SSEClient, { connected, disconnected, channels }: Story, channel: string): void {
    const { hub, fail } = this.#parts
    if (!connected || disconnected) fail('"join" is told of a client before "connect" or after "disconnect"')
    if (channels.has(channel)) fail(`"join" of "${channel}" is told twice`)
    if (!hub.channelClients(channel).includes(client)) fail(`"join" is told of a client that is not in "${channel}"`)
    channels.add(channel)
  }

  #left ({ channels }: Story, channel: string): void {
    if (!channels.delete(channel)) this.#parts.fail(`"leave" of "${channel}" is told without "join"`)
  }
}

function isSame (some: readonly SSEClient[], others: readonly SSEClient[]): boolean {
  return some.length === others.length && some.every(client => others.includes(client))
}
