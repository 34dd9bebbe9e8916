// What is kept of the past, per target (a channel, the broadcasts, a client id), for replays. It must not know of
// clients or of the broker. Every event has a position: a number that grows in the order of delivery.

/** What one kept event takes beside its strings: its record, the strings' heads. */
const EVENT_OVERHEAD = 240
/** What an event's place in a target's list takes, there and in the event. */
const PLACE_OVERHEAD = 32
/** What one target takes, its name aside. */
const TARGET_OVERHEAD = 320
/** Filled targets of which nothing is kept: so many are known to be empty. */
const MAX_EMPTY = 10_000

export interface KeptEvent {
  readonly position: number
  readonly name: string
  /** The client id that does not get it; `''` for none. */
  readonly except: string
  /** Whether it may be compressed together with others. */
  readonly compress: boolean
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

/** A target's events, oldest first, in `entries` from `start` on. */
interface Kept {
  readonly target: string
  readonly entries: Array<Entry | undefined>
  start: number
  /** Position of the newest event that is not kept any more, and the tick at which it went. */
  floor: number
  trimmedAt: number
  /** What was before is put in, as far as it is known elsewhere. */
  filled: boolean
}

export interface HistoryLimits {
  /** Events per target. */
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

  /** Events kept. */
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
    const entry: Entry = {
      position: event.position,
      name: event.name,
      except: event.except,
      compress: event.compress,
      text: event.text,
      size: event.size,
      targets: kept,
      time: maxAge === Infinity ? 0 : performance.now(),
      cost: costOf(event, kept.length),
      holders: targets.length,
      older: this.#newest,
      newer: null
    }
    if (this.#newest === null) this.#oldest = entry
    else this.#newest.newer = entry
    this.#newest = entry
    this.#count++
    this.#bytes += entry.cost
    for (const list of kept) {
      list.entries.push(entry)
      this.#empty.delete(list)
      if (list.entries.length - list.start > size) this.#trim(list)
    }
    this.#bound()
    if (maxAge !== Infinity) this.expire()
  }

