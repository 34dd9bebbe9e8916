// Finds what is kept of a target by its name. All targets of which nothing is kept share one floor. This file must not know
// of limits, or of the order among targets.
import { stringBytes } from './entry.js'
import { TargetHistory } from './target-history.js'

/** What a target takes without its name and its events. */
const TARGET_OVERHEAD = 400
/**
 * How many targets are remembered to be empty, so that the broker is not asked for them again. With 10,000 client ids that
 * never got a message of their own, a reconnect of one of them asks for nothing. The 10,001st makes room by forgetting the
 * first: when that client comes back, the broker is asked again.
 */
const MAX_EMPTY = 10_000

export class TargetIndex {
  readonly #targets = new Map<string, TargetHistory>()
  /** Filled targets of which nothing is kept, in the order in which they were added. */
  readonly #empty = new Set<TargetHistory>()
  #bytes = 0
  /**
   * The floor of all targets that are not here. If the last event of `a` was 7 and that of `b` was 9, and both targets are
   * forgotten, it is 9 for both. A client of `a` that has all up to 8 is then told of a loss, though it lost nothing.
   */
  #sharedFloor = 0
  #sharedFloorTick = 0

  /**
   * Without the empty targets, whose number has a limit of its own: they can't make room for an event. Else 10,000 of them would take
   * 4 MB of a small history, and keep nothing in it.
   */
  get bytes (): number {
    return this.#bytes
  }

  get (target: string): TargetHistory | undefined {
    return this.#targets.get(target)
  }

  /** Makes one for a target that has none. */
  of (target: string): TargetHistory {
    let history = this.#targets.get(target)
    if (history === undefined) {
      history = new TargetHistory(target, this.#sharedFloor, this.#sharedFloorTick)
      this.#targets.set(target, history)
      this.#bytes += costOf(history)
    }
    return history
  }

  /** The position after which every event of a target is here. */
  floor (target: string): number {
    return this.#targets.get(target)?.highestFloor ?? this.#sharedFloor
  }

  /** Whether an event of a target after a position was removed, or never known, at a tick later than `since`. */
  lost (target: string, after: number, since: number): boolean {
    const history = this.#targets.get(target)
    return history === undefined ? this.#sharedFloor > after && this.#sharedFloorTick > since : history.lost(after, since)
  }

  addEmpty (history: TargetHistory): void {
    if (this.#empty.has(history)) return
    this.#empty.add(history)
    this.#bytes -= costOf(history)
    if (this.#empty.size > MAX_EMPTY) this.forget(this.#empty.values().next().value!)
  }

  deleteEmpty (history: TargetHistory): void {
    if (this.#empty.delete(history)) this.#bytes += costOf(history)
  }

  /** Forgets a target of which nothing is kept. */
  forget (history: TargetHistory): void {
    this.deleteEmpty(history)
    this.#targets.delete(history.name)
    this.#bytes -= costOf(history)
    // Neither goes back. The target may have lost its last event long ago: say at tick 3, while another one was forgotten at tick 9.
    // With a tick of 3, the loss of tick 9 would be hidden from a replay that knows of losses up to tick 5.
    this.setSharedFloor(Math.max(this.#sharedFloor, history.highestFloor), Math.max(this.#sharedFloorTick, history.latestFloorTick))
  }

  forgetAll (floor: number, tick: number): void {
    this.#targets.clear()
    this.#empty.clear()
    this.#bytes = 0
    this.setSharedFloor(floor, tick)
  }

  setSharedFloor (floor: number, tick: number): void {
    this.#sharedFloor = floor
    this.#sharedFloorTick = tick
  }
}

function costOf ({ name }: TargetHistory): number {
  return TARGET_OVERHEAD + stringBytes(name)
}
