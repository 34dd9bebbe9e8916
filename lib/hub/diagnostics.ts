// Tells node:diagnostics_channel which clients connect and disconnect, and that an event was published, but never its data. It
// must not know of requests and replies.
import { AsyncResource } from 'node:async_hooks'
import { channel } from 'node:diagnostics_channel'
import type {
  BrokerEvent, BrokerReceipt, SSEClient, SSEConnectMessage, SSEDisconnectMessage, SSEDisconnectReason, SSEHub, SSEPublishMessage
} from '../../types/index.js'
import { BROADCAST, idOf } from './targets.js'
import type { Work } from './work.js'

const publish = channel('fastify-sse-hub.publish')
const connect = channel('fastify-sse-hub.connect')
const disconnect = channel('fastify-sse-hub.disconnect')

export class Diagnostics {
  readonly #hub: SSEHub
  readonly #work: Work

  constructor (hub: SSEHub, work: Work) {
    this.#hub = hub
    this.#work = work
  }

  published ({ targets, name, data }: BrokerEvent, { id, recipients }: BrokerReceipt): void {
    if (!publish.hasSubscribers) return
    const clientId = idOf(targets[0]!)
    const message: SSEPublishMessage = {
      hub: this.#hub,
      event: name,
      channels: clientId === null ? targets.filter(target => target !== BROADCAST) : [],
      clientId,
      id,
      recipients,
      bytes: Buffer.byteLength(data)
    }
    // It runs in the context of this publish, because the queue may be run by another publish.
    this.#work.after(() => publish.publish(message), new AsyncResource('fastify-sse-hub.publish'))
  }

  /** Called from the queue. */
  connected (client: SSEClient): void {
    if (connect.hasSubscribers) connect.publish({ hub: this.#hub, client } satisfies SSEConnectMessage)
  }

  /** Called from the queue. */
  disconnected (client: SSEClient, reason: SSEDisconnectReason): void {
    if (disconnect.hasSubscribers) disconnect.publish({ hub: this.#hub, client, reason } satisfies SSEDisconnectMessage)
  }
}
