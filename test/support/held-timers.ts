// Timers of a client in the test's own process. They are held until the test runs them, so no test waits or is late. The
// client's delays are not whole numbers and all other delays are, so the two can be told apart.
import { EventEmitter, once } from 'node:events'
import type { Test } from 'tap'

export class HeldTimers {
  /** The delays of all timers that were set, in milliseconds and in order. */
  readonly delays: number[] = []
  readonly #held = new Map<unknown, () => void>()
  readonly #changes = new EventEmitter()

  constructor (t: Test) {
    const { setTimeout, clearTimeout } = globalThis
    t.teardown(() => Object.assign(globalThis, { setTimeout, clearTimeout }))
    const hold = (callback: () => void, delay = 0, ...rest: unknown[]): unknown => {
      if (Number.isInteger(delay)) return setTimeout(callback as (...args: unknown[]) => void, delay, ...rest)
      this.delays.push(delay)
      const handle = {}
      this.#held.set(handle, callback)
      this.#changes.emit('change')
      return handle
    }
    const release = (handle: never): void => {
      if (!this.#held.delete(handle)) clearTimeout(handle)
    }
    // Node's `setTimeout` has more properties than a function has. No code here needs them.
    Object.assign(globalThis, { setTimeout: Object.assign(hold, setTimeout), clearTimeout: release })
  }

  /** Resolves when this number of timers has been set. */
  async asked (times: number): Promise<void> {
    while (this.delays.length < times) await once(this.#changes, 'change')
  }

  /** How many timers are set now. */
  get count (): number {
    return this.#held.size
  }

  /** Runs the only timer. */
  run (): void {
    const [entry, ...others] = this.#held
    if (entry === undefined || others.length > 0) throw new Error(`${this.count} timers are set, not one`)
    const [handle, callback] = entry
    this.#held.delete(handle)
    callback()
  }
}
