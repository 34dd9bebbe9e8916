// One timer per hub that looks after its clients: who was not written to for long gets a heartbeat, whose socket takes
// nothing or is gone leaves. It must not know how a heartbeat is written.
import type { Client } from '../client/client.js'
import type { Work } from './work.js'

/** Clients looked at before other work gets a turn. */
const SLICE = 512
const MIN_PERIOD = 10
const MAX_PERIOD = 1000

export interface HeartbeatHost {
  /** No code of the application's runs within a slice. */
  readonly work: Work
  /** The clients to look after, those included whose last bytes are on their way. */
  watched (): Iterable<Client>
  /** Its socket has accepted nothing for too long. */
  stalled (client: Client): void
  /** Its connection is gone, and nothing had said so. */
  vanished (client: Client): void
  /** Looking at a client failed. */
  failed (client: Client, error: unknown): void
  /** Called once a period. */
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
   * @param stallTimeout milliseconds without an accepted byte after which it is stalled; 0 for never
   */
  constructor (host: HeartbeatHost, interval: number, stallTimeout: number) {
    this.#host = host
    this.#interval = interval === 0 ? Infinity : interval
    this.#stallTimeout = stallTimeout === 0 ? Infinity : stallTimeout
  }

  /** Neither the timer nor a walk keeps the process alive. */
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
    this.#walk = this.#host.watched()[Symbol.iterator]()
    this.#slice()
  }

  readonly #slice = (): void => {
    this.#host.work.begin()
    try {
      this.#lookAtSome(this.#walk!)
    } finally {
      this.#host.work.end()
    }
  }

  #lookAtSome (walk: Iterator<Client>): void {
    const now = performance.now()
    for (let count = 0; count < SLICE; count++) {
      const { done, value: client } = walk.next()
      if (done === true) {
        this.#walk = this.#next = null
        return
      }
      this.#look(client, now)
    }
    this.#next = setImmediate(this.#slice).unref()
  }

  #look (client: Client, now: number): void {
    try {
      if (!client.alive) this.#host.vanished(client)
      else if (now - client.stuckSince(now) >= this.#stallTimeout) this.#host.stalled(client)
      else if (now - client.writtenAt >= this.#interval) client.beat()
    } catch (error) {
      this.#host.failed(client, error)
    }
  }
}
