// How long events take from the broker to the last client in line for them. It must not know of clients.
import type { Scheduler, SchedulerWatcher } from '../client/scheduler.js'

/** Upper bounds of the histogram's buckets, in seconds. */
export const FANOUT_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const

/** Events that come within so many milliseconds are measured together: a burst costs one entry, and no bucket tells. */
const MOMENT = 0.05

/** Events that came at the same time. */
interface Moment {
  readonly at: number
  events: number
  /** How many visits the scheduler will have made when the last client in line for them had its turn. */
  due: number
}

export class FanoutTimer implements SchedulerWatcher {
  /** Events by the first bound that they don't exceed; the last is for those beyond all. */
  readonly counts: number[] = new Array<number>(FANOUT_BOUNDS.length + 1).fill(0)
  /** Seconds of all events together. */
  sum = 0
  readonly #scheduler: Scheduler
  /** Oldest first. */
  readonly #moments: Moment[] = []

  constructor (scheduler: Scheduler) {
    this.#scheduler = scheduler
    scheduler.watcher = this
  }

  /** Takes note of an event that was put in line for clients just now. */
  delivered (): void {
    const { visits, waiting } = this.#scheduler
    // Whoever it is for can't be written to now: how long that takes is the clients' matter, and not the hub's.
    if (waiting === 0) return
    const now = performance.now()
    const last = this.#moments.at(-1)
    if (last !== undefined && now - last.at < MOMENT) {
      last.events++
      last.due = visits + waiting
    } else {
      this.#moments.push({ at: now, events: 1, due: visits + waiting })
    }
  }

  visited (visits: number): void {
    const now = performance.now()
    let done = 0
    for (const { at, events, due } of this.#moments) {
      if (due > visits) break
      this.#observe((now - at) / 1000, events)
      done++
    }
    if (done > 0) this.#moments.splice(0, done)
  }

  reset (): void {
    this.counts.fill(0)
    this.sum = 0
  }

  #observe (seconds: number, events: number): void {
    const bucket = FANOUT_BOUNDS.findIndex(bound => seconds <= bound)
    this.counts[bucket === -1 ? FANOUT_BOUNDS.length : bucket]! += events
    this.sum += seconds * events
  }
}
