// Visits every client for which something waits, and lets other work have its turn in between. It must not know what a visit does.
//
// A round visits each client that was in line when the round began, once. A slice is the part of a round that is done in one turn
// of the event loop. Example: 1,000 clients are in line, and a slice has time for 200 visits. The round has five slices. A client
// that is visited in the first slice and gets in line again waits for the next round.

/** The longest time of a slice, and the shortest to which `#visitSome` may cut it, in milliseconds. */
const SLICE = 2
const SHORT_SLICE = 0.1
/** Visits between two looks at the clock. The visits between them are given the same time. */
const LOOK = 8
/** Where visits take longer than this, in milliseconds, the clock is looked at after each. */
const LONG_VISIT = SLICE / LOOK
/**
 * How many schedulers of this process are in the middle of a round. They share the time of a slice, because there is one event loop
 * for all hubs. Example: ten hubs have long lines, so each has slices of 0.2 ms.
 */
let between = 0

/** What the scheduler visits. */
export interface Visited {
  /** Whether it is in line. Only the scheduler sets it. */
  queued: boolean
  /**
   * @param now what `performance.now()` was a few visits ago, in whole milliseconds
   */
  visit (now: number): void
}

/** What a scheduler asks of its hub. */
export interface SchedulerHost {
  /** Called before and after the visits of a slice. No application code runs between them. */
  begin (): void
  end (): void
  /** A visit failed; must not throw. */
  visitFailed (error: unknown): void
}

/** Learns when the clients in line have had their turn. */
export interface SchedulerWatcher {
  /**
   * Called at the end of each slice.
   * @param visits how many were made since start
   */
  visited (visits: number): void
}

export class Scheduler {
  /** The number of the present round. */
  round = 0
  readonly #host: SchedulerHost
  watcher: SchedulerWatcher | null = null
  /** The clients of the present round. Those before `#at` were visited. */
  #round: Visited[] = []
  #at = 0
  /** Visits in all earlier rounds. */
  #before = 0
  /** The clients of the next round. */
  #next: Visited[] = []
  #scheduled = false
  /** Visits until the next look at the clock. */
  #look = LOOK
  /** Whether something was published since the last slice, and when that slice ended. */
  #published = false
  #endedAt = 0
  /** Called at the end of the present round, and of the next one. */
  #roundWaiters: Array<() => void> = []
  #nextWaiters: Array<() => void> = []

  constructor (host: SchedulerHost) {
    this.#host = host
  }

  /** Visits made since start. */
  get visits (): number {
    return this.#before + this.#at
  }

  /** How many are in line. */
  get waiting (): number {
    return this.#round.length - this.#at + this.#next.length
  }

  /** Those that are in line. */
  * inLine (): Generator<Visited, void> {
    for (let at = this.#at; at < this.#round.length; at++) yield this.#round[at]!
    yield * this.#next
  }

  add (visited: Visited): void {
    if (visited.queued) return
    visited.queued = true
    this.#next.push(visited)
    this.#schedule()
  }

  /** Visits a client at once, out of its turn. */
  visitNow (visited: Visited): void {
    this.#host.begin()
    try {
      this.#visit(visited, performance.now())
    } finally {
      this.#host.end()
    }
  }

  /** Called after a publish. The next turn of the event loop may bring more, so the next slice may be short. */
  published (): void {
    this.#published = true
  }

  /** Resolves when all clients that are in line now were visited, and the event loop had a turn. */
  settled (): Promise<void> {
    return new Promise(resolve => {
      this.#nextWaiters.push(resolve)
      this.#schedule()
    })
  }

  #schedule (): void {
    if (this.#scheduled) return
    setImmediate(this.#slice)
    this.#scheduled = true
  }

  // A slice ends after a time, and not after a number of visits. Between slices other requests are served. The clients that still
  // wait get what these publish in the same write as what waits already. While each turn publishes, a slice takes only as long as
  // the other work since the last slice. Example: that work took 0.5 ms. Then the slice takes 0.5 ms instead of 2, and a round has
  // four times as many turns. So one write has the events of more turns: the busier the hub is, the fewer writes an event needs.
  readonly #slice = (): void => {
    this.#host.begin()
    try {
      this.#visitSome()
    } finally {
      this.#scheduled = false
      if (this.#at < this.#round.length || this.#next.length > 0 || this.#nextWaiters.length > 0) this.#schedule()
      this.#host.end()
    }
  }

  #visitSome (): void {
    if (this.#at === this.#round.length) this.#beginRound()
    else between--
    const round = this.#round
    let now = performance.now()
    const longest = SLICE / (between + 1)
    const end = now + (this.#published ? Math.min(longest, Math.max(SHORT_SLICE, now - this.#endedAt)) : longest)
    this.#published = false
    let long = false
    while (this.#at < round.length) {
      const visited = round[this.#at++]!
      visited.queued = false
      this.#visit(visited, now)
      if (this.#at % this.#look !== 0) continue
      const before = now
      now = performance.now()
      if (now - before > this.#look * LONG_VISIT) {
        long = true
        this.#look = 1
      }
      if (now > end) break
    }
    if (!long) this.#look = LOOK
    if (this.#at < round.length) between++
    this.#endedAt = now
    this.watcher?.visited(this.visits)
    if (this.#at === round.length) this.#endRound()
  }

  /** A visit that fails does not stop the others. */
  #visit (visited: Visited, now: number): void {
    try {
      visited.visit(Math.floor(now))
    } catch (error) {
      this.#host.visitFailed(error)
    }
  }

  #beginRound (): void {
    this.round++
    const spent = this.#round
    spent.length = this.#at = 0
    this.#round = this.#next
    this.#next = spent
    const waiters = this.#roundWaiters
    this.#roundWaiters = this.#nextWaiters
    this.#nextWaiters = waiters
  }

  #endRound (): void {
    this.#before += this.#at
    this.#round.length = this.#at = 0
    for (const resolve of this.#roundWaiters) resolve()
    this.#roundWaiters.length = 0
  }
}
