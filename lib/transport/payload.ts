// The payload of `reply.send()`: what Fastify, the app's hooks and `stream.finished` see of an event stream.
// It must not know of responses, sockets or clients.
import { Readable } from 'node:stream'
import { guarded } from '../guarded.js'

/** One of `once` has the listener that it was made of. */
type Listener = ((...args: unknown[]) => void) & { readonly listener?: Listener }

/**
 * It stands in for a `Readable`, which costs 3 KB a connection, and has only the members that Fastify and
 * `stream.finished` use. A hook that reads it, or pipes it elsewhere than into the response, gets a real `Readable`.
 */
export abstract class Payload {
  /** Listeners from the time before the payload is piped or read. */
  #listeners: Array<[event: string, listener: Listener]> | null = []
  #readable: Readable | null = null

  on (event: string, listener: Listener): this {
    if (event === 'data' || event === 'readable') this.materialise()
    if (this.#readable !== null) this.#readable.on(event, listener)
    else this.#listeners?.push([event, listener])
    return this
  }

  once (event: string, listener: Listener): this {
    const once = (...args: unknown[]): void => {
      this.off(event, once)
      listener.apply(this, args)
    }
    // By this property, Node's own `off` finds it too.
    once.listener = listener
    return this.on(event, once)
  }

  off (event: string, listener: Listener): this {
    this.#readable?.off(event, listener)
    this.#listeners = this.#listeners?.filter(([of, its]) => of !== event || (its !== listener && its.listener !== listener)) ?? null
    return this
  }

  addListener (event: string, listener: Listener): this {
    return this.on(event, listener)
  }

  removeListener (event: string, listener: Listener): this {
    return this.off(event, listener)
  }

  [Symbol.asyncIterator] (): AsyncIterator<Buffer> {
    return this.materialise()[Symbol.asyncIterator]()
  }

  /** Fastify calls it where the response has no body. */
  resume (): this {
    this.#readable?.resume()
    return this
  }

  /**
   * The `Readable` that a hook reads or pipes, if one does. Not named `readable`: Node takes that for a stream's state.
   */
  protected get materialised (): Readable | null {
    return this.#readable
  }

  /** Makes the `Readable`, once. */
  protected materialise (): Readable {
    if (this.#readable !== null) return this.#readable
    const readable = this.#readable = new Readable({
      read: () => this.onRead(),
      destroy: (error, done) => {
        this.onReadableClose()
        done(error)
      }
    })
    for (const [event, listener] of this.#listeners ?? []) readable.on(event, listener)
    this.#listeners = null
    this.onMaterialised()
    return readable
  }

  /** Tells that the payload has ended, or why it never will. It tells nothing else afterwards. */
  protected emitLast (told: 'end' | 'error', ...args: unknown[]): void {
    const listeners = this.#listeners ?? []
    this.#listeners = null
    for (const [event, listener] of listeners) if (event === told) guarded(() => listener(...args), error => this.onListenerFailed(error))
  }

  protected abstract onMaterialised (): void
  /** The reader of the `Readable` wants more. */
  protected abstract onRead (): void
  /** The `Readable` is destroyed: it has ended, or its reader has destroyed it. */
  protected abstract onReadableClose (): void
  /** A listener failed. The stream must open and end all the same. */
  protected abstract onListenerFailed (error: unknown): void
}
