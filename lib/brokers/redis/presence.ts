// Who is connected to which instance: what this one's clients do is told to the others in bulk, what theirs do is kept
// in memory, and what a dead instance had told runs out.
import { randomBytes } from 'node:crypto'
import type { BrokerMember, BrokerPresent } from '../../../types/broker.js'
import { backoff, type RedisConnection } from './connection.js'
import type { Keys } from './keys.js'

/** Milliseconds for which changes are gathered, and how many go at once. */
const GATHER = 50
const MAX_CHANGES = 500
/** A lease that was not renewed for this many periods has run out. */
const LEASE_PERIODS = 2
const SCAN = 500

/** A member as it stands in Redis: client id, metadata, channels. */
type PackedMember = [string, unknown, readonly string[]]

/** What an entry of the log tells. */
interface Told {
  /** The instance. */
  readonly i: string
  /** Members that came or changed. */
  readonly s?: ReadonlyArray<[string, ...PackedMember]>
  /** Members that left. */
  readonly d?: readonly string[]
  /** The instance is gone, with all of its members. */
  readonly g?: 1
}

export interface PresenceSettings {
  readonly keys: Keys
  /** How often leases are renewed, in milliseconds. */
  readonly period: number
  /** Appends to the log. */
  announce (told: string): Promise<void>
  changed (change: 'join' | 'leave', channel: string, member: BrokerMember, instance: string): void
  failed (error: Error): void
}

export class Presence {
  readonly instance = randomBytes(9).toString('base64url')
  readonly #connection: RedisConnection
  readonly #settings: PresenceSettings
  readonly #own = new Map<string, BrokerMember>()
  /** Of the other instances. */
  readonly #others = new Map<string, Map<string, BrokerMember>>()
  /** Own members whose news have not been told. */
  #news = new Set<string>()
  #timer: NodeJS.Timeout | null = null
  #renewing: NodeJS.Timeout | null = null
  #telling: Promise<void> = Promise.resolve()
  #closed = false

  constructor (connection: RedisConnection, settings: PresenceSettings) {
    this.#connection = connection
    this.#settings = settings
  }

