// What waits for one client alone, in order: behind the lists that it shares with others, and of each state the newest event.
// It must not know of clients or sockets.
import type { Frame } from './batch.js'

/**
 * A newer state takes the place of the older one that waits: at the end of the line, a key that changes often would never
 * have its turn. So events may leave in another order than that of their ids. Each is told with an id from which its client
 * can resume: the newest one below everything that still waits.
 */
export class Waiting {
  /** Bytes of stream, before any encoding. */
  size = 0
  /** From the first place on; `null` where what stood there was given up. */
  #frames: Array<Frame | null> = []
  /** Places that were left before the first one. */
  #left = 0
  /** The place of the newest event of each state. */
  readonly #places = new Map<string, number>()
  /** Of events that say several states, how many of these nothing newer says. */
  readonly #said = new Map<number, number>()
  /** Whether something newer may stand before something older. */
  #reordered = false
  /** The newest event with an id that ever came. */
  #newest: Frame | null = null

  /** Places in line, those included that were given up. */
  get places (): number {
    return this.#frames.length
  }

  /**
   * Puts an event in line.
   * @returns how many older ones it leaves nothing to say for
   */
  push (frame: Frame): number {
    const { position, id, states } = frame.place
    this.size += frame.size
    if (id !== null && (this.#newest === null || position > this.#newest.place.position)) this.#newest = frame
    if (states === null) {
      this.#frames.push(frame)
      return 0
    }
    let last = -1
    let superseded = 0
    for (const state of states) {
      const place = this.#places.get(state)
      if (place === undefined) continue
      last = Math.max(last, place)
      if (this.#supersede(place)) superseded++
    }
    // Behind all that says one of its states: where the last of these was, if that is free now.
    const place = last !== -1 && this.#frames[last - this.#left] === null ? last : this.#left + this.#frames.length
    if (place === last) this.#reordered = true
    this.#frames[place - this.#left] = frame
    for (const state of states) this.#places.set(state, place)
    if (states.length > 1) this.#said.set(place, states.length)
    return superseded
  }

  /** Something newer says one of a place's states. Returns whether nothing is left that it says. */
  #supersede (place: number): boolean {
    const said = (this.#said.get(place) ?? 1) - 1
    if (said > 0) {
      this.#said.set(place, said)
      return false
    }
    this.#said.delete(place)
    this.size -= this.#frames[place - this.#left]!.size
    this.#frames[place - this.#left] = null
    return true
  }

  /** Takes the first events, at least one, and no more than so many bytes of several. */
  take (limit: number): Frame[] {
    let places = 0
    let size = 0
    for (const frame of this.#frames) {
      if (frame !== null) {
        if (size > 0 && size + frame.size > limit) break
        size += frame.size
      }
      places++
    }
    const taken = this.#leave(places)
    return this.#reordered ? this.#safely(taken) : taken
  }

  /**
   * Gives up the first events, until they are at least so many bytes.
   * @returns how many events
   */
  drop (bytes: number): number {
    let places = 0
    let size = 0
    while (places < this.#frames.length && size < bytes) size += this.#frames[places++]?.size ?? 0
    return this.#leave(places).length
  }

  #leave (places: number): Frame[] {
    const frames = this.#frames.splice(0, places)
    frames.forEach((frame, i) => {
      const place = this.#left + i
      this.#said.delete(place)
      for (const state of frame?.place.states ?? []) if (this.#places.get(state) === place) this.#places.delete(state)
    })
    this.#left += places
    const taken = frames.filter(frame => frame !== null)
    for (const { size } of taken) this.size -= size
    return taken
  }

  /** Events that leave now, with ids from which a client can resume that got no more than them. */
  #safely (frames: readonly Frame[]): Frame[] {
    const safe = [...frames]
    // The oldest of those that come behind.
    let oldest = this.#frames.reduce(older, null)
    for (let i = safe.length - 1; i >= 0; i--) {
      const frame = safe[i]!
      const { position, id } = frame.place
      if (id === null) continue
      if (oldest === null) safe[i] = frame.withId(this.#newest!.place.id!)
      else if (position > oldest.place.position) safe[i] = frame.withId(oldest.place.before)
      oldest = older(oldest, frame)
    }
    return safe
  }
}

/** The older of two events that have ids. */
function older (one: Frame | null, other: Frame | null): Frame | null {
  if (other === null || other.place.id === null) return one
  return one === null || other.place.position < one.place.position ? other : one
}