  /**
   * Puts in what is known from elsewhere of a target's events that are not kept.
   * @param events oldest first
   * @param floor position of the newest one that is lost
   * @param known the position up to which that is all there is
   */
  fill (target: string, events: ReadonlyArray<KeptEvent & { readonly age: number }>, floor: number, known: number): void {
    // Behind its floor everything is kept. What went from there since the other side was asked would be a hole.
    if ((this.#targets.get(target)?.floor ?? this.#forgottenFloor) > known) return
    const kept = this.#of(target)
    const older = events.filter(({ position }) => position <= kept.floor)
    const room = Math.max(0, this.#limits.size - (kept.entries.length - kept.start))
    const entries: Entry[] = older.slice(Math.max(0, older.length - room)).map(event => ({
      position: event.position,
      name: event.name,
      except: event.except,
      compress: event.compress,
      text: event.text,
      size: event.size,
      targets: [kept],
      time: performance.now() - event.age,
      cost: costOf(event, 1),
      holders: 1,
      older: null,
      newer: null
    }))
    // The oldest of all from now on: they are what goes first.
    for (const entry of entries.toReversed()) {
      entry.newer = this.#oldest
      if (this.#oldest === null) this.#newest = entry
      else this.#oldest.older = entry
      this.#oldest = entry
      this.#count++
      this.#bytes += entry.cost
    }
    kept.entries.splice(0, kept.start, ...entries)
    kept.start = 0
    kept.floor = entries.length < older.length ? older[older.length - entries.length - 1]!.position : Math.min(floor, kept.floor)
    kept.trimmedAt = this.#filledAt = ++this.#tick
    kept.filled = true
    if (kept.entries.length === 0) this.#empty.add(kept)
    if (this.#empty.size > MAX_EMPTY) this.#forget(this.#empty.values().next().value!)
    this.#bound()
  }

  /** Those of some targets that were not filled, and of which something after a position may be known elsewhere. */
  unfilled (targets: readonly string[], after: number): string[] {
    return targets.filter(target => {
      const kept = this.#targets.get(target)
      return kept === undefined ? this.#forgottenFloor > after : !kept.filled && kept.floor > after
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
      for (let entry = kept.entries[kept.start]; entry !== undefined && entry.time < before; entry = kept.entries[kept.start]) this.#trim(kept)
    }
  }

  /**
   * Whether something after a position is gone from one of these targets.
   * @param since only what went after this tick counts
   */
  lost (targets: readonly string[], after: number, since: number): boolean {
    for (const target of targets) {
      const kept = this.#targets.get(target)
      const floor = kept === undefined ? this.#forgottenFloor : kept.floor
      const trimmedAt = kept === undefined ? this.#forgottenAt : kept.trimmedAt
      if (floor > after && trimmedAt > since) return true
    }
    return false
  }

  /** Whether anything is kept for a target after a position, up to another one. */
  has (target: string, after: number, to: number): boolean {
    const kept = this.#targets.get(target)
    const entry = kept?.entries[indexAfter(kept, after)]
    return entry !== undefined && entry.position <= to
  }

  /** Position of the first event of these targets after a position, up to another one; 0 where there is none. */
  first (targets: readonly string[], after: number, to: number): number {
    let first = 0
    for (const target of targets) {
      const kept = this.#targets.get(target)
      const entry = kept?.entries[indexAfter(kept, after)]
      if (entry !== undefined && entry.position <= to && (first === 0 || entry.position < first)) first = entry.position
    }
    return first
  }

  /**
   * The events of these targets after a position, up to another one, in order; an event in several of them once.
   */
  * range (targets: readonly string[], after: number, to: number): Generator<KeptEvent, void> {
    const lists: Array<{ entries: ReadonlyArray<Entry | undefined>, at: number }> = []
    for (const target of targets) {
      const kept = this.#targets.get(target)
      if (kept !== undefined) lists.push({ entries: kept.entries, at: indexAfter(kept, after) })
    }
    for (;;) {
      let next: Entry | undefined
      for (const list of lists) {
        const entry = list.entries[list.at]
        if (entry !== undefined && (next === undefined || entry.position < next.position)) next = entry
      }
      if (next === undefined || next.position > to) return
      // What `fill` put in is one entry a target.
      for (const list of lists) if (list.entries[list.at]?.position === next.position) list.at++
      yield next
    }
  }

  #of (target: string): Kept {
    let kept = this.#targets.get(target)
    if (kept === undefined) {
      kept = { target, entries: [], start: 0, floor: this.#forgottenFloor, trimmedAt: this.#forgottenAt, filled: false }
      this.#targets.set(target, kept)
      this.#bytes += TARGET_OVERHEAD + stringBytes(target)
    }
    return kept
  }

  #bound (): void {
    while (this.#bytes > this.#limits.maxBytes && this.#oldest !== null) this.#evict(this.#oldest)
  }

  /** Lets go of the oldest event of all. */
  #evict (entry: Entry): void {
    for (const kept of entry.targets) if (kept.entries[kept.start] === entry) this.#trim(kept)
  }

  /** Lets go of a target's oldest event, and of the target with its last one. */
  #trim (kept: Kept): void {
    const entry = kept.entries[kept.start]!
    kept.entries[kept.start++] = undefined
    kept.floor = entry.position
    kept.trimmedAt = ++this.#tick
    if (--entry.holders === 0) this.#unlink(entry)
    if (kept.start === kept.entries.length) this.#forget(kept)
    else if (kept.start >= 32 && kept.start * 2 >= kept.entries.length) {
      kept.entries.splice(0, kept.start)
      kept.start = 0
    }
  }

  /** Lets go of a target of which nothing is kept. */
  #forget (kept: Kept): void {
    this.#targets.delete(kept.target)
    this.#empty.delete(kept)
    this.#bytes -= TARGET_OVERHEAD + stringBytes(kept.target)
    this.#forgottenFloor = Math.max(this.#forgottenFloor, kept.floor)
    this.#forgottenAt = kept.trimmedAt
  }

  #unlink (entry: Entry): void {
    if (entry.older === null) this.#oldest = entry.newer
    else entry.older.newer = entry.newer
    if (entry.newer === null) this.#newest = entry.older
    else entry.newer.older = entry.older
    this.#count--
    this.#bytes -= entry.cost
  }
}

/** Where the first entry after a position is, or would be. */
function indexAfter (kept: Kept, after: number): number {
  const { entries } = kept
  let low = kept.start
  let high = entries.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (entries[middle]!.position > after) high = middle
    else low = middle + 1
  }
  return low
}

function costOf (event: KeptEvent, places: number): number {
  const text = event.text.length === event.size ? event.size : 2 * event.text.length
  return text + stringBytes(event.name) + stringBytes(event.except) + EVENT_OVERHEAD + PLACE_OVERHEAD * places
}

/** What V8 keeps of a string, at most: one byte a character where all are Latin-1, else two. */
function stringBytes (text: string): number {
  return Buffer.byteLength(text) === text.length ? text.length : 2 * text.length
}
