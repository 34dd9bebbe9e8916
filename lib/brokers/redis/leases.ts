// Leases: they say which instances are alive. An instance renews its own lease in each period. If it does not, the lease runs
// out and another instance removes it. It must not know of clients.
import type { RedisConnection } from './connection.js'
import type { Keys } from './keys.js'

/** A lease runs out after so many periods: with a period of 2 s one that was renewed at 10 s runs out at 14 s. */
const LEASE_PERIODS = 2
/** For so many renewals an instance may be without a lease. One that is alive takes a new one in that time. */
const LEASELESS_RENEWALS = 2

export class Leases {
  readonly #connection: RedisConnection
  readonly #keys: Keys
  readonly #period: number
  readonly #instance: string
  /** Instances without a lease, and for how many renewals. */
  #leaseless = new Map<string, number>()

  /** @param instance the name of this instance */
  constructor (connection: RedisConnection, keys: Keys, period: number, instance: string) {
    this.#connection = connection
    this.#keys = keys
    this.#period = period
    this.#instance = instance
  }

  /** Redis's time in milliseconds, by which leases run out. */
  now (): number {
    return Math.floor(this.#connection.clock(performance.now()))
  }

  /** Renews the instance's own lease. Returns whether it had none. */
  async renew (now: number): Promise<boolean> {
    return Number(await this.#connection.writer.zadd(this.#keys.leases, now, this.#instance)) === 1
  }

  /** The instances whose leases have run out. */
  expired (now: number): Promise<string[]> {
    return this.#connection.writer.zrangebyscore(this.#keys.leases, '-inf', this.#runOutAt(now))
  }

  /** Removes a lease. Returns whether it was there: of several instances that try, one gets true. */
  async remove (instance: string): Promise<boolean> {
    return await this.#connection.writer.zrem(this.#keys.leases, instance) === 1
  }

  /** The other instances that have a lease. */
  async others (): Promise<string[]> {
    return (await this.#connection.writer.zrange(this.#keys.leases, '0', '-1')).filter(instance => instance !== this.#instance)
  }

  /** Whether another instance has a lease that has not run out. */
  async othersAlive (): Promise<boolean> {
    const alive = await this.#connection.writer.zrangebyscore(this.#keys.leases, this.#runOutAt(this.now()), '+inf')
    return alive.some(instance => instance !== this.#instance)
  }

  /**
   * Drops those of the instances that have been without a lease for too long. Called once in each period. Example: Redis lost
   * all leases, and one instance died before it took a new one. No lease of it runs out, so no other instance tells of its death.
   */
  async dropLost (instances: readonly string[], drop: (instance: string) => Promise<void>): Promise<void> {
    const leases = new Set(await this.#connection.writer.zrange(this.#keys.leases, '0', '-1'))
    const leaseless = new Map<string, number>()
    for (const instance of instances) {
      if (leases.has(instance)) continue
      const renewals = (this.#leaseless.get(instance) ?? 0) + 1
      if (renewals <= LEASELESS_RENEWALS) leaseless.set(instance, renewals)
      else await drop(instance)
    }
    this.#leaseless = leaseless
  }

  #runOutAt (now: number): number {
    return now - LEASE_PERIODS * this.#period
  }
}
