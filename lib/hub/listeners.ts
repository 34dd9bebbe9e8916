// Tells the application what happens to its clients: by the hub's events, the clients' signals and node:diagnostics_channel. All of
// it runs in order, from the queue that runs when the hub's own work is done. It must not know of requests and replies.
//
// `connect` and `disconnect` are a pair, and so are `join` and `leave` of one channel. The first of a pair is told only when it is
// still true in its turn. If it was not told, the second is not told either. So an application that adds 1 at `join` and takes 1
// away at `leave` always has the right count.
// Example: a client is in "a" and "b", and a `connect` listener closes it. `connect` was told, so `disconnect` is told too. When
// the two `join` have their turns, the client is closed already. So no `join` is told, and no `leave`.
import type { EventEmitter } from 'node:events'
import type { SSEDisconnectReason, SSEHubEvents, SSEPresence } from '../../types/index.js'
import type { Client } from '../client/client.js'
import { guarded } from '../guarded.js'
import type { Diagnostics } from './diagnostics.js'
import type { HubLog } from './hub-log.js'
import type { Presence } from './presence.js'
import type { Work } from './work.js'

export class Listeners {
  readonly #emitter: EventEmitter<SSEHubEvents>
  readonly #work: Work
  readonly #diagnostics: Diagnostics
  readonly #presence: Presence
  readonly #log: HubLog
  /** Clients whose `connect` was not told, and channels whose `join` was not told. The turn of the second event removes them. */
  readonly #unheard = new Set<Client>()
  readonly #unheardIn = new Map<Client, Set<string>>()

  constructor (emitter: EventEmitter<SSEHubEvents>, work: Work, diagnostics: Diagnostics, presence: Presence, log: HubLog) {
    this.#emitter = emitter
    this.#work = work
    this.#diagnostics = diagnostics
    this.#presence = presence
    this.#log = log
  }

  /** Called when a client of this instance was put into its channels. */
  came (client: Client, channels: readonly string[]): void {
    this.#log.debug({ clientId: client.id, channels }, 'client connected')
    this.#work.after(() => {
      if (client.closed) {
        this.#unheard.add(client)
      } else {
        this.#diagnostics.connected(client)
        this.#emit('connect', client)
      }
      for (const channel of channels) this.#join(client, channel)
    }, client.context)
  }

  /** Called when a client of this instance was removed. */
  went (client: Client, reason: SSEDisconnectReason): void {
    this.#log.debug({ clientId: client.id, reason }, 'client disconnected')
    this.abort(client)
    this.#work.after(() => {
      if (!this.#unheard.delete(client)) {
        this.#diagnostics.disconnected(client, reason)
        this.#emit('disconnect', client, reason)
      }
      for (const channel of client.channelNames()) this.#leave(client, channel)
    }, client.context)
  }

  joined (client: Client, channel: string): void {
    this.#work.after(() => this.#join(client, channel), client.context)
  }

  left (client: Client, channel: string): void {
    this.#work.after(() => this.#leave(client, channel), client.context)
  }

  /** Called when a client of another instance joined or left. */
  movedElsewhere (change: 'join' | 'leave', who: SSEPresence, channel: string): void {
    this.#work.after(() => this.#emit(change, who, channel))
  }

  /** Aborts a client's signal. */
  abort (client: Client): void {
    this.#work.after(() => client.abortSignal(), client.context)
  }

  #join (client: Client, channel: string): void {
    if (!client.closed && client.isIn(channel)) return this.#moved('join', client, channel)
    const unheard = this.#unheardIn.get(client)
    if (unheard === undefined) this.#unheardIn.set(client, new Set([channel]))
    else unheard.add(channel)
  }

  #leave (client: Client, channel: string): void {
    const unheard = this.#unheardIn.get(client)
    if (unheard?.delete(channel) !== true) return this.#moved('leave', client, channel)
    if (unheard.size === 0) this.#unheardIn.delete(client)
  }

  #moved (change: 'join' | 'leave', client: Client, channel: string): void {
    if (this.#emitter.listenerCount(change) > 0) this.#emit(change, this.#presence.of(client), channel)
  }

  #emit<Event extends keyof SSEHubEvents> (event: Event, ...args: SSEHubEvents[Event]): void {
    const failed = (error: unknown): void => this.#log.error({ err: error }, `a listener of "${event}" failed`)
    for (const listener of this.#emitter.rawListeners(event) as Array<(...args: unknown[]) => unknown>) {
      guarded(() => listener.apply(this.#emitter, args), failed)
    }
  }
}
