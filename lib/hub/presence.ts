// Lists the clients in a channel over all instances, and tells the other instances of this one's clients. It must not know how the
// broker tells them.
import type { Broker, SSEPresence } from '../../types/index.js'
import type { Client } from '../client/client.js'
import { randomId } from '../client/client-id.js'
import type { HubLog } from './hub-log.js'
import type { Registry } from './registry.js'

export class Presence {
  readonly #broker: Broker
  readonly #registry: Registry
  readonly #log: HubLog
  /** This instance's name, where the broker gives none. */
  readonly #instance = randomId()
  /** The presence key of each client: its name among the clients of this instance, e.g. `"17"`. Client ids can be shared. */
  readonly #keys = new Map<Client, string>()
  #keyCount = 0

  constructor (broker: Broker, registry: Registry, log: HubLog) {
    this.#broker = broker
    this.#registry = registry
    this.#log = log
  }

  /** Tells the other instances of a client's channels. */
  announce (client: Client): void {
    this.#tellOthers(() => {
      const { presence } = this.#broker
      if (presence === undefined) return
      let key = this.#keys.get(client)
      if (key === undefined) this.#keys.set(client, key = String(++this.#keyCount))
      presence.set(key, { clientId: client.id, metadata: client.metadata, channels: client.channelNames() })
    })
  }

  /** Tells the other instances that a client is gone. */
  withdraw (client: Client): void {
    const key = this.#keys.get(client)
    if (key === undefined) return
    this.#keys.delete(client)
    this.#tellOthers(() => this.#broker.presence!.delete(key))
  }

  /** The public form of a client of this instance. */
  of ({ id, metadata }: Client): SSEPresence {
    return { clientId: id, metadata, instance: this.#instanceName() }
  }

  /** A broker that fails here must not keep the application from hearing who comes and goes. */
  #instanceName (): string {
    try {
      return this.#broker.presence?.instance ?? this.#instance
    } catch (error) {
      this.#log.error({ err: error }, 'the broker could not tell the name of its instance')
      return this.#instance
    }
  }

  in (channel: string): SSEPresence[] {
    const { presence } = this.#broker
    if (presence !== undefined) return presence.in(channel) as SSEPresence[]
    return Array.from(this.#registry.inChannel(channel), client => this.of(client))
  }

  /** Logs what the broker throws. Else a client would be half connected: in its channels, but with `connect` never told. */
  #tellOthers (tell: () => void): void {
    try {
      tell()
    } catch (error) {
      this.#log.error({ err: error }, 'the broker could not tell the other instances of a client')
    }
  }
}
