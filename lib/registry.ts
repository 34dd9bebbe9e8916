// Who is where: the clients, by id and by channel. It must not know what is sent to them.
import type { Client } from './client.js'

/** The target of broadcasts. No channel can have this name. */
export const BROADCAST = ''
/** Begins the target of a client id. No channel name can hold it. */
const CLIENT_MARK = '\0'

const NOBODY: ReadonlySet<Client> = new Set()

/** The target of everything that is sent to a client id. */
export function clientTarget (id: string): string {
  return CLIENT_MARK + id
}

/** The client id that a target stands for; `null` where it is another kind of target. */
export function idOf (target: string): string | null {
  return target.startsWith(CLIENT_MARK) ? target.slice(CLIENT_MARK.length) : null
}

export class Registry {
  readonly clients = new Set<Client>()
  readonly #channels = new Map<string, Set<Client>>()
  /** Ids are rarely shared, so that most take no set. */
  readonly #ids = new Map<string, Client | Set<Client>>()

  /** Channels with at least one client. */
  get channelCount (): number {
    return this.#channels.size
  }

  add (client: Client): void {
    this.clients.add(client)
    const same = this.#ids.get(client.id)
    if (same === undefined) this.#ids.set(client.id, client)
    else if (same instanceof Set) same.add(client)
    else this.#ids.set(client.id, new Set([same, client]))
  }

  remove (client: Client): void {
    this.clients.delete(client)
    const same = this.#ids.get(client.id)
    if (same instanceof Set) same.delete(client)
    if (same === client || (same instanceof Set && same.size === 0)) this.#ids.delete(client.id)
    for (const channel of client.channels) this.#leave(client, channel)
  }

  join (client: Client, channel: string): void {
    client.addChannel(channel)
    const members = this.#channels.get(channel)
    if (members === undefined) this.#channels.set(channel, new Set([client]))
    else members.add(client)
  }

  leave (client: Client, channel: string): void {
    if (client.channels.delete(channel)) this.#leave(client, channel)
  }

  #leave (client: Client, channel: string): void {
    const members = this.#channels.get(channel)
    members?.delete(client)
    if (members?.size === 0) this.#channels.delete(channel)
  }

  inChannel (channel: string): ReadonlySet<Client> {
    return this.#channels.get(channel) ?? NOBODY
  }

  withId (id: string): ReadonlySet<Client> | readonly [Client] {
    const same = this.#ids.get(id)
    if (same === undefined) return NOBODY
    return same instanceof Set ? same : [same]
  }

  /** The clients that a target may stand for; of those of `BROADCAST`, the ones that take broadcasts. */
  at (target: string): Iterable<Client> {
    if (target === BROADCAST) return this.clients
    const id = idOf(target)
    return id === null ? this.inChannel(target) : this.withId(id)
  }

  channels (): Array<{ name: string, count: number }> {
    return Array.from(this.#channels, ([name, members]) => ({ name, count: members.size }))
  }
}
