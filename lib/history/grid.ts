// Says where the blocks of a replay end, so that clients which begin at different events come to the same blocks. This file must
// not know what is in them.
import type { Line, Placed } from './line.js'

/** Events in a block. Larger blocks need fewer look-ups and writes. */
const BLOCK = 256
/**
 * A replay that starts inside a block reads smaller blocks up to the next end, because few other clients start at the same place.
 * From the 70th event of a channel it reads up to the 128th, the 256th and the 512th; a client that starts at the 100th shares all
 * that is after the 128th.
 */
const SMALL_BLOCKS = 4

/**
 * Blocks end at the events with certain numbers of one line, the longest one, and hold those of the other lines that come between.
 * Not at certain positions: on a hub with 1,000 busy channels, 256 positions hold no more than one event of a channel.
 */
export class Grid {
  readonly #line: Line<Placed>
  /** How many events of that line are in a block: 256 if it is the only one, 64 if three others are as long. */
  readonly #size: number

  /** @param lines at least one */
  constructor (lines: ReadonlyArray<Line<Placed>>) {
    let longest = lines[0]!
    let count = 0
    for (const line of lines) {
      count += line.count
      if (line.count > longest.count) longest = line
    }
    this.#line = longest
    let size = BLOCK
    while (size > 1 && size * count > BLOCK * longest.count) size /= 2
    this.#size = size
  }

  /** The position up to which a block goes that begins with the event at a position; `Infinity` for all that is kept. */
  end (first: number): number {
    const line = this.#line
    let begin = line.numberAfter(first - 1)
    // The oldest event begins a block, as if those before it were still kept: all clients that get everything begin there.
    if (begin === line.firstNumber) begin = Math.floor(begin / this.#size) * this.#size
    let size = this.#size
    while (size > 1 && size > this.#size / SMALL_BLOCKS && begin % size !== 0) size /= 2
    const next = line.itemFrom((Math.floor(begin / size) + 1) * size)
    return next === undefined ? Infinity : next.position - 1
  }
}
