// What waits for one client alone, in order: behind the lists that it shares with others, and of each state the newest event.
// It must not know of clients or sockets.
import type { Frame, Place } from '../wire/batch.js'

/** An event in line. */
interface Slot {
  frame: Frame
  /** Which of those that it says concern the client. */
  states: readonly string[]
  /** How many of them nothing newer says. */
  said: number
  /**
   * The oldest place behind which a client that lacks this event must resume. One that is not kept may stand for one that is,
   * which has left the line for it and would come again. `null` where there is none.
   */
  due: Place | null
  /** Which one it was in line: grows from slot to slot. */
  readonly number: number
  previous: Slot | null
  next: Slot | null
}

const NONE: readonly string[] = []

/**
 * A newer state takes the place of the older one that waits: at the end of the line, a key that changes often would never
 * have its turn. So events may leave in another order than that of their ids. Each is told with an id from which its client
 * can resume: the newest one below everything that still waits.
 */
export class SideLine {
  /** Bytes of stream, before any encoding. */
  size = 0
  #first: Slot | null = null
  #last: Slot | null = null
  /** Numbers of the last one that came in line, and of the last one that left it. */
  #came = 0
  #left = 0
  /** The newest event of each state. */
  readonly #newestOf = new Map<string, Slot>()
  /** Whether something newer may stand before something older. */
  #reordered = false
  /** The newest place that ever came. */
  #newest: Place | null = null

  /** Places in line, those included that were given up and that nothing behind them has left. */
  get places (): number {
    return this.#came - this.#left
  }

  /**
   * Puts an event in line.
   * @param states which of those that it says concern the client; `null` where it has no key
   * @returns how many older ones it leaves nothing to say for
   */
  push (frame: Frame, states: readonly string[] | null): number {
    const { place } = frame
    const kept = place.id !== null
    this.size += frame.size
    if (kept && (this.#newest === null || place.position > this.#newest.position)) this.#newest = place
    let due = kept ? place : null
    let last: Slot | null = null
    let superseded = 0
    for (const state of states ?? NONE) {
      const slot = this.#newestOf.get(state)
      if (slot === undefined) continue
      if (--slot.said === 0) superseded++
      if (!kept) due = older(due, slot.due)
      const behind: Slot = last === null || slot.number > last.number ? slot : last
      const before: Slot | null = behind === slot ? last : slot
      if (before !== null && before !== behind && before.said === 0) this.#unlink(before)
      last = behind
    }
    // Behind all that says one of its states: where the last of these is, if nothing is left that it says.
    const free = last !== null && last.said === 0
    if (free || (!kept && due !== null)) this.#reordered = true
    const slot = free ? this.#replace(last!, frame) : this.#append(frame)
    slot.states = states ?? NONE
    slot.said = slot.states.length
    slot.due = due
    for (const state of slot.states) this.#newestOf.set(state, slot)
    return superseded
  }

  #replace (slot: Slot, frame: Frame): Slot {
    this.size -= slot.frame.size
    slot.frame = frame
    return slot
  }

  #append (frame: Frame): Slot {
    const slot: Slot = { frame, states: NONE, said: 0, due: null, number: ++this.#came, previous: this.#last, next: null }
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

  /** Takes the first events, at least one, and no more than so many bytes of several. */
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
   * Gives up the first events, until they are at least so many bytes.
   * @returns how many events
   */
  drop (bytes: number): number {
    let count = 0
    for (let size = 0; this.#first !== null && size < bytes; count++) {
      size += this.#first.frame.size
      this.#leave(this.#first)
    }
    return count
  }

  /** The first one leaves. */
  #leave (slot: Slot): void {
    this.#unlink(slot)
    this.#left = slot.number
    for (const state of slot.states) if (this.#newestOf.get(state) === slot) this.#newestOf.delete(state)
  }

  /** Events that leave now, with ids from which a client can resume that got no more than them. */
  #safely (taken: readonly Slot[]): Frame[] {
    // The oldest place of those that come behind.
    let oldest: Place | null = null
    for (let slot = this.#first; slot !== null; slot = slot.next) oldest = older(oldest, slot.due)
    const frames: Frame[] = []
    for (const { frame, due } of taken.toReversed()) {
      const { position, id } = frame.place
      const safe = oldest === null ? this.#newest?.id : position > oldest.position ? oldest.before : id
      frames.push(id === null ? frame : frame.withId(safe!))
      oldest = older(oldest, due)
    }
    return frames.reverse()
  }
}

/** The older of two places. */
function older (one: Place | null, other: Place | null): Place | null {
  if (one === null || other === null) return one ?? other
  return other.position < one.position ? other : one
}
