// What every measured server can do. Scenarios know nothing else of a subject.
import type { Server } from 'node:net'
import type { SSEPluginOptions } from '../../../types/index.js'

/** One event, as the application has it when it publishes. */
export interface Payload {
  /** Its number as text, for subjects whose callers make the ids. */
  readonly id: string
  /** The data. Each subject serialises it in the fastest way that its documentation has. */
  readonly data: object
}

export interface Subject {
  /** The server that accepts the connections. */
  readonly server: Server
  /**
   * Sends an event to all clients of a channel, as the subject's documentation says. If it returns a promise, the subject
   * uses it to tell its callers to slow down.
   */
  publish (channel: string, payload: Payload): unknown
  /**
   * Stores the events that clients get when they connect, if the subject can do that.
   * @returns for each event, the id before it
   */
  fill? (payloads: readonly Payload[]): Promise<string[]>
  /** Publishes again and again until the event is acknowledged. For subjects that use Redis. */
  insist? (channel: string, payload: Payload): Promise<void>
}

/** Milliseconds until a refused event is published again. */
export const RETRY = 100

export interface SubjectOptions {
  /** For ours only: the options of the registration. */
  readonly hub: SSEPluginOptions
  /** The URL of the Redis that the instances of the subject share. */
  readonly redis?: string
}

/** The channels of a request: `/events?c=3&c=17`. Without `c`, it is the one channel of all clients. */
export function channelsOf (url: string): string[] {
  const at = url.indexOf('?')
  return at === -1 ? ['all'] : new URLSearchParams(url.slice(at)).getAll('c')
}

/** The clients of each channel, for subjects that leave these lists to their users. */
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
