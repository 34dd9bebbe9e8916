// The events that are kept for replays, within limits. A target is a channel, the broadcasts, or a client id. This file
// must not know of clients or of the broker.
//
// An event's position is a number that grows in the order of delivery. A floor says which events are missing: with a floor
// of 7, those up to position 7 may be. A tick says when they were removed: it grows with each removal. A client that has
// all up to 5, and was told of losses up to tick 3, has a new loss if a floor became 7 at tick 4.
import { entryOf, type KeptEvent } from './entry.js'
import type { Line } from './line.js'
import { firstPosition, merged } from './merge.js'
import type { PastEvent, TargetEntry, TargetHistory } from './target-history.js'
import { TargetIndex } from './target-index.js'
import { Timeline } from './timeline.js'

export type { KeptEvent }

/**
 * How many old events are removed at a time: some 0.3 to 2.5 ms of work. An `add` removes fewer, because a turn of the event loop may
 * have many.
 */
const EXPIRED = 2000
const EXPIRED_BY_ADD = 8

export interface HistoryLimits {
  /** Events per target. Of those with a key, as many that set a state, and as many that remove one. */
  readonly size: number
  /** Milliseconds. */
  readonly maxAge: number
  /** Bytes, overhead included. */
  readonly maxBytes: number
}

export class History {
  readonly #limits: HistoryLimits
  readonly #targets = new TargetIndex()
  readonly #timeline = new Timeline<TargetHistory>()
  #tick = 0
  #filledTick = 0

  constructor (limits: HistoryLimits) {
    this.#limits = limits
  }

  /** Events kept, without those that remove a state. An event for three targets counts once. */
  get count (): number {
    return this.#timeline.count
  }

  /** Bytes that all of it takes, overhead included, without the targets that are only known to be empty. */
  get bytes (): number {
    return this.#timeline.bytes + this.#targets.bytes
  }

  /** Grows with each removal. */
  get tick (): number {
    return this.#tick
  }

  /** The tick of the latest `fill` or `skipTo`: what was read before may lack older events. */
  get filledTick (): number {
    return this.#filledTick
  }

