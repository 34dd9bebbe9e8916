// A fault that a test injects into what the application gives to the hub.

export const MESSAGE = 'injected fault'

interface Mode {
  /** Whether a call fails. The first call is number 1. */
  readonly fails: (call: number) => boolean
  readonly fail: () => unknown
}

/** When a call fails, and what it throws. Some throw something that is no Error, or that can't be made a string. */
export const MODES: Record<string, Mode> = {
  'throws an Error the first time': { fails: call => call === 1, fail: () => { throw new Error(MESSAGE) } },
  'throws an Error every time': { fails: () => true, fail: () => { throw new Error(MESSAGE) } },
  'throws undefined at the second call': { fails: call => call === 2, fail: () => { throw undefined } }, // eslint-disable-line no-throw-literal
  'throws what is no Error every time': { fails: () => true, fail: () => { throw Object.create(null) } },
  'rejects every time': { fails: () => true, fail: () => Promise.reject(new Error(MESSAGE)) }
}

export class Fault {
  /** Whether calls fail, and are counted. */
  armed = false
  calls = 0
  readonly #mode: Mode

  constructor (mode: Mode) {
    this.#mode = mode
  }

  /** Fails if this call is to fail. Otherwise it does nothing. */
  strike (): unknown {
    return this.armed && this.#mode.fails(++this.calls) ? this.#mode.fail() : undefined
  }

  /** Puts the fault before a method of an object. */
  wrap (object: object, name: string): void {
    const methods = object as Record<string, (...args: unknown[]) => unknown>
    const method = methods[name]!
    methods[name] = (...args) => this.strike() ?? method.apply(object, args)
  }
}
