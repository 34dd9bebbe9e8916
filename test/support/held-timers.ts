// The timers of a client that runs in the test's own process: they are held until the test lets them go, so that no test
// waits and no test is late. Its delays are no whole numbers, and all others' are: so they are told apart.
import { EventEmitter, once } from 'node:events'
import type { Test } from 'tap'

export class HeldTimers {
  /** What was asked for, in milliseconds, in order. */
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
    // Node's own has more than a function, which nothing here asks for.
    Object.assign(globalThis, { setTimeout: Object.assign(hold, setTimeout), clearTimeout: release })
  }

  /** Resolves once so many were asked for. */
  async asked (times: number): Promise<void> {
    while (this.delays.length < times) await once(this.#changes, 'change')
  }

  /** How many are set now. */
  get count (): number {
    return this.#held.size
  }

  /** Lets the only one go. */
  run (): void {
    const [entry, ...others] = this.#held
    if (entry === undefined || others.length > 0) throw new Error(`${this.count} timers are set, not one`)
    const [handle, callback] = entry
    this.#held.delete(handle)
    callback()
  }
}
