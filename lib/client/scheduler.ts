// Gives every client that has something waiting its turn, without holding the event loop. It must not know what a
// visit does.

/** How long a slice may hold the event loop, in milliseconds, and how short it may be cut. */
const SLICE = 2
const SHORT_SLICE = 0.1
/** Visits between two looks at the clock, which finds the visits' time as well. */
const LOOK = 8

/** What the scheduler visits. */
export interface Visited {
  /** Whether it is in line: the scheduler's own mark. */
  queued: boolean
  /**
   * @param now by `performance.now()` a few visits ago, in whole milliseconds
   */
  visit (now: number): void
}

/** What a scheduler asks of its hub. */
export interface SchedulerHost {
  /** Around all visits of a slice: no code of the application's runs between these two. */
  begin (): void
  end (): void
  /** A visit failed; must not throw. */
  visitFailed (error: unknown): void
}

/** Who wants to know when those in line have had their turn. */
export interface SchedulerWatcher {
  /**
   * Called at the end of each slice.
   * @param visits how many were made, since start
   */
  visited (visits: number): void
}

export class Scheduler {
  /** Number of the present round. */
  round = 0
  readonly #host: SchedulerHost
  watcher: SchedulerWatcher | null = null
  /** This round: each is visited once. Who comes in line meanwhile waits for the next round. */
  #round: Visited[] = []
  #at = 0
  /** Visits of all rounds before. */
  #before = 0
  #next: Visited[] = []
  #scheduled = false
  /** Whether something was published since the last slice, and when that ended. */
  #published = false
  #endedAt = 0
  /** Called at the end of the present round, and of the next one. */
  #roundWaiters: Array<() => void> = []
  #nextWaiters: Array<() => void> = []

  constructor (host: SchedulerHost) {
    this.#host = host
  }

  /** Visits made, since start. */
  get visits (): number {
    return this.#before + this.#at
  }

  /** How many are in line. */
  get waiting (): number {
    return this.#round.length - this.#at + this.#next.length
  }

  add (visited: Visited): void {
    if (visited.queued) return
    visited.queued = true
    this.#next.push(visited)
    this.#schedule()
  }

  /** Visits one at once, out of its turn. */
  visitNow (visited: Visited): void {
    this.#host.begin()
    try {
      this.#visit(visited, performance.now())
    } finally {
      this.#host.end()
    }
  }

  /** Something was published: the next turn may bring more. */
  published (): void {
    this.#published = true
  }

  /** Resolves when all that are in line now have been visited, and the event loop had a turn. */
  settled (): Promise<void> {
    return new Promise(resolve => {
      this.#nextWaiters.push(resolve)
      this.#schedule()
    })
  }

  #schedule (): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#slice)
  }

  // A slice ends after a time, not after a count: other requests are served in between, and what is published
  // meanwhile joins the batches of those who still wait. While every turn brings something, a slice takes no longer than
  // the turn's other work did, so that more turns come before the same writes: the busier the hub, the fewer writes per
  // event.
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
    const round = this.#round
    let now = performance.now()
    const end = now + (this.#published ? Math.min(SLICE, Math.max(SHORT_SLICE, now - this.#endedAt)) : SLICE)
    this.#published = false
    while (this.#at < round.length) {
      const visited = round[this.#at++]!
      visited.queued = false
      this.#visit(visited, now)
      if (this.#at % LOOK !== 0) continue
      now = performance.now()
      if (now > end) break
    }
    this.#endedAt = now
    this.watcher?.visited(this.visits)
    if (this.#at === round.length) this.#endRound()
  }

  /** One visit that fails stops nothing. */
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
