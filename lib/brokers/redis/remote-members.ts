// The clients of all other instances, in memory. They come from the log, or from Redis if some of the log was missed. It must
// not know of this instance's own clients.
import type { BrokerMember } from '../../../types/broker.js'
import type { RedisConnection } from './connection.js'
import type { Keys } from './keys.js'
import type { Leases } from './leases.js'
import { unpackMember, type PackedMember, type PresenceEntry } from './presence-entry.js'

/** Fields of a hash that are read at a time. */
const SCAN = 500

export type PresenceChanged = (change: 'join' | 'leave', channel: string, member: BrokerMember, instance: string) => void

export class RemoteMembers {
  readonly #connection: RedisConnection
  readonly #keys: Keys
  readonly #changed: PresenceChanged
  /** By instance, and by the member's key. */
  readonly #members = new Map<string, Map<string, BrokerMember>>()
  /** Members and whole instances of which the log told while they were loaded; `null` while nothing is loaded. */
  #touched: Set<string> | null = null

  constructor (connection: RedisConnection, keys: Keys, changed: PresenceChanged) {
    this.#connection = connection
    this.#keys = keys
    this.#changed = changed
  }

  entries (): Iterable<[instance: string, members: ReadonlyMap<string, BrokerMember>]> {
    return this.#members.entries()
  }

  /** The names of the instances that are known here. */
  instances (): string[] {
    return [...this.#members.keys()]
  }

  /** Applies an entry of the log. */
  apply ({ i: instance, s: set = [], d: deleted = [], g: gone }: PresenceEntry): void {
    for (const [key, ...packed] of set) this.#set(instance, key, unpackMember(packed))
    for (const key of deleted) this.#delete(instance, key)
    for (const [key] of set) this.#touched?.add(`${instance} ${key}`)
    for (const key of deleted) this.#touched?.add(`${instance} ${key}`)
    if (gone === 1) {
      this.#touched?.add(instance)
      this.forget(instance)
    }
  }

  /** An instance is gone: all of its members leave. */
  forget (instance: string): void {
    for (const key of this.#keysOf(instance)) this.#delete(instance, key)
    this.#members.delete(instance)
  }

  /**
   * Replaces what is known of the instances that have a lease by what Redis has. What the log tells meanwhile is newer and stays.
   * Example: the log says that member 7 has left, and then a page of the hash comes that still has it. 7 is not added again.
   */
  async load (leases: Leases): Promise<void> {
    const touched = this.#touched = new Set<string>()
    try {
      for (const instance of await leases.others()) {
        const isUntouched = (key: string): boolean => !touched.has(instance) && !touched.has(`${instance} ${key}`)
        const found = new Set<string>()
        let cursor = '0'
        do {
          const [next, fields] = await this.#connection.writer.hscan(this.#keys.present(instance), cursor, 'COUNT', SCAN)
          cursor = next
          for (let i = 0; i + 1 < fields.length; i += 2) {
            found.add(fields[i]!)
            if (isUntouched(fields[i]!)) this.#set(instance, fields[i]!, unpackMember(JSON.parse(fields[i + 1]!) as PackedMember))
          }
        } while (cursor !== '0')
        for (const key of this.#keysOf(instance)) if (!found.has(key) && isUntouched(key)) this.#delete(instance, key)
      }
    } finally {
      this.#touched = null
    }
  }

  #keysOf (instance: string): string[] {
    return [...this.#members.get(instance)?.keys() ?? []]
  }

  #set (instance: string, key: string, member: BrokerMember): void {
    let members = this.#members.get(instance)
    if (members === undefined) this.#members.set(instance, members = new Map())
    const before = members.get(key)
    members.set(key, member)
    for (const channel of before?.channels ?? []) if (!member.channels.includes(channel)) this.#changed('leave', channel, member, instance)
    for (const channel of member.channels) if (before?.channels.includes(channel) !== true) this.#changed('join', channel, member, instance)
  }

  #delete (instance: string, key: string): void {
    const member = this.#members.get(instance)?.get(key)
    if (member === undefined) return
    this.#members.get(instance)!.delete(key)
    for (const channel of member.channels) this.#changed('leave', channel, member, instance)
  }
}
