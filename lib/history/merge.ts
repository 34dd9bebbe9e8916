// Reads several lines as if they were one. This file must not know what targets are.
import type { Line, Placed } from './line.js'

/** The position of the first item after a position, and not after `to`; 0 if there is none. */
export function firstPosition (lines: ReadonlyArray<Line<Placed>>, after: number, to: number): number {
  let first = 0
  for (const line of lines) {
    const item = line.at(line.indexAfter(after))
    if (item !== undefined && item.position <= to && (first === 0 || item.position < first)) first = item.position
  }
  return first
}

/** Where the reading of one line is. */
interface Reader<Item extends Placed> {
  readonly line: Line<Item>
  index: number
  item: Item
  /** That of the item. The heap compares it often, and each look at an item may wait for memory. */
  position: number
}

/** Reads the items after a position in order. The lines must not change meanwhile. */
export class Merge<Item extends Placed> {
  /** How much was done: items that were passed, and lines that were searched. */
  work = 0
  /** A heap: the item of a reader at n is not after those at 2n + 1 and 2n + 2. So the next item is at 0. */
  readonly #readers: Array<Reader<Item>> = []

  constructor (lines: ReadonlyArray<Line<Item>>, after: number) {
    for (const line of lines) {
      const index = line.indexAfter(after)
      const item = line.at(index)
      if (item !== undefined) this.#readers.push({ line, index, item, position: item.position })
    }
    this.#order()
  }

  /** The next item; `undefined` after the last one. */
  get next (): Item | undefined {
    return this.#readers[0]?.item
  }

  /**
   * Passes the next item, in each line that has it. It compares positions, not items: an event that the broker gave for two targets
   * is one item in each of their lines.
   */
  pass (): void {
    const readers = this.#readers
    this.work++
    const { position } = readers[0]!
    do {
      const reader = readers[0]!
      this.#move(reader, reader.line.indexBehind(reader.index))
      this.#sink(0)
    } while (readers.length > 0 && readers[0]!.position === position)
  }

  /** Passes all items up to a position, without a look at each of them. */
  passTo (position: number): void {
    const readers = this.#readers
    if (this.next === undefined || this.next.position > position) return
    // Backwards, because `#move` puts the last reader in the place of one that is at its end.
    for (let at = readers.length - 1; at >= 0; at--) {
      const reader = readers[at]!
      if (reader.position > position) continue
      this.work++
      this.#move(reader, reader.line.indexAfter(position), at)
    }
    this.#order()
  }

  /** @param at where the reader is in the heap */
  #move (reader: Reader<Item>, index: number, at = 0): void {
    const item = reader.line.at(index)
    if (item !== undefined) {
      reader.index = index
      reader.item = item
      reader.position = item.position
      return
    }
    const last = this.#readers.pop()!
    if (last !== reader) this.#readers[at] = last
  }

  #order (): void {
    for (let at = (this.#readers.length >>> 1) - 1; at >= 0; at--) this.#sink(at)
  }

  /** Moves a reader down to where no reader below it has an earlier item. */
  #sink (at: number): void {
    const readers = this.#readers
    if (readers.length < 2) return
    const reader = readers[at]!
    const { position } = reader
    for (;;) {
      let below = 2 * at + 1
      if (below >= readers.length) break
      if (below + 1 < readers.length && readers[below + 1]!.position < readers[below]!.position) below++
      if (readers[below]!.position >= position) break
      readers[at] = readers[below]!
      at = below
    }
    readers[at] = reader
  }
}

/** The items after a position, and not after `to`, in order. An item that is in several lines comes once. */
export function * merged<Item extends Placed> (lines: ReadonlyArray<Line<Item>>, after: number, to: number): Generator<Item, void> {
  const merge = new Merge(lines, after)
  for (let item = merge.next; item !== undefined && item.position <= to; item = merge.next) {
    merge.pass()
    yield item
  }
}
