// Events of one target in the order of their positions, oldest first, and the floor below them. This file must not know
// what targets or states are.

/** What a line holds. */
export interface Placed {
  readonly position: number
}

/** A line with so few holes is not made smaller. */
const FEW_HOLES = 32

export class Line<Item extends Placed> {
  /**
   * The position of the newest event that this line had to drop. With a floor of 7, all its events after 7 are here; those
   * up to 7 are not.
   */
  floor = 0
  /** The tick at which the floor was set. */
  floorTick = 0
  /**
   * Those before `#start` are `undefined`, and a hole has the number of a later place: to move all others for each removal
   * would be slow. Neither the first place after `#start` nor the last one is a hole.
   */
  #items: Array<Item | number | undefined> = []
  #start = 0
  #holes = 0
  /**
   * The number of the place at index 0. An item keeps its number while older ones come and go, until holes are closed. A number
   * may be negative, because older items may be filled in.
   */
  #base = 0

  get count (): number {
    return this.#items.length - this.#start - this.#holes
  }

  get oldest (): Item | undefined {
    return this.at(this.#start)
  }

  get newest (): Item | undefined {
    return this.at(this.#items.length - 1)
  }

  push (item: Item): void {
    this.#items.push(item)
  }

  /** @param items older than all that are here, oldest first */
  unshift (items: readonly Item[]): void {
    this.#base += this.#start - items.length
    this.#items = [...items, ...this.#items.slice(this.#start)]
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
    const items = this.#items
    const index = this.#indexOf(item)
    if (index === this.#start) return this.#shift()
    items[index] = this.#base + index + 1
    this.#holes++
    while (typeof items.at(-1) === 'number') {
      items.pop()
      this.#holes--
    }
    if (this.#holes > FEW_HOLES && this.#holes > this.count) this.#closeHoles()
  }

  /** @param index of an item, or the end */
  at (index: number): Item | undefined {
    return this.#items[index] as Item | undefined
  }

  /** The index of the first item after a position, or the end: among positions 3, 5 and 9, 5 gives the index of 9. */
  indexAfter (position: number): number {
    const items = this.#items
    let low = this.#start
    let high = items.length
    // Most replays begin with the oldest item.
    if (low === high || this.at(low)!.position > position) return low
    while (low < high) {
      const middle = (low + high) >>> 1
      const index = this.#itemFrom(middle)
      if (index >= high || this.at(index)!.position > position) high = middle
      else low = index + 1
    }
    return this.#itemFrom(low)
  }

  /** Whether an item after a position, and not after `to`, is here. */
  has (after: number, to: number): boolean {
    const item = this.at(this.indexAfter(after))
    return item !== undefined && item.position <= to
  }

  /** The index of the item after one, or the end. */
  indexBehind (index: number): number {
    return this.#itemFrom(index + 1)
  }

  /**
   * The number of the first place after a position. Items that come and go before it do not change it, so that replays which begin
   * at different items agree about numbers.
   */
  numberAfter (position: number): number {
    return this.#base + this.indexAfter(position)
  }

  /** The number of the oldest item, or of the end. */
  get firstNumber (): number {
    return this.#base + this.#start
  }

  /** The first item whose place has at least this number. */
  itemFrom (number: number): Item | undefined {
    return this.at(this.#itemFrom(Math.max(number - this.#base, this.#start)))
  }

  /**
   * The index of an item that is here. Each look at an item of a long line waits for memory, so that it guesses by position: of
   * positions 1,000 to 2,000, 1,250 is at about a quarter. Every second time it takes the middle, in case it guesses badly.
   */
  #indexOf (item: Item): number {
    let low = this.#start
    let high = this.#items.length - 1
    let lowest = this.at(low)!.position
    let highest = this.at(high)!.position
    for (let turn = 0; ; turn++) {
      const guess = turn % 2 === 0 && highest > lowest ? low + Math.floor((high - low) * (item.position - lowest) / (highest - lowest)) : (low + high) >>> 1
      const index = this.#itemFrom(guess)
      const found = this.at(index)!
      if (found.position === item.position) return index
      if (found.position < item.position) {
        low = index + 1
        lowest = found.position
      } else {
        high = guess - 1
        highest = found.position
      }
    }
  }

  /** The index of the first item at or after an index, or the end. Each hole on the way then leads there at once. */
  #itemFrom (index: number): number {
    const items = this.#items
    const base = this.#base
    let at = index
    for (let place = items[at]; typeof place === 'number'; place = items[at]) at = place - base
    while (index < at) {
      const next = items[index] as number - base
      items[index] = at + base
      index = next
    }
    return at
  }

  /** Takes away the oldest item, and the holes after it. */
  #shift (): void {
    const items = this.#items
    items[this.#start++] = undefined
    while (typeof items[this.#start] === 'number') {
      items[this.#start++] = undefined
      this.#holes--
    }
    if (this.#start >= 32 && this.#start * 2 >= items.length) {
      items.splice(0, this.#start)
      this.#base += this.#start
      this.#start = 0
    }
  }

  #closeHoles (): void {
    this.#items = this.#items.filter(place => typeof place === 'object')
    this.#start = this.#holes = 0
  }
}
