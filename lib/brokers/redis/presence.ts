// Presence: which client is connected to which instance. This instance tells the others of its clients, and removes the clients
// of an instance that has died. It must not know how an entry gets into the log.
import { randomBytes } from 'node:crypto'
import type { BrokerMember, BrokerPresence, BrokerPresent } from '../../../types/broker.js'
import { backoff } from './backoff.js'
import type { RedisConnection } from './connection.js'
import type { Keys } from './keys.js'
import { Leases } from './leases.js'
import { goneEntry, packMember, type PackedMember, type PresenceEntry } from './presence-entry.js'
import { RemoteMembers, type PresenceChanged } from './remote-members.js'

/** Changes are gathered for so many milliseconds, and at most so many are told at once. */
const GATHER = 50
const MAX_CHANGES = 500
/** An instance's hash expires after so many periods, in case no other instance is left to remove it. */
const HASH_PERIODS = 30
/** The other instances' members are loaded again after so many renewals: those that are alive have told Redis by then. */
const LOAD_AFTER = 2

export interface PresenceSettings {
  readonly keys: Keys
  /** How often leases are renewed, in milliseconds. */
  readonly period: number
  /** Appends an entry to the log. */
  announce (entry: string): Promise<void>
  readonly changed: PresenceChanged
  failed (error: Error): void
}

export class Presence implements BrokerPresence {
  readonly instance = randomBytes(9).toString('base64url')
  readonly #connection: RedisConnection
  readonly #settings: PresenceSettings
  readonly #leases: Leases
  readonly #own = new Map<string, BrokerMember>()
  readonly #others: RemoteMembers
  /** Keys of own members that are new, changed or gone, and that the others were not told of. */
  #untold = new Set<string>()
  /** This instance's hash in Redis may be wrong: it is deleted before the next members are written. */
  #rewrite = false
  /** Renewals until the others' members are loaded again; 0 if they need not be. */
  #loadIn = 0
  #timer: NodeJS.Timeout | null = null
  #renewing: NodeJS.Timeout | null = null
  #telling: Promise<void> = Promise.resolve()
  #closed = false

  constructor (connection: RedisConnection, settings: PresenceSettings) {
    this.#connection = connection
    this.#settings = settings
    this.#leases = new Leases(connection, settings.keys, settings.period, this.instance)
    this.#others = new RemoteMembers(connection, settings.keys, settings.changed)
  }

  /** Loads the others' members. The log is being read already, so that no change is missed in between. */
  async start (): Promise<void> {
    await this.#renew()
    await this.#others.load(this.#leases)
    this.#renewing = setInterval(() => { this.#renew().catch(this.#settings.failed) }, this.#settings.period).unref()
  }

  /** This instance missed some of what the log told of the others. */
  lost (): void {
    this.#loadIn = LOAD_AFTER
  }

  /** Whether another instance is alive. */
  othersAlive (): Promise<boolean> {
    return this.#leases.othersAlive()
  }

  set (key: string, member: BrokerMember): void {
    this.#own.set(key, member)
    this.#tell(key)
  }

