// Positions: this instance's own numbers of events. They grow over all epochs, while an epoch's numbers begin again at 1. It
// must not know of Redis.

interface Waiting {
  readonly position: number
  readonly resolve: (arrived: boolean) => void
}

export class Positions {
  /**
   * A position is this and the event's number in the epoch. Example: the first epoch ended here at position 70. The next one
   * begins after number 0, so the base is 70 and its event 3 has position 73.
   */
  base = 0
  /** The position of the newest event that was delivered here or is lost. */
  current = 0
  #started = false
  /** Clients that resume from a position that this instance has not reached yet. */
  #waiting: Waiting[] = []

  /**
   * An epoch begins here after this number.
   * @returns whether it is the first one since the start
   */
  begin (n: number): boolean {
    const isFirst = !this.#started
    this.#started = true
    if (isFirst) this.current = n
    else this.base = this.current - n
    return isFirst
  }

  /** The event with this number is the newest one now. */
  advance (n: number): number {
    this.current = this.base + n
    return this.current
  }

  /** Resolves to true once the position is reached, and to false if that takes too long or never happens. */
  async reach (position: number, timeout: number): Promise<boolean> {
    if (position <= this.current) return true
    return await new Promise(resolve => {
      const waiting = { position, resolve }
      this.#waiting.push(waiting)
      setTimeout(() => {
        this.#waiting = this.#waiting.filter(other => other !== waiting)
        resolve(false)
      }, timeout).unref()
    })
  }

  /** Answers the clients whose positions are reached. */
  release (): void {
    if (this.#waiting.length === 0) return
    const reached = this.#waiting.filter(({ position }) => position <= this.current)
    if (reached.length === 0) return
    this.#waiting = this.#waiting.filter(({ position }) => position > this.current)
    for (const { resolve } of reached) resolve(true)
  }

  /** Answers all clients that wait: their positions are never reached. */
  refuse (): void {
    for (const { resolve } of this.#waiting) resolve(false)
    this.#waiting = []
  }
}
