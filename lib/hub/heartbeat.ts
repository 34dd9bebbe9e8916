// Looks at all clients of a hub with one timer. A client that was not written to for long gets a heartbeat. A client whose socket
// takes nothing, or is gone, is disconnected. It must not know how a heartbeat is written.
import type { Client } from '../client/client.js'
import type { Vanishing } from './vanishing.js'
import type { Work } from './work.js'

/** Clients that it looks at before other work gets a turn. */
const SLICE = 512
/** Limits of the time between two walks through all clients, in milliseconds. */
const MIN_PERIOD = 10
const MAX_PERIOD = 1000

export interface HeartbeatHost {
  /** Keeps the application's code out of a slice. */
  readonly work: Work
  readonly vanishing: Vanishing
  /** The clients to look at, also those that are ending. */
  watched (): Iterable<Client>
  /** The client's socket has accepted nothing for too long, or its machine has not answered. */
  stalled (client: Client): void
  /** The client's connection is gone, and no event has told so. */
  gone (client: Client): void
  /** The look at a client failed. */
  failed (client: Client, error: unknown): void
  /** Called at the start of each period. */
  tick (): void
}

export class Heartbeat {
  readonly #host: HeartbeatHost
  readonly #interval: number
  readonly #stallTimeout: number
  #timer: NodeJS.Timeout | null = null
  #next: NodeJS.Immediate | null = null
  #walk: Iterator<Client> | null = null

  /**
   * @param interval milliseconds without a write after which a client gets a heartbeat; 0 for none
   * @param stallTimeout milliseconds without an accepted byte after which a client is stalled; 0 for never
   */
  constructor (host: HeartbeatHost, interval: number, stallTimeout: number) {
    this.#host = host
    this.#interval = interval === 0 ? Infinity : interval
    this.#stallTimeout = stallTimeout === 0 ? Infinity : stallTimeout
  }

  /**
   * A walk begins four times within the shorter limit, so that it finds a client at most a quarter too late. Example: when a
   * heartbeat is due after 2,000 ms, a walk begins each 500 ms. Neither the timer nor a walk keeps the process alive.
   */
  start (): void {
    const period = Math.min(this.#interval, this.#stallTimeout) / 4
    this.#timer = setInterval(this.#begin, Math.max(MIN_PERIOD, Math.min(MAX_PERIOD, period))).unref()
  }

  stop (): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    if (this.#next !== null) clearImmediate(this.#next)
    this.#timer = this.#next = this.#walk = null
  }

  readonly #begin = (): void => {
    this.#host.tick()
    if (this.#walk !== null) return
    this.#host.vanishing.begin()
    this.#walk = this.#host.watched()[Symbol.iterator]()
    this.#slice()
  }

  readonly #slice = (): void => {
    this.#host.work.do(() => this.#lookAtSome(this.#walk!))
  }

  #lookAtSome (walk: Iterator<Client>): void {
    const now = performance.now()
    for (let count = 0; count < SLICE; count++) {
      const { done, value: client } = walk.next()
      if (done === true) {
        this.#walk = this.#next = null
        this.#host.vanishing.end(now)
        return
      }
      this.#look(client, now)
    }
    this.#next = setImmediate(this.#slice).unref()
  }

  #stalled (client: Client): void {
    this.#host.stalled(client)
    this.#host.vanishing.cut(client)
  }

  #look (client: Client, now: number): void {
    try {
      if (!client.alive) this.#host.gone(client)
      else if (now - client.stuckSince(now) >= this.#stallTimeout || this.#host.vanishing.has(client, now)) this.#stalled(client)
      else if (client.quietFor(now) >= this.#interval) client.beat()
    } catch (error) {
      this.#host.failed(client, error)
    }
  }
}
