// The public face of a hub, `fastify.sse`: it has what an application may call. The parts of the core do the work, and an
// application can't reach them. This file must not do more than hand a call on.
import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import type { Broker, SSEClient, SSEEventName, SSEHub, SSEHubEvents, SSEPresence, SSEPublishOptions, SSEState, SSEStats } from '../../types/index.js'
import { SSE_ERR_INVALID_CHANNEL } from '../errors.js'
import { checkChannel, checkChannels, checkClientId, checkEventName } from '../names.js'
import type { HubOptions } from '../options.js'
import { HubCore } from './core.js'
import type { Published } from './publisher.js'
import { BROADCAST, clientTarget } from './targets.js'

/** The core of a hub. Only the plugin may call it. */
export let coreOf: (hub: SSEHub) => HubCore

export class Hub extends EventEmitter<SSEHubEvents> implements SSEHub {
  readonly #core: HubCore

  static {
    coreOf = hub => (hub as Hub).#core
  }

  constructor (options: HubOptions, broker: Broker, log: FastifyBaseLogger) {
    super()
    this.#core = new HubCore(this, options, broker, log)
  }

  send (event: string, data: unknown, options?: SSEPublishOptions): Published {
    return this.#core.publisher.publish(() => [BROADCAST], event, data, options)
  }

  toChannel (channel: string, event: string, data: unknown, options?: SSEPublishOptions): Published {
    return this.#core.publisher.publish(() => {
      checkChannel(channel)
      return [channel]
    }, event, data, options)
  }

  toChannels (channels: readonly string[], event: string, data: unknown, options?: SSEPublishOptions): Published {
    return this.#core.publisher.publish(() => {
      const names = checkChannels(channels)
      if (names.length === 0) throw new SSE_ERR_INVALID_CHANNEL('There must be at least one channel to publish to')
      return names
    }, event, data, options)
  }

  toClient (clientId: string, event: string, data: unknown, options?: SSEPublishOptions): Published {
    return this.#core.publisher.publish(() => {
      checkClientId(clientId)
      return [clientTarget(clientId)]
    }, event, data, options)
  }

  async state<Name extends SSEEventName> (channel: string | null, event: Name): Promise<Array<SSEState<Name>>> {
    if (channel !== null) checkChannel(channel)
    checkEventName(event)
    this.#core.data.checkKnown(event)
    return await this.#core.states.of(channel ?? BROADCAST, event) as Array<SSEState<Name>>
  }

  client (id: string): SSEClient | undefined {
    const [client] = this.#core.registry.withId(id)
    return client
  }

  clients (): SSEClient[] {
    return [...this.#core.registry.clients]
  }

  channelClients (channel: string): SSEClient[] {
    return [...this.#core.registry.inChannel(channel)]
  }

  channels (): Array<{ name: string, count: number }> {
    return this.#core.registry.channels()
  }

  clientCount (channel?: string): number {
    const { registry } = this.#core
    return channel === undefined ? registry.clients.size : registry.countIn(channel)
  }

  async presence (channel: string): Promise<SSEPresence[]> {
    checkChannel(channel)
    return this.#core.presence.in(channel)
  }

  cleanupDisconnected (): number {
    return this.#core.connections.sweep()
  }

  stats (): SSEStats {
    return this.#core.stats.read()
  }
}
