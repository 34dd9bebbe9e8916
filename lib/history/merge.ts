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

/** The items after a position, and not after `to`, in order. An item that is in several lines comes once. */
export function * merged<Item extends Placed> (lines: ReadonlyArray<Line<Item>>, after: number, to: number): Generator<Item, void> {
  const readers = lines.map(line => ({ line, at: line.indexAfter(after) }))
  for (;;) {
    let next: Item | undefined
    for (const { line, at } of readers) {
      const item = line.at(at)
      if (item !== undefined && (next === undefined || item.position < next.position)) next = item
    }
    if (next === undefined || next.position > to) return
    // Compares positions, not items: an event that the broker gave for two targets is one item in each of their lines.
    for (const reader of readers) if (reader.line.at(reader.at)?.position === next.position) reader.at++
    yield next
  }
}
