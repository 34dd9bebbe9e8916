// Keeps what was made from history, within a number of bytes, so that it is not made again. This file must not know of history:
// its caller says whether a value is still right.

interface Costly {
  /** Bytes that it takes here, without its key. */
  readonly cost: number
}

export class Cache<Value extends Costly> {
  readonly #maxBytes: number
  /** In the order of their last use. */
  readonly #values = new Map<string, Value>()
  #bytes = 0

  constructor (maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get bytes (): number {
    return this.#bytes
  }

  /** Removes a value and returns it. A value that is still right is put back, as the one used last. */
  take (key: string): Value | undefined {
    const value = this.#values.get(key)
    if (value !== undefined) this.#delete(key, value)
    return value
  }

  /** Adds a value that is not here. The values that were not used for longest are removed if there is no room. */
  put (key: string, value: Value): void {
    this.#values.set(key, value)
    this.#bytes += key.length + value.cost
    for (const [oldKey, old] of this.#values) {
      if (this.#bytes <= this.#maxBytes) break
      this.#delete(oldKey, old)
    }
  }

  #delete (key: string, value: Value): void {
    this.#values.delete(key)
    this.#bytes -= key.length + value.cost
  }
}