  delete (key: string): void {
    if (this.#own.delete(key)) this.#tell(key)
  }

  in (channel: string): BrokerPresent[] {
    const present: BrokerPresent[] = []
    const add = (instance: string, members: ReadonlyMap<string, BrokerMember>): void => {
      for (const { clientId, metadata, channels } of members.values()) {
        if (channels.includes(channel)) present.push({ clientId, metadata, instance })
      }
    }
    add(this.instance, this.#own)
    for (const [instance, members] of this.#others.entries()) add(instance, members)
    return present
  }

  /** Applies what an entry of the log tells. */
  read (text: string): void {
    const entry = JSON.parse(text) as PresenceEntry
    if (entry.i !== this.instance) this.#others.apply(entry)
    // Another instance took this one for dead: it was paused for longer than its lease.
    else if (entry.g === 1) this.tellAll()
  }

  /** Tells the others of all own members again: what they were told is lost. */
  tellAll (): void {
    this.#rewrite = true
    for (const key of this.#own.keys()) this.#untold.add(key)
    this.#schedule()
  }

  async close (): Promise<void> {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#renewing !== null) clearInterval(this.#renewing)
    await this.#telling
    await this.#leases.remove(this.instance)
    await this.#connection.writer.unlink(this.#settings.keys.present(this.instance))
    await this.#settings.announce(goneEntry(this.instance))
  }

  #tell (key: string): void {
    this.#untold.add(key)
    this.#schedule()
  }

  #schedule (): void {
    if (this.#timer !== null || this.#closed) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#telling = this.#telling.then(() => this.#tellAllUntold())
    }, GATHER)
  }

  async #tellAllUntold (): Promise<void> {
    let attempt = 0
    while ((this.#untold.size > 0 || this.#rewrite) && !this.#closed) {
      const rewrite = this.#rewrite
      this.#rewrite = false
      const keys = [...this.#untold].slice(0, MAX_CHANGES)
      for (const key of keys) this.#untold.delete(key)
      try {
        await this.#tellOf(keys, rewrite)
        attempt = 0
      } catch (error) {
        this.#settings.failed(error as Error)
        this.#rewrite ||= rewrite
        for (const key of keys) this.#untold.add(key)
        await new Promise(resolve => setTimeout(resolve, backoff(++attempt)))
      }
    }
  }

  /** Writes members to this instance's hash, for instances that start later, and tells the present ones through the log. */
  async #tellOf (changed: readonly string[], rewrite: boolean): Promise<void> {
    const { keys, period, announce } = this.#settings
    const set: Array<[key: string, ...PackedMember]> = []
    const deleted: string[] = []
    for (const key of changed) {
      const member = this.#own.get(key)
      if (member === undefined) deleted.push(key)
      else set.push([key, ...packMember(member)])
    }
    const hash = keys.present(this.instance)
    const pipeline = this.#connection.writer.pipeline()
    if (rewrite) pipeline.unlink(hash)
    if (set.length > 0) pipeline.hset(hash, ...set.flatMap(([key, ...packed]) => [key, JSON.stringify(packed)]))
    if (deleted.length > 0) pipeline.hdel(hash, ...deleted)
    pipeline.pexpire(hash, HASH_PERIODS * period)
    for (const [error] of await pipeline.exec() ?? []) if (error !== null) throw error
    if (changed.length > 0) await announce(JSON.stringify({ i: this.instance, s: set, d: deleted } satisfies PresenceEntry))
  }

  /** Renews this instance's lease and hash, and removes what instances that died have left. */
  async #renew (): Promise<void> {
    const { keys, period, announce } = this.#settings
    const { writer } = this.#connection
    if (!this.#connection.ready) return
    await this.#connection.measure()
    const now = this.#leases.now()
    const isNew = await this.#leases.renew(now)
    const hasHash = await writer.pexpire(keys.present(this.instance), HASH_PERIODS * period) !== 0
    if (isNew) this.lost()
    if (isNew || (!hasHash && this.#own.size > 0)) this.tellAll()
    for (const instance of await this.#leases.expired(now)) {
      // The instance that removed the lease tells the others.
      if (!await this.#leases.remove(instance)) continue
      await writer.unlink(keys.present(instance))
      await announce(goneEntry(instance))
    }
    await this.#leases.dropLost(this.#others.instances(), async instance => {
      this.#others.forget(instance)
      // If it is alive after all, it finds its hash missing and tells of its members again.
      await writer.unlink(keys.present(instance))
    })
    if (this.#loadIn === 0 || --this.#loadIn > 0) return
    // If the load fails, the next renewal tries again.
    this.#loadIn = 1
    await this.#others.load(this.#leases)
    this.#loadIn = 0
  }
}
