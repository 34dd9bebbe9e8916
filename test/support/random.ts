// A generator with a seed. A random test that fails can be run again with the same choices.

export class Random {
  readonly seed: number
  #state: number

  /** Takes the seed from the environment variable `SEED` if it is set. */
  constructor (seed = Number(process.env.SEED ?? Date.now() % 1_000_000_000)) {
    this.seed = seed
    this.#state = seed
  }

  /** At least 0 and less than 1 (mulberry32). */
  next (): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number, at least 0 and less than `limit`. */
  below (limit: number): number {
    return Math.floor(this.next() * limit)
  }

  chance (probability: number): boolean {
    return this.next() < probability
  }

  pick<Item> (items: readonly Item[]): Item {
    return items[this.below(items.length)]!
  }

  /** Takes each item with the same probability, and keeps the order. */
  some<Item> (items: readonly Item[], probability = 0.5): Item[] {
    return items.filter(() => this.chance(probability))
  }
}
