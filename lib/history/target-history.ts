// What is kept of one target (a channel, the broadcasts, or a client id). This file must not know of other targets, or of
// limits.
//
// An event with a key sets a state. Of each event name and key only the newest event is kept: `price` 10 for the key `tea`
// is removed when `price` 12 for `tea` comes. No client misses the 10, so that this is no loss. An event that removes a
// state is kept as well, for clients that know the state.
import { entryOf, type Entry, type KeptEvent } from './entry.js'
import { Line } from './line.js'

/** The entry of an event, with the targets that keep it. */
export type TargetEntry = Entry<TargetHistory>

/** An event that the broker kept, with its age in milliseconds. */
export type PastEvent = KeptEvent & { readonly age: number }

export class TargetHistory {
  readonly name: string
  /** Whether it has what the broker knows from before this instance began. */
  filled = false
  /** The tick at which an event last replaced an older one of the same key. */
  replacedTick = 0
  /**
   * The position up to which events of all lines may be missing. Each line has a floor of its own as well. An instance that
   * begins at 60 has a floor of 60. When the broker fills in what it has, and has lost only what is up to 12, it is 12.
   */
  #floor: number
  /** The tick at which that floor was set. */
  #floorTick: number
  /** Events without a key. */
  readonly #events = new Line<TargetEntry>()
  /** Events that set a state, and those that remove one. `null` until used, because most targets have no states. */
  #states: Line<TargetEntry> | null = null
  #removals: Line<TargetEntry> | null = null
  /** The entry of each event name and key, in one of these two lines. */
  #newest: Map<string, TargetEntry> | null = null

  constructor (name: string, floor: number, floorTick: number) {
    this.name = name
    this.#floor = floor
    this.#floorTick = floorTick
  }

  get count (): number {
    return this.#events.count + (this.#states?.count ?? 0) + (this.#removals?.count ?? 0)
  }

  get states (): Line<TargetEntry> | null {
    return this.#states
  }

  /** The position after which every event of this target is here. */
  get highestFloor (): number {
    return Math.max(this.#floor, ...this.lines(false).map(({ floor }) => floor))
  }

  get latestFloorTick (): number {
    return Math.max(this.#floorTick, ...this.lines(false).map(({ floorTick }) => floorTick))
  }

  lineOf ({ key, remove }: KeptEvent): Line<TargetEntry> {
    if (key === '') return this.#events
    this.#states ??= new Line()
    this.#removals ??= new Line()
    return remove ? this.#removals : this.#states
  }

  /** @param fresh for a client that knows no state yet: events that remove one are left out */
  lines (fresh: boolean): Array<Line<TargetEntry>> {
    const lines: Array<Line<TargetEntry>> = []
    this.linesInto(lines, fresh)
    return lines
  }

  /** As `lines`, into an array of the caller's: a replay may read hundreds of targets. */
  linesInto (lines: Array<Line<TargetEntry>>, fresh: boolean): void {
    lines.push(this.#events)
    if (this.#states !== null) lines.push(this.#states)
    if (this.#removals !== null && !fresh) lines.push(this.#removals)
  }

  /** Whether an event after a position, and not after `to`, is kept. */
  has (after: number, to: number, fresh: boolean): boolean {
    return this.#events.has(after, to) || this.#states?.has(after, to) === true || (!fresh && this.#removals?.has(after, to) === true)
  }

  /**
   * Makes an entry with a key the newest of its key. The one before is removed from its line.
   * @returns the one before
   */
  replace (entry: TargetEntry): TargetEntry | undefined {
    this.#newest ??= new Map()
    const name = stateName(entry)
    const before = this.#newest.get(name)
    this.#newest.set(name, entry)
    if (before !== undefined) this.lineOf(before).remove(before)
    return before
  }

  /** Removes the oldest entry of a line that is not empty. */
  dropOldest (line: Line<TargetEntry>, tick: number): TargetEntry {
    const entry = line.dropOldest(tick)
    if (entry.key !== '') this.#newest!.delete(stateName(entry))
    return entry
  }

  /** Whether an event after a position was removed, or never known, at a tick later than `since`. */
  lost (after: number, since: number): boolean {
    if (this.#floor > after && this.#floorTick > since) return true
    for (const { floor, floorTick } of this.lines(false)) if (floor > after && floorTick > since) return true
    return false
  }

  /**
   * Makes entries for the events that are missing here, by line, newest first. With a floor of 7, of events 4 to 9 those
   * are 4 to 7. An event with a key is not missing if there is a newer one of its key.
   */
  missing (events: readonly PastEvent[]): Map<Line<TargetEntry>, TargetEntry[]> {
    const now = performance.now()
    const missing = new Map<Line<TargetEntry>, TargetEntry[]>()
    const known = new Set(this.#newest?.keys())
    for (const event of events.toReversed()) {
      const line = this.lineOf(event)
      if (event.position > Math.max(this.#floor, line.floor)) continue
      if (event.key !== '') {
        const name = stateName(event)
        if (known.has(name)) continue
        known.add(name)
      }
      const entries = missing.get(line)
      const entry = entryOf(event, [this], now - event.age)
      if (entries === undefined) missing.set(line, [entry])
      else entries.push(entry)
    }
    return missing
  }

  /**
   * Puts older entries into a line. What the line had dropped before is still lost, if the broker has lost it as well.
   * @param entries newest first; none is in the line yet
   * @param noRoom the position of the newest one that found no room; 0 for none
   * @param lost the position of the newest event that the broker has lost
   */
  fillLine (line: Line<TargetEntry>, entries: readonly TargetEntry[], noRoom: number, lost: number, tick: number): void {
    const floor = Math.max(noRoom, Math.min(line.floor, lost))
    if (floor !== line.floor) {
      line.floor = floor
      line.floorTick = tick
    }
    line.unshift(entries.toReversed())
    for (const entry of entries) if (entry.key !== '') (this.#newest ??= new Map()).set(stateName(entry), entry)
  }

  /** @param floor the position of the newest event that the broker has lost */
  setFilled (floor: number, tick: number): void {
    this.#floor = Math.min(floor, this.#floor)
    this.#floorTick = tick
    this.filled = true
  }
}

/** Two states never have the same one, because no event name holds a line break. */
function stateName ({ name, key }: KeptEvent): string {
  return `${name}\n${key}`
}
