// Events of one target in the order of their positions, oldest first, and the floor below them. This file must not know
// what targets or states are.

/** What a line holds. */
export interface Placed {
  readonly position: number
}

export class Line<Item extends Placed> {
  /**
   * The position of the newest event that this line had to drop. With a floor of 7, all its events after 7 are here; those
   * up to 7 are not.
   */
  floor = 0
  /** The tick at which the floor was set. */
  floorTick = 0
  /** Those before `#start` are `undefined`: to move all others for each removal would be slow. */
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

  /** @param items older than all that are here, oldest first */
  unshift (items: readonly Item[]): void {
    this.#items.splice(0, this.#start, ...items)
    this.#start = 0
  }

  /** Removes the oldest item of a line that is not empty. The floor rises to it. */
  dropOldest (tick: number): Item {
    const item = this.oldest!
    this.#shift()
    this.floor = item.position
    this.floorTick = tick
    return item
  }

  /** Removes an item that another one replaces. The floor stays, because nothing is lost. */
  remove (item: Item): void {
    const at = this.indexAfter(item.position - 1)
    if (at === this.#start) this.#shift()
    else this.#items.splice(at, 1)
  }

  at (index: number): Item | undefined {
    return this.#items[index]
  }

  /** The index of the first item after a position, or of the end: among positions 3, 5 and 9, 5 gives the index of 9. */
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

  #shift (): void {
    this.#items[this.#start++] = undefined
    if (this.#start >= 32 && this.#start * 2 >= this.#items.length) {
      this.#items.splice(0, this.#start)
      this.#start = 0
    }
  }
}
