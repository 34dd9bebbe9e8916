// Finds clients by a name. It must not know what the name is: a channel, a client id or an admission key.
import type { Client } from '../client/client.js'

const NOBODY: ReadonlySet<Client> = new Set()

export class Directory {
  /** Most names have one client. Without a set such a name saves 150 bytes. */
  readonly #members = new Map<string, Client | Set<Client>>()

  /** Names with at least one client. */
  get size (): number {
    return this.#members.size
  }

  add (name: string, client: Client): void {
    const members = this.#members.get(name)
    if (members === undefined) this.#members.set(name, client)
    else if (members instanceof Set) members.add(client)
    else this.#members.set(name, new Set([members, client]))
  }

  delete (name: string, client: Client): void {
    const members = this.#members.get(name)
    if (members instanceof Set) members.delete(client)
    if (members === client || (members instanceof Set && members.size === 0)) this.#members.delete(name)
  }

  of (name: string): ReadonlySet<Client> | readonly [Client] {
    const members = this.#members.get(name)
    if (members === undefined) return NOBODY
    return members instanceof Set ? members : [members]
  }

  count (name: string): number {
    const members = this.#members.get(name)
    if (members === undefined) return 0
    return members instanceof Set ? members.size : 1
  }

  counts (): Array<{ name: string, count: number }> {
    return Array.from(this.#members.keys(), name => ({ name, count: this.count(name) }))
  }
}