  /** Learns who is there. Called behind the moment from which the log is read. */
  async start (): Promise<void> {
    await this.#renew()
    const { keys } = this.#settings
    const { writer } = this.#connection
    for (const instance of await writer.zrange(keys.leases, '0', '-1')) {
      if (instance === this.instance) continue
      let cursor = '0'
      do {
        const [next, fields] = await writer.hscan(keys.present(instance), cursor, 'COUNT', SCAN)
        cursor = next
        for (let i = 0; i + 1 < fields.length; i += 2) {
          // What the log told meanwhile is newer.
          if (this.#others.get(instance)?.has(fields[i]!) !== true) this.#set(instance, fields[i]!, memberOf(JSON.parse(fields[i + 1]!) as PackedMember))
        }
      } while (cursor !== '0')
    }
    this.#renewing = setInterval(() => { this.#renew().catch(this.#settings.failed) }, this.#settings.period).unref()
  }

  /** Whether another instance holds a lease. */
  async othersAlive (): Promise<boolean> {
    const now = Math.floor(this.#connection.clock(performance.now()))
    const alive = await this.#connection.writer.zrangebyscore(this.#settings.keys.leases, now - LEASE_PERIODS * this.#settings.period, '+inf')
    return alive.some(instance => instance !== this.instance)
  }

  /** A client of this instance came, or is in other channels than before. */
  set (key: string, member: BrokerMember): void {
    this.#own.set(key, member)
    this.#tell(key)
  }

  /** A client of this instance left. */
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
    for (const [instance, members] of this.#others) add(instance, members)
    return present
  }

  /** Applies what the log tells. */
  read (told: string): void {
    const { i: instance, s: set = [], d: deleted = [], g: gone } = JSON.parse(told) as Told
    if (instance === this.instance) {
      // Somebody took it for dead.
      if (gone === 1) this.tellAll()
      return
    }
    for (const [key, ...packed] of set) this.#set(instance, key, memberOf(packed))
    for (const key of deleted) this.#delete(instance, key)
    if (gone === 1) {
      for (const key of [...this.#others.get(instance)?.keys() ?? []]) this.#delete(instance, key)
      this.#others.delete(instance)
    }
  }

  /** Tells of all own members anew: what was told is lost. */
  tellAll (): void {
    for (const key of this.#own.keys()) this.#tell(key)
  }

  async close (): Promise<void> {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#renewing !== null) clearInterval(this.#renewing)
    await this.#telling
    const { keys } = this.#settings
    await this.#connection.writer.zrem(keys.leases, this.instance)
    await this.#connection.writer.unlink(keys.present(this.instance))
    await this.#settings.announce(JSON.stringify({ i: this.instance, g: 1 } satisfies Told))
  }

  #set (instance: string, key: string, member: BrokerMember): void {
    let members = this.#others.get(instance)
    if (members === undefined) this.#others.set(instance, members = new Map())
    const before = members.get(key)
    members.set(key, member)
    for (const channel of before?.channels ?? []) if (!member.channels.includes(channel)) this.#settings.changed('leave', channel, member, instance)
    for (const channel of member.channels) if (before?.channels.includes(channel) !== true) this.#settings.changed('join', channel, member, instance)
  }

  #delete (instance: string, key: string): void {
    const member = this.#others.get(instance)?.get(key)
    if (member === undefined) return
    this.#others.get(instance)!.delete(key)
    for (const channel of member.channels) this.#settings.changed('leave', channel, member, instance)
  }

  #tell (key: string): void {
    this.#news.add(key)
    if (this.#timer !== null || this.#closed) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#telling = this.#telling.then(() => this.#tellNews())
    }, GATHER)
  }

  async #tellNews (): Promise<void> {
    const { keys, announce, failed } = this.#settings
    let attempt = 0
    while (this.#news.size > 0 && !this.#closed) {
      const news = [...this.#news].slice(0, MAX_CHANGES)
      const set: Array<[string, ...PackedMember]> = []
      const deleted: string[] = []
      for (const key of news) {
        this.#news.delete(key)
        const member = this.#own.get(key)
        if (member === undefined) deleted.push(key)
        else set.push([key, member.clientId, member.metadata, member.channels])
      }
      try {
        const hash = keys.present(this.instance)
        const pipeline = this.#connection.writer.pipeline()
        if (set.length > 0) pipeline.hset(hash, ...set.flatMap(([key, ...packed]) => [key, JSON.stringify(packed)]))
        if (deleted.length > 0) pipeline.hdel(hash, ...deleted)
        await pipeline.exec()
        await announce(JSON.stringify({ i: this.instance, s: set, d: deleted } satisfies Told))
        attempt = 0
      } catch (error) {
        failed(error as Error)
        for (const key of news) this.#news.add(key)
        await new Promise(resolve => setTimeout(resolve, backoff(++attempt)))
      }
    }
  }

  /** Renews this instance's lease, and clears up behind those whose lease has run out. */
  async #renew (): Promise<void> {
    const { keys, period, announce } = this.#settings
    const { writer } = this.#connection
    if (!this.#connection.ready) return
    await this.#connection.measure()
    const now = Math.floor(this.#connection.clock(performance.now()))
    const added = await writer.zadd(keys.leases, now, this.instance)
    if (Number(added) === 1) this.tellAll()
    for (const instance of await writer.zrangebyscore(keys.leases, '-inf', now - LEASE_PERIODS * period)) {
      // Whoever removes it tells the others.
      if (await writer.zrem(keys.leases, instance) !== 1) continue
      await writer.unlink(keys.present(instance))
      await announce(JSON.stringify({ i: instance, g: 1 } satisfies Told))
    }
  }
}

function memberOf ([clientId, metadata, channels]: PackedMember): BrokerMember {
  return { clientId, metadata, channels }
}
