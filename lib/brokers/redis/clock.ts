// Redis's clock, as round trips show it. It must not know how Redis is asked.

/** So many round trips are remembered: the clocks may drift. */
const ROUND_TRIPS = 8

export class RedisClock {
  /**
   * Redis's clock less `performance.now()`, once per round trip. Each is too small by the time that the answer travelled, so
   * the largest is the best one. Example: Redis reads its clock at 9000 while `performance.now()` is 100. The answer comes at
   * 104, so the offset is 8896, and the true one is 8900.
   */
  readonly #offsets: number[] = []

  /** Redis may be another server now, with another clock. */
  reset (): void {
    this.#offsets.length = 0
  }

  /**
   * @param time what Redis's clock said, in milliseconds
   * @param receivedAt when the answer came, by `performance.now()`
   */
  add (time: number, receivedAt: number): void {
    this.#offsets.push(time - receivedAt)
    if (this.#offsets.length > ROUND_TRIPS) this.#offsets.shift()
  }

  /** A moment of `performance.now()` by Redis's clock, in milliseconds. It is too early rather than too late. */
  at (moment: number): number {
    return moment + Math.max(...this.#offsets)
  }
}
