// What an operator sees of a hub: metrics for Prometheus, and messages of node:diagnostics_channel. It must not know of the
// plugin's options.
import type { SSEClient, SSEDisconnectReason } from './client.js'
import type { SSEHub } from './hub.js'

/**
 * Where the hub's metrics are, and under which names.
 * @category Metrics and diagnostics
 */
export interface SSEMetricsOptions {
  /** A `Registry` of `prom-client`. It has the hub's metrics from the registration until `app.close()`. */
  register: SSEMetricsRegister
  /** The text before every name: with `'chat_'` the metric `sse_clients` is `chat_sse_clients`. Default `''`. */
  prefix?: string
  /**
   * Labels of every sample. Several hubs may share a register where their labels or their prefixes are different. `le` is
   * refused, because the histogram has it. Default `{}`.
   */
  labels?: Readonly<Record<string, string>>
}

/**
 * The part of a registry that the hub uses. It depends on no version of `prom-client`.
 * @category Metrics and diagnostics
 */
export interface SSEMetricsRegister {
  // prom-client's parameter is one of its own four classes, of which a registry calls only what the hub's metrics have.
  /** Adds a metric. The registry asks the metric for its values at each read. */
  registerMetric (metric: any): void
  /** The metric of a name, so that hubs that share a registry share the metric. `undefined` where there is none. */
  getSingleMetric (name: string): unknown
  /** Removes a metric. Called when the last hub that uses the metric is closed. */
  removeSingleMetric (name: string): void
}

/**
 * The channels of `node:diagnostics_channel` and their messages: `subscribe(name, message => …)`.
 *
 * Subscribers run after the hub's own work is done, in order, before the call that caused them returns. For `connect` and
 * `disconnect` they run in the asynchronous context of the request that opened the stream. What a subscriber throws stops
 * nothing in the hub. But Node makes it an `uncaughtException`, which ends a process that does not handle it.
 * @category Metrics and diagnostics
 */
export interface SSEDiagnostics {
  /** For each event that was published on this instance, when the broker has accepted it. */
  'fastify-sse-hub.publish': SSEPublishMessage
  /** For each stream that `reply.sse()` opens. */
  'fastify-sse-hub.connect': SSEConnectMessage
  /** For each stream that ends, once. */
  'fastify-sse-hub.disconnect': SSEDisconnectMessage
}

/**
 * The broker has accepted an event that was published on this instance. Where `channels` is empty and `clientId` is `null`,
 * the event was published to everybody. The message does not contain the data.
 * @category Metrics and diagnostics
 */
export interface SSEPublishMessage {
  /** The hub that published the event. An application may have several. */
  readonly hub: SSEHub
  /** The event's name. */
  readonly event: string
  /** The channels that the event was published to. Empty where it was published to a client id or to everybody. */
  readonly channels: readonly string[]
  /** The client id that the event was published to. `null` where it was published to channels or to everybody. */
  readonly clientId: string | null
  /** The event's id. `null` for a transient event. */
  readonly id: string | null
  /** How many clients of this instance the event was for. */
  readonly recipients: number
  /** The size of the serialised data in UTF-8. */
  readonly bytes: number
}

/**
 * A client is connected and is in its channels.
 * @category Metrics and diagnostics
 */
export interface SSEConnectMessage {
  /** The hub that the client is connected to. An application may have several. */
  readonly hub: SSEHub
  /** The client, in all its channels already. */
  readonly client: SSEClient
}

/**
 * A client is disconnected.
 * @category Metrics and diagnostics
 */
export interface SSEDisconnectMessage {
  /** The hub that the client was connected to. An application may have several. */
  readonly hub: SSEHub
  /** The client. Its `channels` are those that it was in. */
  readonly client: SSEClient
  /** Why the client was disconnected. */
  readonly reason: SSEDisconnectReason
}