  /** @param event later than all that were added */
  add (event: KeptEvent, targets: readonly string[]): void {
    const { size, maxAge } = this.#limits
    if (size === 0) return this.#targets.setSharedFloor(event.position, ++this.#tick)
    const histories = targets.map(target => this.#targets.of(target))
    const entry = entryOf(event, histories, maxAge === Infinity ? 0 : performance.now())
    this.#timeline.push(entry)
    for (const history of histories) {
      if (entry.key !== '') this.#replace(history, entry)
      const line = history.lineOf(entry)
      line.push(entry)
      this.#targets.deleteEmpty(history)
      if (line.count > size) this.#dropOldest(history, line)
    }
    this.#dropOverBytes()
    if (maxAge !== Infinity) this.#expire(EXPIRED_BY_ADD)
  }

  /**
   * Adds what the broker knows of a target from before this instance began.
   * @param events oldest first
   * @param floor position of the newest event that the broker has lost
   * @param known position up to which the broker has told everything
   */
  fill (target: string, events: readonly PastEvent[], floor: number, known: number): void {
    // There must be no hole between the broker's events and those here. If the broker told all up to 20, and the floor here
    // rose to 25 before the answer came, 21 to 25 would be missing in the middle.
    if (this.#targets.floor(target) > known) return
    const history = this.#targets.of(target)
    const missing = history.missing(events)
    for (const line of history.lines(false)) {
      const entries = missing.get(line) ?? []
      const fitting = entries.slice(0, Math.max(0, this.#limits.size - line.count))
      history.fillLine(line, fitting, entries[fitting.length]?.position ?? 0, floor, ++this.#tick)
      for (const entry of fitting) this.#timeline.unshift(entry)
    }
    this.#filledTick = ++this.#tick
    history.setFilled(floor, this.#tick)
    if (history.count === 0) this.#targets.addEmpty(history)
    this.#dropOverBytes()
  }

  /** Those of some targets that were not filled, and of which the broker may know events after a position. */
  unfilled (targets: readonly string[], after: number): string[] {
    return targets.filter(target => this.#targets.get(target)?.filled !== true && this.#targets.floor(target) > after)
  }

  /** Removes everything up to a position, of all targets. */
  skipTo (position: number): void {
    this.#timeline.clear()
    this.#filledTick = ++this.#tick
    this.#targets.forgetAll(position, this.#tick)
  }

  /**
   * Removes some of what is older than `maxAge`, the oldest first.
   * @returns whether more of it is left
   */
  expire (): boolean {
    return this.#expire(EXPIRED)
  }

  #expire (limit: number): boolean {
    const before = performance.now() - this.#limits.maxAge
    for (let count = 0; count < limit && this.#isOld(before); count++) this.#evict(this.#timeline.oldest!)
    return this.#isOld(before)
  }

  /** Whether the oldest event of all is from before a time. */
  #isOld (before: number): boolean {
    const { oldest } = this.#timeline
    return oldest !== null && oldest.time < before
  }

  /**
   * Removes all that is older than `maxAge` of some targets. `expire` stops at the first event that is young enough, and `fill`
   * puts its events before all others: if `a` is filled with one of 50 s after `b` was with one of 90 s, the order is 50,
   * 90, and with a `maxAge` of 60 s `expire` would not find the 90. So it looks at targets that were filled, and at others only
   * where `expire` has left something.
   */
  expireOf (targets: readonly string[]): void {
    const before = performance.now() - this.#limits.maxAge
    const all = this.#isOld(before)
    for (const target of targets) {
      const history = this.#targets.get(target)
      if (history === undefined || !(all || history.filled)) continue
      for (const line of history.lines(false)) {
        while (line.oldest !== undefined && line.oldest.time < before) this.#dropOldest(history, line)
      }
    }
  }

  /**
   * Whether an event after a position is missing from one of these targets.
   * @param since only removals after this tick count
   */
  lost (targets: readonly string[], after: number, since: number): boolean {
    for (const target of targets) if (this.#targets.lost(target, after, since)) return true
    return false
  }

  /** Whether an event of these targets has replaced one of the same key after a tick. */
  superseded (targets: readonly string[], since: number): boolean {
    return targets.some(target => (this.#targets.get(target)?.replacedTick ?? 0) > since)
  }

  /** The events of one name that set a state of a target, oldest first. */
  * states (target: string, name: string): Generator<KeptEvent, void> {
    const line = this.#targets.get(target)?.states
    if (line == null) return
    let index = line.indexAfter(0)
    for (let entry = line.at(index); entry !== undefined; entry = line.at(index)) {
      if (entry.name === name) yield entry
      index = line.indexBehind(index)
    }
  }

  /**
   * Equal only while the states of a target are the same. A new state is the newest one. While the newest one stays, others can only
   * go, so that fewer are left.
   */
  statesMark (target: string): string {
    const line = this.#targets.get(target)?.states
    return line == null ? '' : `${line.newest?.position} ${line.count} ${this.#filledTick}`
  }

  /**
   * Whether a target has an event after a position, and not after `to`.
   * @param fresh for a client that knows no state yet: events that remove one are left out
   */
  has (target: string, after: number, to: number, fresh = false): boolean {
    return this.#targets.get(target)?.has(after, to, fresh) ?? false
  }

  /** The position of the first event of these targets after a position, and not after `to`; 0 if there is none. */
  first (targets: readonly string[], after: number, to: number, fresh = false): number {
    return firstPosition(this.lines(targets, fresh), after, to)
  }

  /** The events of these targets after a position, and not after `to`, in order. An event of several targets comes once. */
  range (targets: readonly string[], after: number, to: number, fresh = false): Generator<KeptEvent, void> {
    return merged(this.lines(targets, fresh), after, to)
  }

  /** What is kept of some targets, each part in its own order. It may be read until the next event is added or removed. */
  lines (targets: readonly string[], fresh: boolean): Array<Line<TargetEntry>> {
    const lines: Array<Line<TargetEntry>> = []
    for (const target of targets) this.#targets.get(target)?.linesInto(lines, fresh)
    return lines
  }

  #replace (history: TargetHistory, entry: TargetEntry): void {
    const before = history.replace(entry)
    if (before === undefined) return
    history.replacedTick = ++this.#tick
    if (--before.holders === 0) this.#timeline.remove(before)
  }

  #dropOverBytes (): void {
    while (this.bytes > this.#limits.maxBytes && this.#timeline.oldest !== null) this.#evict(this.#timeline.oldest)
  }

  /** Removes the oldest entry of all from each of its targets. */
  #evict (entry: TargetEntry): void {
    for (const history of entry.targets) {
      const line = history.lineOf(entry)
      // A target may have removed the entry before: by its size, or for a newer one of the same key.
      if (line.oldest === entry) this.#dropOldest(history, line)
    }
  }

  /** Removes the oldest entry of a target's line. The target is forgotten when that was its last entry. */
  #dropOldest (history: TargetHistory, line: Line<TargetEntry>): void {
    const entry = history.dropOldest(line, ++this.#tick)
    if (--entry.holders === 0) this.#timeline.remove(entry)
    if (history.count === 0) this.#targets.forget(history)
  }
}
