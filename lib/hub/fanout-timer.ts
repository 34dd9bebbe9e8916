// Measures how long an event takes from the broker to the last client that is in line for it. It must not know of clients.
import type { Scheduler, SchedulerWatcher } from '../client/scheduler.js'

/** Upper bounds of the histogram's buckets, in seconds. */
export const FANOUT_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const

/** Milliseconds within which events are measured together. A burst needs one entry, and no bucket is fine enough to show it. */
const MOMENT = 0.05

/** Events that came at the same time. */
interface Moment {
  readonly at: number
  events: number
  /**
   * How many visits the scheduler has made, since start, when the last client in line has had its turn. Example: it has made 1,000
   * visits and 50 clients are in line. Then it is 1,050.
   */
  due: number
}

export class FanoutTimer implements SchedulerWatcher {
  /** Numbers of events, by the first bound that is not less than their time. The last one is for times above all bounds. */
  readonly counts: number[] = new Array<number>(FANOUT_BOUNDS.length + 1).fill(0)
  /** The sum of all times, in seconds. */
  sum = 0
  readonly #scheduler: Scheduler
  /** Oldest first. */
  readonly #moments: Moment[] = []

  constructor (scheduler: Scheduler) {
    this.#scheduler = scheduler
    scheduler.watcher = this
  }

  /** Begins to measure an event that was just put in line for clients. */
  delivered (): void {
    const { visits, waiting } = this.#scheduler
    // No client of the event can be written to now. How long that takes depends on the clients and not on the hub.
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
