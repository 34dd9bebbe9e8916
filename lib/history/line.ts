// Some of a target's events in order, oldest first: those without a key, or of each key the newest. It must not know of
// targets.

/** What a line holds. */
export interface Placed {
  readonly position: number
}

export class Line<Item extends Placed> {
  /** Position of the newest event that is not kept any more, and the tick at which it went. */
  floor = 0
  trimmedAt = 0
  /** From `start` on. */
  readonly #items: Array<Item | undefined> = []
  #start = 0

  get count (): number {
    return this.#items.length - this.#start
  }

  get oldest (): Item | undefined {
    return this.#items[this.#start]
  }

  push (item: Item): void {
    this.#items.push(item)
  }

  /** Puts in what is older than all. */
  unshift (items: readonly Item[]): void {
    this.#items.splice(0, this.#start, ...items)
    this.#start = 0
  }

  /** Takes out the oldest. */
  shift (): void {
    this.#items[this.#start++] = undefined
    if (this.#start >= 32 && this.#start * 2 >= this.#items.length) {
      this.#items.splice(0, this.#start)
      this.#start = 0
    }
  }

  /** Takes out one that is in it. */
  remove (item: Item): void {
    const at = this.indexAfter(item.position - 1)
    if (at === this.#start) this.shift()
    else this.#items.splice(at, 1)
  }

  at (index: number): Item | undefined {
    return this.#items[index]
  }

  /** Where the first one after a position is, or would be. */
  indexAfter (position: number): number {
    const items = this.#items
    let low = this.#start
    let high = items.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (items[middle]!.position > position) high = middle
      else low = middle + 1
    }
    return low
  }
}
