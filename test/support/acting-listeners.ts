// The listeners of a random program on one of its apps. They do to the hub, and to its model, all that an application may do.
import type { EventEmitter } from 'node:events'
import type { SSEHubEvents } from '../../lib/index.js'
import type { ModelledApp } from './modelled-app.js'
import { nextNumber } from './modelled-app.js'
import type { ModelledConnection } from './modelled-connection.js'
import { letPass } from './passing-time.js'
import { CHANNELS } from './program-places.js'
import type { Act, Listener } from './program-listeners.js'

/** In milliseconds. It is longer than the hub's queue may hold the event loop. */
const LONG = 11

/** What a listener is told of. */
interface Occasion {
  readonly connection: ModelledConnection
  /** The channel of a `join` or `leave`. */
  readonly channel: string
}

/** One of the program's listeners, with the functions that the emitters call. */
interface Acting {
  readonly listener: Listener
  readonly call: (...args: any[]) => unknown
  /** The functions for `signal`, one for each connection. */
  readonly onAbort: Map<ModelledConnection, () => unknown>
}

export interface ActingParts {
  readonly app: ModelledApp
  readonly listeners: readonly Listener[]
  /** How often each of them may still act, in all apps of the program together. */
  readonly left: number[]
  /** The connection in each slot. */
  readonly slots: ReadonlyArray<ModelledConnection | undefined>
  readonly fail: (error: unknown) => void
}

export class ActingListeners {
  readonly #parts: ActingParts
  readonly #acting: readonly Acting[]
  /** The publishes and closes that have not ended. */
  readonly #pending = new Set<Promise<void>>()
  /** What they sent to single clients. Each of these settles when the client has read it, or is gone. */
  readonly #sends: Array<Promise<unknown>> = []
  #quiet = false

  constructor (parts: ActingParts) {
    this.#parts = parts
    this.#acting = parts.listeners.map((listener, index) => ({ listener, call: this.#callOf(listener, index), onAbort: new Map() }))
    for (const acting of this.#acting) if (acting.listener.on !== 'signal') this.#add(acting, null)
  }

  /** Adds the listeners of the signal of a client that has come to a slot. */
  watch (connection: ModelledConnection, slot: number): void {
    for (const acting of this.#acting) if (acting.listener.on === 'signal' && acting.listener.slot === slot) this.#add(acting, connection)
  }

  /** The listeners do nothing from now on. Resolves when all that they did is done. */
  async stop (): Promise<void> {
    this.#quiet = true
    await this.done()
  }

  /** Resolves when all their publishes and closes have ended. */
  async done (): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending)
  }

  /** Resolves when all that was sent to single clients has settled. It is called after the app's close. */
  async sent (): Promise<void> {
    await Promise.all(this.#sends)
  }

  /** Whether all listeners of an event are of this program, except for the two of `Heard`. */
  ownsAll (event: keyof SSEHubEvents): boolean {
    const own = new Set<unknown>(this.#acting.map(({ call }) => call))
    return this.#emitter.listeners(event).filter(listener => !own.has(listener)).length === 2
  }

  get #emitter (): EventEmitter<SSEHubEvents> {
    return this.#parts.app.hub as EventEmitter<SSEHubEvents>
  }

  #add ({ listener: { on, once }, call, onAbort }: Acting, connection: ModelledConnection | null): void {
    if (on !== 'signal') {
      if (once) this.#emitter.once(on, call)
      else this.#emitter.on(on, call)
    } else if (connection?.client != null) {
      let listener = onAbort.get(connection)
      if (listener === undefined) onAbort.set(connection, listener = () => call(connection))
      connection.client.signal.addEventListener('abort', listener, { once })
    }
  }

  #remove ({ listener: { on }, call, onAbort }: Acting, connection: ModelledConnection): void {
    if (on !== 'signal') this.#emitter.off(on, call)
    else if (onAbort.has(connection)) connection.client!.signal.removeEventListener('abort', onAbort.get(connection)!)
  }

  /** The function of a listener. It gets the arguments of the event, or on `signal` the connection. */
  #callOf (listener: Listener, index: number): Acting['call'] {
    const { app, left } = this.#parts
    const connectionOf = ({ metadata }: any): ModelledConnection => app.connections.find(({ opening }) => opening === metadata.opening)!
    return (about, channel) => {
      const { on } = listener
      const connection = on === 'signal' ? about as ModelledConnection : connectionOf(about)
      app.heard.check(connection, on)
      if (this.#quiet || left[index]! <= 0) return
      left[index]!--
      return this.#act(listener, 0, { connection, channel: on === 'join' || on === 'leave' ? channel : CHANNELS[0] })
    }
  }

  /** Does the listener's acts from one of them on. The acts after an awaited publish are done in a later turn. */
  #act (listener: Listener, from: number, occasion: Occasion): unknown {
    for (const [index, act] of listener.acts.entries()) {
      if (this.#quiet) return
      if (index < from) continue
      const done = this.#do(act, listener, occasion)
      if (done === null) continue
      return done.then(() => this.#act(listener, index + 1, occasion))
    }
    return end(listener.ends)
  }

  /** Returns a promise if the listener awaits the act. */
  #do (act: Act, listener: Listener, { connection, channel }: Occasion): Promise<void> | null {
    const { app, slots } = this.#parts
    const whose = 'whose' in act && act.whose !== 'its' ? slots[act.whose] : connection
    const where = 'where' in act && act.where !== 'same' ? act.where : channel
    switch (act.do) {
      case 'publish': {
        // A socket has no room for many large events at once, even if its client reads.
        if (act.publish.size !== 'small') for (const connection of app.connections) connection.mayBeSlow = true
        const published = this.#watched(app.publish(act.publish))
        return act.awaited ? published : null
      }
      case 'close':
        whose?.client?.close()
        return null
      case 'join':
        whose?.join(where)
        return null
      case 'leave':
        whose?.leave(where)
        return null
      case 'send':
        if (whose?.client != null) this.#sends.push(whose.send('direct', nextNumber()).catch(this.#parts.fail))
        return null
      case 'close the app':
        this.#watched(app.close())
        return null
      case 'add': {
        const added = this.#acting[act.which]
        if (added !== undefined) this.#add(added, connection)
        return null
      }
      case 'remove': {
        const removed = this.#acting[act.which]
        if (removed !== undefined) this.#remove(removed, connection)
        return null
      }
      case 'dawdle':
        letPass(LONG)
        return null
      case 'remove itself':
        this.#remove(this.#acting.find(acting => acting.listener === listener)!, connection)
        return null
    }
  }

  #watched (promise: Promise<void>): Promise<void> {
    const watched = promise.catch(this.#parts.fail).finally(() => this.#pending.delete(watched))
    this.#pending.add(watched)
    return watched
  }
}

/** How a listener ends. */
function end (how: Listener['ends']): unknown {
  switch (how) {
    case 'returns': return
    case 'throws an error': throw new Error('a listener throws')
    // eslint-disable-next-line no-throw-literal
    case 'throws a text': throw 'a listener throws'
    // eslint-disable-next-line no-throw-literal
    case 'throws nothing': throw undefined
    case 'rejects': return Promise.reject(new Error('a listener rejects'))
    case 'never settles': return new Promise(() => {})
    case 'returns a thenable': return { then: (resolve: () => void) => resolve() }
    case 'returns a thenable that throws': return { then: () => { throw new Error('a thenable throws') } }
  }
}
