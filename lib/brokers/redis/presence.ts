// Who is connected to which instance: what this one's clients do is told to the others in bulk, what theirs do is kept
// in memory, and what a dead instance had told runs out.
import { randomBytes } from 'node:crypto'
import type { BrokerMember, BrokerPresent } from '../../../types/broker.js'
import { backoff } from './backoff.js'
import type { RedisConnection } from './connection.js'
import type { Keys } from './keys.js'

/** Milliseconds for which changes are gathered, and how many go at once. */
const GATHER = 50
const MAX_CHANGES = 500
/** A lease that was not renewed for this many periods has run out. */
const LEASE_PERIODS = 2
const SCAN = 500
/** A hash that its instance has not seen to for this many periods runs out: where nobody knows of it any more. */
const HASH_PERIODS = 30
/** Renewals until what is known of the others is compared with Redis: all who are there have told anew by then. */
const RENEWALS = 2

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
  /** Whether Redis may have something else of this instance than was told last. */
  #anew = false
  /** Members and whole instances of which the log told while the others' were fetched: `null` while they are not. */
  #touched: Set<string> | null = null
  /** Renewals until the others' members are fetched; 0 where they need not be. */
  #loadIn = 0
  /** Other instances without a lease, and for how many renewals. */
  #leaseless = new Map<string, number>()
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
    await this.#load()
    this.#renewing = setInterval(() => { this.#renew().catch(this.#settings.failed) }, this.#settings.period).unref()
  }

  /** Some of what the log told of the others is lost. */
  lost (): void {
    this.#loadIn = RENEWALS
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
    for (const [key] of set) this.#touched?.add(`${instance} ${key}`)
    for (const key of deleted) this.#touched?.add(`${instance} ${key}`)
    if (gone === 1) {
      this.#touched?.add(instance)
      this.#forget(instance)
    }
  }

  /** Tells of all own members anew: what was told is lost. */
  tellAll (): void {
    this.#anew = true
    for (const key of this.#own.keys()) this.#news.add(key)
    this.#schedule()
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

  /** Makes what is known of the others what Redis has. */
  async #load (): Promise<void> {
    const { keys } = this.#settings
    const { writer } = this.#connection
    // What the log tells meanwhile is newer.
    const touched = this.#touched = new Set<string>()
    try {
      for (const instance of await writer.zrange(keys.leases, '0', '-1')) {
        if (instance === this.instance) continue
        const there = new Set<string>()
        const isNews = (key: string): boolean => !touched.has(instance) && !touched.has(`${instance} ${key}`)
        let cursor = '0'
        do {
          const [next, fields] = await writer.hscan(keys.present(instance), cursor, 'COUNT', SCAN)
          cursor = next
          for (let i = 0; i + 1 < fields.length; i += 2) {
            there.add(fields[i]!)
            if (isNews(fields[i]!)) this.#set(instance, fields[i]!, memberOf(JSON.parse(fields[i + 1]!) as PackedMember))
          }
        } while (cursor !== '0')
        for (const key of [...this.#others.get(instance)?.keys() ?? []]) if (!there.has(key) && isNews(key)) this.#delete(instance, key)
      }
    } finally {
      this.#touched = null
    }
  }

  #forget (instance: string): void {
    for (const key of [...this.#others.get(instance)?.keys() ?? []]) this.#delete(instance, key)
    this.#others.delete(instance)
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
    this.#schedule()
  }

  #schedule (): void {
    if (this.#timer !== null || this.#closed) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#telling = this.#telling.then(() => this.#tellNews())
    }, GATHER)
  }

  async #tellNews (): Promise<void> {
    const { keys, period, announce, failed } = this.#settings
    let attempt = 0
    while ((this.#news.size > 0 || this.#anew) && !this.#closed) {
      const anew = this.#anew
      this.#anew = false
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
        if (anew) pipeline.unlink(hash)
        if (set.length > 0) pipeline.hset(hash, ...set.flatMap(([key, ...packed]) => [key, JSON.stringify(packed)]))
        if (deleted.length > 0) pipeline.hdel(hash, ...deleted)
        pipeline.pexpire(hash, HASH_PERIODS * period)
        for (const [error] of await pipeline.exec() ?? []) if (error !== null) throw error
        if (news.length > 0) await announce(JSON.stringify({ i: this.instance, s: set, d: deleted } satisfies Told))
        attempt = 0
      } catch (error) {
        failed(error as Error)
        this.#anew ||= anew
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
    const kept = await writer.pexpire(keys.present(this.instance), HASH_PERIODS * period)
    if (Number(added) === 1) this.lost()
    if (Number(added) === 1 || (kept === 0 && this.#own.size > 0)) this.tellAll()
    for (const instance of await writer.zrangebyscore(keys.leases, '-inf', now - LEASE_PERIODS * period)) {
      // Whoever removes it tells the others.
      if (await writer.zrem(keys.leases, instance) !== 1) continue
      await writer.unlink(keys.present(instance))
      await announce(JSON.stringify({ i: instance, g: 1 } satisfies Told))
    }
    await this.#forgetLeaseless()
    if (this.#loadIn === 0 || --this.#loadIn > 0) return
    // Once more where it fails.
    this.#loadIn = 1
    await this.#load()
    this.#loadIn = 0
  }

  /** Where the leases themselves were lost, nobody tells of those that died before they had another one. */
  async #forgetLeaseless (): Promise<void> {
    const { keys } = this.#settings
    const { writer } = this.#connection
    const leases = new Set(await writer.zrange(keys.leases, '0', '-1'))
    const leaseless = new Map<string, number>()
    for (const instance of [...this.#others.keys()]) {
      if (leases.has(instance)) continue
      const renewals = (this.#leaseless.get(instance) ?? 0) + 1
      if (renewals <= RENEWALS) {
        leaseless.set(instance, renewals)
        continue
      }
      this.#forget(instance)
      // One that lives sees it, and tells anew.
      await writer.unlink(keys.present(instance))
    }
    this.#leaseless = leaseless
  }
}

function memberOf ([clientId, metadata, channels]: PackedMember): BrokerMember {
  return { clientId, metadata, channels }
}
