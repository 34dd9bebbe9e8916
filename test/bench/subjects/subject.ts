// What every measured server can do. The scenarios know it by this alone.
import type { Server } from 'node:net'
import type { SSEPluginOptions } from '../../../types/index.js'

/** One event: what the application has in hand when it publishes. */
export interface Payload {
  /** Its number as text, for those whose callers make ids. */
  readonly id: string
  /** What is serialised, by each subject in its fastest documented way. */
  readonly data: object
}

export interface Subject {
  /** Accepts the connections. */
  readonly server: Server
  /**
   * The way of an event to all clients of a channel, as the subject's documentation says. Where it returns a promise,
   * that is how it tells its callers to slow down.
   */
  publish (channel: string, payload: Payload): unknown
  /**
   * Readies what clients are to be given when they connect, where the subject can: `count` events.
   * @returns the id before each of them
   */
  fill? (payloads: readonly Payload[]): Promise<string[]>
  /** Publishes, over and over where that is refused, until it is acknowledged: for subjects that have Redis between them. */
  insist? (channel: string, payload: Payload): Promise<void>
}

/** Before what was refused is published again, in milliseconds. */
export const RETRY = 100

export interface SubjectOptions {
  /** For ours alone: the registration's. */
  readonly hub: SSEPluginOptions
  /** Where the Redis is that other instances of the subject share with it. */
  readonly redis?: string
}

/** The channels that a request asks for: `/events?c=3&c=17`, or one channel that all are in. */
export function channelsOf (url: string): string[] {
  const at = url.indexOf('?')
  return at === -1 ? ['all'] : new URLSearchParams(url.slice(at)).getAll('c')
}

/** Who is where, for subjects that leave that to their users. */
export class Rooms<Member> {
  readonly #rooms = new Map<string, Set<Member>>()

  join (room: string, member: Member): void {
    let members = this.#rooms.get(room)
    if (members === undefined) this.#rooms.set(room, members = new Set())
    members.add(member)
  }

  leave (member: Member): void {
    for (const members of this.#rooms.values()) members.delete(member)
  }

  of (room: string): ReadonlySet<Member> {
    return this.#rooms.get(room) ?? new Set()
  }
}
