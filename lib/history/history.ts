// What is kept of the past, per target (a channel, the broadcasts, a client id), for replays. It must not know of
// clients or of the broker. Every event has a position: a number that grows in the order of delivery.
//
// An event with a key says a state: of each event name and key the newest is kept, and one that removes its key is kept for
// those who knew the state. What a newer one has taken the place of is no loss.
import { Line } from './line.js'

/** What one kept event takes beside its strings: its record, the strings' heads. */
const EVENT_OVERHEAD = 240
/** What an event's place in a target's list takes, there and in the event. */
const PLACE_OVERHEAD = 32
/** What finding an event by its key takes, a target. */
const KEY_OVERHEAD = 100
/** What one target takes, its name aside. */
const TARGET_OVERHEAD = 400
/** Filled targets of which nothing is kept: so many are known to be empty. */
const MAX_EMPTY = 10_000

export interface KeptEvent {
  readonly position: number
  readonly name: string
  /** The client id that does not get it; `''` for none. */
  readonly except: string
  /** Whether it may be compressed together with others. */
  readonly compress: boolean
  /** Whose state it says; `''` for none. */
  readonly key: string
  /** Whether that state is to be forgotten. */
  readonly remove: boolean
  /** Whether its data is text as it was given. */
  readonly raw: boolean
  /** Its text on the wire. */
  readonly text: string
  /** Bytes of `text` in UTF-8. */
  readonly size: number
}

interface Entry extends KeptEvent {
  /** The targets' own records: a caller's strings would be kept once an event. */
  readonly targets: readonly Kept[]
  readonly time: number
  readonly cost: number
  /** How many targets still hold it. */
  holders: number
  older: Entry | null
  newer: Entry | null
}

/** What is kept of a target. */
class Kept {
  readonly target: string
  /** Position up to which nothing is known, and since which tick. */
  floor: number
  trimmedAt: number
  /** What was before is put in, as far as it is known elsewhere. */
  filled = false
  /** The tick at which an event last took the place of another one. */
  supersededAt = 0
  readonly events = new Line<Entry>()
  /** Made on first use, as most targets have none: those with a key, those that remove one, and each key's newest. */
  states: Line<Entry> | null = null
  removals: Line<Entry> | null = null
  newest: Map<string, Entry> | null = null

  constructor (target: string, floor: number, trimmedAt: number) {
    this.target = target
    this.floor = floor
    this.trimmedAt = trimmedAt
  }

  get count (): number {
    return this.events.count + (this.states?.count ?? 0) + (this.removals?.count ?? 0)
  }

  /** The line that an event belongs in. */
  lineOf ({ key, remove }: KeptEvent): Line<Entry> {
    if (key === '') return this.events
    this.states ??= new Line()
    this.removals ??= new Line()
    return remove ? this.removals : this.states
  }

  /** All that is kept; those who never knew a state need not be told that it is gone. */
  lines (fresh: boolean): Array<Line<Entry>> {
    const lines = [this.events]
    if (this.states !== null) lines.push(this.states)
    if (this.removals !== null && !fresh) lines.push(this.removals)
    return lines
  }
}

export interface HistoryLimits {
  /** Events per target; of those with a key, keys. */
  readonly size: number
  /** Milliseconds. */
  readonly maxAge: number
  /** Bytes, overhead included. */
  readonly maxBytes: number
}

export class History {
  readonly #limits: HistoryLimits
  readonly #targets = new Map<string, Kept>()
  /** All entries in order, whatever their targets. */
  #oldest: Entry | null = null
  #newest: Entry | null = null
  #count = 0
  #bytes = 0
  #tick = 0
  /** Filled, and nothing is kept of them. */
  readonly #empty = new Set<Kept>()
  /** The tick of the latest `fill`. */
  #filledAt = 0
  /** Stands for the floors of the targets of which nothing is kept. */
  #forgottenFloor = 0
  #forgottenAt = 0

  constructor (limits: HistoryLimits) {
    this.#limits = limits
  }

