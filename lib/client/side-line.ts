// What waits for one client alone, after the lists that it shares with others. Of each state only the newest event waits. It must
// not know of clients or sockets.
import type { Frame, Place } from '../wire/batch.js'

/** An event in line. */
interface Slot {
  frame: Frame
  /** The states that the event tells and that concern the client. */
  states: readonly string[]
  /**
   * How many of these states no newer event tells. At 0 the event need not be sent. Example: event 1 tells "a" and "b", which is 2.
   * Event 2 tells "a", which leaves 1. Event 3 tells "b", which leaves 0.
   */
  current: number
  /**
   * The oldest kept event that the client misses while this slot waits. The client must not resume after it. For a kept event it
   * is the event itself. A transient event takes over the oldest of the events whose states it tells. Example: event 2 tells "a"
   * and is kept. Event 5 tells "a", is transient and takes the slot. A client that reconnects before it has event 5 needs event 2,
   * because history does not have event 5. `null` where there is none.
   */
  missing: Place | null
  /** Grows from slot to slot. An event that takes a slot takes its number too. */
  readonly number: number
  previous: Slot | null
  next: Slot | null
}

const NONE: readonly string[] = []

/**
 * A newer state takes the slot of the older one that waits. At the end of the line, a key that changes often would never have its
 * turn. So events may leave in another order than that of their ids, and the client may disconnect between two of them. Therefore
 * each leaves with an id from which the client can resume: the newest id that is older than all that still waits.
 *
 * Example: event 1 tells "a", 2 tells "b", 3 tells "c", 4 tells "b" and 5 tells "a". The line is 5, 4, 3. When 5 and 4 leave, 3
 * still waits, so both leave with the id of 2. With its own id 5, the client would never get 3. Then 3 leaves with the id of 5.
 */
export class SideLine {
  /** Bytes of stream, before any encoding. */
  size = 0
  #first: Slot | null = null
  #last: Slot | null = null
  /** The numbers of the last slot that was appended, and of the last one that left at the front. */
  #came = 0
  #left = 0
  /** The slot with the newest event of each state. */
  readonly #newestOf = new Map<string, Slot>()
  /** Whether events may leave in another order than that of their ids. Until then all keep their own ids. */
  #reordered = false
  /** The place of the newest kept event that was ever put in line. */
  #newest: Place | null = null

  /**
   * How many slots are in line. A slot that was removed counts until a later one leaves, because a `send()` is settled by the
   * number of slots up to its own. Example: of the slots 1, 2 and 3, slot 1 is removed. That makes 3, and 1 after slot 2 has left.
   */
  get places (): number {
    return this.#came - this.#left
  }

  get isEmpty (): boolean {
    return this.#first === null
  }

  /**
   * Puts an event in line.
   * @param states those that the event tells and that concern the client; `null` where it has no key
   * @returns how many older events need not be sent any more
   */
  push (frame: Frame, states: readonly string[] | null): number {
    const { place } = frame
    const kept = place.id !== null
    this.size += frame.size
    if (kept && (this.#newest === null || place.position > this.#newest.position)) this.#newest = place
    let missing = kept ? place : null
    let last: Slot | null = null
    let superseded = 0
    for (const state of states ?? NONE) {
      const slot = this.#newestOf.get(state)
      if (slot === undefined) continue
      if (--slot.current === 0) superseded++
      if (!kept) missing = older(missing, slot.missing)
      const later: Slot = last === null || slot.number > last.number ? slot : last
      const earlier: Slot | null = later === slot ? last : slot
      if (earlier !== null && earlier !== later && earlier.current === 0) this.#unlink(earlier)
      last = later
    }
    // The event may take the last slot that tells one of its states, but no earlier one. Example: event 1 tells "a", 2 tells "b"
    // and "c", 3 tells "a" and "b". In the slot of 1, event 3 would leave before 2, and the client would take the older "b" for
    // the newer one. Event 2 must still tell "c", so its slot is not free either. The line is 2, 3.
    const free = last !== null && last.current === 0
    if (free || (!kept && missing !== null)) this.#reordered = true
    const slot = free ? this.#replace(last!, frame) : this.#append(frame)
    slot.states = states ?? NONE
    slot.current = slot.states.length
    slot.missing = missing
    for (const state of slot.states) this.#newestOf.set(state, slot)
    return superseded
  }

  #replace (slot: Slot, frame: Frame): Slot {
    this.size -= slot.frame.size
    slot.frame = frame
    return slot
  }

  #append (frame: Frame): Slot {
    const slot: Slot = { frame, states: NONE, current: 0, missing: null, number: ++this.#came, previous: this.#last, next: null }
    if (this.#last === null) this.#first = slot
    else this.#last.next = slot
    this.#last = slot
    return slot
  }

  #unlink (slot: Slot): void {
    this.size -= slot.frame.size
    if (slot.previous === null) this.#first = slot.next
    else slot.previous.next = slot.next
    if (slot.next === null) this.#last = slot.previous
    else slot.next.previous = slot.previous
  }

  /** Takes the first events, up to `limit` bytes. It takes one event even if that is larger. */
  take (limit: number): Frame[] {
    const taken: Slot[] = []
    let size = 0
    for (let slot = this.#first; slot !== null && (size === 0 || size + slot.frame.size <= limit); slot = slot.next) {
      size += slot.frame.size
      taken.push(slot)
      this.#leave(slot)
    }
    return this.#reordered ? this.#safely(taken) : taken.map(({ frame }) => frame)
  }

  /**
   * Drops the first events, until they have at least this many bytes.
   * @returns how many events it dropped
   */
  drop (bytes: number): number {
    let count = 0
    for (let size = 0; this.#first !== null && size < bytes; count++) {
      size += this.#first.frame.size
      this.#leave(this.#first)
    }
    return count
  }

  /** Removes some of the events, which must have no key: what they tell may concern others in line. */
  remove (unwanted: (frame: Frame) => boolean): void {
    for (let slot = this.#first; slot !== null; slot = slot.next) if (unwanted(slot.frame)) this.#unlink(slot)
  }

  /** Removes the first slot. */
  #leave (slot: Slot): void {
    this.#unlink(slot)
    this.#left = slot.number
    for (const state of slot.states) if (this.#newestOf.get(state) === slot) this.#newestOf.delete(state)
  }

  /** Gives each event that leaves now an id from which the client can resume if it gets no event after it. */
  #safely (taken: readonly Slot[]): Frame[] {
    // The oldest kept event that the client misses after the event at hand. What waits is known, so the loop runs from the last
    // event to the first.
    let oldest: Place | null = null
    for (let slot = this.#first; slot !== null; slot = slot.next) oldest = older(oldest, slot.missing)
    const frames: Frame[] = []
    for (const { frame, missing } of taken.toReversed()) {
      const { position, id } = frame.place
      const safe = oldest === null ? this.#newest?.id : position > oldest.position ? oldest.before : id
      frames.push(id === null ? frame : frame.withId(safe!))
      oldest = older(oldest, missing)
    }
    return frames.reverse()
  }
}

/** The older of two places. */
function older (one: Place | null, other: Place | null): Place | null {
  if (one === null || other === null) return one ?? other
  return other.position < one.position ? other : one
}
