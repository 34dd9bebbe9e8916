// Holds the clients, and finds them by id, by channel and by admission key. It must not know what is sent to them.
import type { Client } from '../client/client.js'
import { Directory } from './directory.js'
import { BROADCAST, idOf } from './targets.js'

export class Registry {
  readonly clients = new Set<Client>()
  /** Clients that were removed and still take a place. */
  readonly #ended = new Set<Client>()
  readonly #channels = new Directory()
  /** Several clients may share an id. */
  readonly #ids = new Directory()
  /** The clients by admission key. */
  readonly #keys = new Directory()

  /** Channels with at least one client. */
  get channelCount (): number {
    return this.#channels.size
  }

  /** How many clients count for `maxClients`. */
  get places (): number {
    return this.clients.size + this.#ended.size
  }

  add (client: Client): void {
    this.clients.add(client)
    this.#ids.add(client.id, client)
    if (client.key !== undefined) this.#keys.add(client.key, client)
  }

  /** The client keeps its place until `free`. */
  remove (client: Client): void {
    this.clients.delete(client)
    this.#ended.add(client)
    this.#ids.delete(client.id, client)
    for (const channel of client.channelNames()) this.#channels.delete(channel, client)
  }

  /** Gives the place of a removed client to another, once. */
  free (client: Client): void {
    if (this.#ended.delete(client) && client.key !== undefined) this.#keys.delete(client.key, client)
  }

  join (client: Client, channel: string): void {
    client.addChannel(channel)
    this.#channels.add(channel, client)
  }

  leave (client: Client, channel: string): void {
    if (client.channels.delete(channel)) this.#channels.delete(channel, client)
  }

  inChannel (channel: string): Iterable<Client> {
    return this.#channels.of(channel)
  }

  /** How many clients are in a channel. */
  countIn (channel: string): number {
    return this.#channels.count(channel)
  }

  /** How many clients count for an admission key. */
  countOf (key: string): number {
    return this.#keys.count(key)
  }

  withId (id: string): Iterable<Client> {
    return this.#ids.of(id)
  }

  /** The clients at a target. `BROADCAST` gives all clients, also those that take no broadcasts. */
  at (target: string): Iterable<Client> {
    if (target === BROADCAST) return this.clients
    const id = idOf(target)
    return id === null ? this.inChannel(target) : this.withId(id)
  }

  channels (): Array<{ name: string, count: number }> {
    return this.#channels.counts()
  }
}