  /** Events kept, those aside that only remove a state. */
  get count (): number {
    return this.#count
  }

  /** Bytes they take, overhead included. */
  get bytes (): number {
    return this.#bytes
  }

  /** Grows with every event that goes: tells losses apart by when they came about. */
  get tick (): number {
    return this.#tick
  }

  /** When something that came late was put in: what was read before is not all. */
  get filledAt (): number {
    return this.#filledAt
  }

  add (event: KeptEvent, targets: readonly string[]): void {
    const { size, maxAge } = this.#limits
    if (size === 0) {
      this.#forgottenFloor = event.position
      this.#forgottenAt = ++this.#tick
      return
    }
    const kept = targets.map(target => this.#of(target))
    const entry = entryOf(event, kept, maxAge === Infinity ? 0 : performance.now())
    entry.older = this.#newest
    if (this.#newest === null) this.#oldest = entry
    else this.#newest.newer = entry
    this.#newest = entry
    this.#countIn(entry)
    for (const list of kept) {
      if (entry.key !== '') this.#supersede(list, entry)
      const line = list.lineOf(entry)
      line.push(entry)
      this.#empty.delete(list)
      if (line.count > size) this.#trim(list, line)
    }
    this.#bound()
    if (maxAge !== Infinity) this.expire()
  }

  /** An event takes the place of what said its key's state before. */
  #supersede (kept: Kept, entry: Entry): void {
    kept.newest ??= new Map()
    const state = stateName(entry)
    const before = kept.newest.get(state)
    kept.newest.set(state, entry)
    if (before === undefined) return
    kept.lineOf(before).remove(before)
    kept.supersededAt = ++this.#tick
    if (--before.holders === 0) this.#unlink(before)
  }

  /**
   * Puts in what is known from elsewhere of a target's events that are not kept.
   * @param events oldest first
   * @param floor position of the newest one that is lost
   * @param known the position up to which that is all there is
   */
  fill (target: string, events: ReadonlyArray<KeptEvent & { readonly age: number }>, floor: number, known: number): void {
    // Behind its floors everything is kept. What went from there since the other side was asked would be a hole.
    const before = this.#targets.get(target)
    if ((before === undefined ? this.#forgottenFloor : floorOf(before)) > known) return
    const kept = this.#of(target)
    const older = this.#olderOf(kept, events)
    for (const line of kept.lines(false)) {
      const entries = older.get(line) ?? []
      const fitting = entries.slice(0, Math.max(0, this.#limits.size - line.count))
      line.floor = entries[fitting.length]?.position ?? 0
      line.trimmedAt = ++this.#tick
      line.unshift(fitting.toReversed())
      for (const entry of fitting) {
        this.#putFirst(entry)
        if (entry.key !== '') (kept.newest ??= new Map()).set(stateName(entry), entry)
      }
    }
    kept.floor = Math.min(floor, kept.floor)
    kept.trimmedAt = this.#filledAt = ++this.#tick
    kept.filled = true
    if (kept.count === 0) this.#empty.add(kept)
    if (this.#empty.size > MAX_EMPTY) this.#forget(this.#empty.values().next().value!)
    this.#bound()
  }

  /** Those of some events that a target lacks, by their lines, newest first. */
  #olderOf (kept: Kept, events: ReadonlyArray<KeptEvent & { readonly age: number }>): Map<Line<Entry>, Entry[]> {
    const now = performance.now()
    const older = new Map<Line<Entry>, Entry[]>()
    const states = new Set(kept.newest?.keys())
    for (const event of events.toReversed()) {
      const line = kept.lineOf(event)
      if (event.position > Math.max(kept.floor, line.floor)) continue
      if (event.key !== '') {
        const state = stateName(event)
        if (states.has(state)) continue
        states.add(state)
      }
      const entries = older.get(line)
      const entry = entryOf(event, [kept], now - event.age)
      if (entries === undefined) older.set(line, [entry])
      else entries.push(entry)
    }
    return older
  }

  /** The oldest of all from now on: it is what goes first. */
  #putFirst (entry: Entry): void {
    entry.newer = this.#oldest
    if (this.#oldest === null) this.#newest = entry
    else this.#oldest.older = entry
    this.#oldest = entry
    this.#countIn(entry)
  }

  /** Those of some targets that were not filled, and of which something after a position may be known elsewhere. */
  unfilled (targets: readonly string[], after: number): string[] {
    return targets.filter(target => {
      const kept = this.#targets.get(target)
      return kept === undefined ? this.#forgottenFloor > after : !kept.filled && floorOf(kept) > after
    })
  }

  /** Lets go of everything up to a position, of whatever target. */
  skipTo (position: number): void {
    this.#targets.clear()
    this.#empty.clear()
    this.#oldest = this.#newest = null
    this.#count = this.#bytes = 0
    this.#forgottenFloor = position
    this.#forgottenAt = ++this.#tick
  }

  /** Lets go of what is older than `maxAge`. */
  expire (): void {
    const before = performance.now() - this.#limits.maxAge
    while (this.#oldest !== null && this.#oldest.time < before) this.#evict(this.#oldest)
  }

  /** Lets go of what is older than `maxAge` of these targets: what was filled in is in no order with the others'. */
  expireOf (targets: readonly string[]): void {
    const before = performance.now() - this.#limits.maxAge
    for (const target of targets) {
      const kept = this.#targets.get(target)
      if (kept === undefined || !kept.filled) continue
      for (const line of kept.lines(false)) {
        while (line.oldest !== undefined && line.oldest.time < before) this.#trim(kept, line)
      }
    }
  }

  /**
   * Whether something after a position is gone from one of these targets.
   * @param since only what went after this tick counts
   */
  lost (targets: readonly string[], after: number, since: number): boolean {
    for (const target of targets) {
      const kept = this.#targets.get(target)
      if (kept === undefined) {
        if (this.#forgottenFloor > after && this.#forgottenAt > since) return true
        continue
      }
      if (kept.floor > after && kept.trimmedAt > since) return true
      for (const { floor, trimmedAt } of kept.lines(false)) if (floor > after && trimmedAt > since) return true
    }
    return false
  }

  /** Whether an event of these targets has taken the place of another one after a tick. */
  superseded (targets: readonly string[], since: number): boolean {
    return targets.some(target => (this.#targets.get(target)?.supersededAt ?? 0) > since)
  }

  /** Whether one of these targets has states. */
  hasStates (targets: readonly string[]): boolean {
    return targets.some(target => (this.#targets.get(target)?.newest?.size ?? 0) > 0)
  }

  /** The states that a target's events of a name say, oldest first. */
  * states (target: string, name: string): Generator<KeptEvent, void> {
    const line = this.#targets.get(target)?.states
    if (line == null) return
    let at = line.indexAfter(0)
    for (let entry = line.at(at); entry !== undefined; entry = line.at(++at)) if (entry.name === name) yield entry
  }

  /**
   * Whether anything is kept for a target after a position, up to another one.
   * @param fresh without what only removes a state, for one who never knew it
   */
  has (target: string, after: number, to: number, fresh = false): boolean {
    return this.first([target], after, to, fresh) !== 0
  }

  /** Position of the first event of these targets after a position, up to another one; 0 where there is none. */
  first (targets: readonly string[], after: number, to: number, fresh = false): number {
    let first = 0
    for (const line of this.#lines(targets, fresh)) {
      const entry = line.at(line.indexAfter(after))
      if (entry !== undefined && entry.position <= to && (first === 0 || entry.position < first)) first = entry.position
    }
    return first
  }

  /**
   * The events of these targets after a position, up to another one, in order; an event in several of them once.
   */
  * range (targets: readonly string[], after: number, to: number, fresh = false): Generator<KeptEvent, void> {
    const ways = this.#lines(targets, fresh).map(line => ({ line, at: line.indexAfter(after) }))
    for (;;) {
      let next: Entry | undefined
      for (const { line, at } of ways) {
        const entry = line.at(at)
        if (entry !== undefined && (next === undefined || entry.position < next.position)) next = entry
      }
      if (next === undefined || next.position > to) return
      // What `fill` put in is one entry a target.
      for (const way of ways) if (way.line.at(way.at)?.position === next.position) way.at++
      yield next
    }
  }

  #lines (targets: readonly string[], fresh: boolean): Array<Line<Entry>> {
    return targets.flatMap(target => this.#targets.get(target)?.lines(fresh) ?? [])
  }

  #of (target: string): Kept {
    let kept = this.#targets.get(target)
    if (kept === undefined) {
      kept = new Kept(target, this.#forgottenFloor, this.#forgottenAt)
      this.#targets.set(target, kept)
      this.#bytes += TARGET_OVERHEAD + stringBytes(target)
    }
    return kept
  }

  #countIn (entry: Entry): void {
    if (!entry.remove) this.#count++
    this.#bytes += entry.cost
  }

  #bound (): void {
    while (this.#bytes > this.#limits.maxBytes && this.#oldest !== null) this.#evict(this.#oldest)
  }

  /** Lets go of the oldest event of all. */
  #evict (entry: Entry): void {
    for (const kept of entry.targets) {
      const line = kept.lineOf(entry)
      if (line.oldest === entry) this.#trim(kept, line)
    }
  }

  /** Lets go of the oldest event of a target's line, and of the target with its last one. */
  #trim (kept: Kept, line: Line<Entry>): void {
    const entry = line.oldest!
    line.shift()
    line.floor = entry.position
    line.trimmedAt = ++this.#tick
    if (entry.key !== '') kept.newest!.delete(stateName(entry))
    if (--entry.holders === 0) this.#unlink(entry)
    if (kept.count === 0) this.#forget(kept)
  }

  /** Lets go of a target of which nothing is kept. */
  #forget (kept: Kept): void {
    this.#targets.delete(kept.target)
    this.#empty.delete(kept)
    this.#bytes -= TARGET_OVERHEAD + stringBytes(kept.target)
    this.#forgottenFloor = Math.max(this.#forgottenFloor, floorOf(kept))
    this.#forgottenAt = Math.max(kept.trimmedAt, ...kept.lines(false).map(({ trimmedAt }) => trimmedAt))
  }

  #unlink (entry: Entry): void {
    if (entry.older === null) this.#oldest = entry.newer
    else entry.older.newer = entry.newer
    if (entry.newer === null) this.#newest = entry.older
    else entry.newer.older = entry.older
    if (!entry.remove) this.#count--
    this.#bytes -= entry.cost
  }
}

function entryOf (event: KeptEvent, targets: readonly Kept[], time: number): Entry {
  return {
    position: event.position,
    name: event.name,
    except: event.except,
    compress: event.compress,
    key: event.key,
    remove: event.remove,
    raw: event.raw,
    text: event.text,
    size: event.size,
    targets,
    time,
    cost: costOf(event, targets.length),
    holders: targets.length,
    older: null,
    newer: null
  }
}

/** Which state an event says: names hold no line break. */
function stateName ({ name, key }: KeptEvent): string {
  return `${name}\n${key}`
}

/** Position of the newest event of a target that is not kept any more, or of which nothing is known. */
function floorOf (kept: Kept): number {
  return Math.max(kept.floor, ...kept.lines(false).map(({ floor }) => floor))
}

function costOf (event: KeptEvent, places: number): number {
  const text = event.text.length === event.size ? event.size : 2 * event.text.length
  const state = event.key === '' ? 0 : KEY_OVERHEAD + stringBytes(event.key) + stringBytes(event.name)
  return text + stringBytes(event.name) + stringBytes(event.except) + stringBytes(event.key) + EVENT_OVERHEAD + (PLACE_OVERHEAD + state) * places
}

/** What V8 keeps of a string, at most: one byte a character where all are Latin-1, else two. */
function stringBytes (text: string): number {
  return Buffer.byteLength(text) === text.length ? text.length : 2 * text.length
}
