// Work that is done by the clock: it measures the lag, and keeps the targets' newest numbers from expiring while no event is
// published. It must not know what the events are.
import type { RedisConnection } from './connection.js'
import type { Keys } from './keys.js'

/** How often the lag is measured, in milliseconds. */
const MEASURE = 1000
/** How often the expiry of the newest numbers is put off, in milliseconds. */
const KEEP = 60 * 60 * 1000

interface HousekeepingSettings {
  readonly keys: Keys
  readonly historyAge: number
  /** Which epoch this instance reads, and the number of the newest event that it has read; is read each time. */
  readonly standing: { readonly epoch: string, readonly n: number }
  failed (error: Error): void
}

export class Housekeeping {
  /** Events that Redis had and that this instance had not read when it was measured last. */
  lag = 0
  readonly #connection: RedisConnection
  readonly #settings: HousekeepingSettings
  #timer: NodeJS.Timeout | null = null
  #keepAt = 0

  constructor (connection: RedisConnection, settings: HousekeepingSettings) {
    this.#connection = connection
    this.#settings = settings
  }

  start (): void {
    this.#timer = setInterval(() => { this.#run().catch(this.#settings.failed) }, MEASURE).unref()
  }

  close (): void {
    if (this.#timer !== null) clearInterval(this.#timer)
  }

  async #run (): Promise<void> {
    if (!this.#connection.ready) return
    const { writer } = this.#connection
    const { keys, historyAge, standing } = this.#settings
    const { epoch } = standing
    const [now, newest] = await writer.hmget(keys.meta, 'e', 'n')
    this.lag = Math.max(0, Number(newest) - (now === standing.epoch ? standing.n : 0))
    if (performance.now() < this.#keepAt) return
    this.#keepAt = performance.now() + KEEP
    await writer.pexpire(keys.last(epoch), 2 * (historyAge + KEEP))
  }
}
