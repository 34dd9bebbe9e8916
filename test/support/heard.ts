// What an application hears of its clients, by the hub's events and their signals, and whether that is a true story: for each
// client, in order, once, in the context of its request, and like what the hub itself says.
import type { AsyncLocalStorage } from 'node:async_hooks'
import type { EventEmitter } from 'node:events'
import type { SSEClient, SSEHub, SSEHubEvents, SSEMetadata } from '../../lib/index.js'
import { CHANNELS } from './program-places.js'
import type { ModelledConnection } from './modelled-connection.js'

/** Frames of a listener's stack, at most: listeners that cause each other take no more. */
const MAX_STACK = 100
/** Of so many events, one stack is measured. */
const SAMPLE = 8
/** Turns of the event loop after which the queue of the hub is empty. */
const TURNS = 200
const EVENTS = ['connect', 'disconnect', 'join', 'leave'] as const

/** What was heard of one connection. */
interface Story {
  connected: boolean
  disconnected: boolean
  readonly channels: Set<string>
  /** Whether its signal is listened to, and was aborted. */
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
  /** Events heard by the first listener of each, and by the last of those that were there at first. */
  #first = 0
  #last = 0
  #events = 0

  /** Its listeners are to be the first ones. */
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

  /** Counts what comes to the last listeners: one that throws before them stops nothing. */
  listenLast (): void {
    for (const event of EVENTS) (this.#parts.hub as EventEmitter<SSEHubEvents>).on(event, () => { this.#last++ })
  }

  /** Listens to a connection's signal, once somebody asks for it. */
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

  /** Checks the place where a listener about a connection runs: the context of its request, and a flat stack. */
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

  /** Resolves once what was heard is what the hub says; rejects where it never will be. */
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
