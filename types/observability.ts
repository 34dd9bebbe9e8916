// What an operator sees of a hub: metrics for Prometheus, and messages of node:diagnostics_channel.
import type { SSEClient, SSEDisconnectReason } from './client.js'
import type { SSEHub } from './hub.js'

/**
 * Where and under which names the hub's metrics are.
 * @category Metrics and diagnostics
 */
export interface SSEMetricsOptions {
  /** A `Registry` of `prom-client`. The hub's metrics are in it from the registration until `app.close()`. */
  register: SSEMetricsRegister
  /** Stands in front of every name: `'chat_'` makes `sse_clients` `chat_sse_clients`. Default `''`. */
  prefix?: string
  /**
   * With every sample. Several hubs may share a register where their labels, or their prefixes, tell them apart. No `le`,
   * which is the histogram's. Default `{}`.
   */
  labels?: Readonly<Record<string, string>>
}

/**
 * What the hub asks of a registry, so that it depends on no version of `prom-client`.
 * @category Metrics and diagnostics
 */
export interface SSEMetricsRegister {
  // prom-client's parameter is one of its own four classes, of which a registry calls only what the hub's metrics have.
  /** Adds a metric, which the registry asks for its values whenever it is read. */
  registerMetric (metric: any): void
  /** The metric of a name, so that hubs that share a registry share it; `undefined` where there is none. */
  getSingleMetric (name: string): unknown
  /** Takes a metric out, when the last hub that has a part in it is closed. */
  removeSingleMetric (name: string): void
}

/**
 * The channels of `node:diagnostics_channel` and their messages: `subscribe(name, message => …)`. Subscribers run at once,
 * inside the hub's work. One that throws stops nothing here, but Node makes its error an `uncaughtException`, which ends a
 * process that does not handle it.
 * @category Metrics and diagnostics
 */
export interface SSEDiagnostics {
  /** At each event that the broker accepts from this instance. */
  'fastify-sse-hub.publish': SSEPublishMessage
  /** At each stream that `reply.sse()` opens. */
  'fastify-sse-hub.connect': SSEConnectMessage
  /** At each stream's end, once. */
  'fastify-sse-hub.disconnect': SSEDisconnectMessage
}

/**
 * The broker has accepted an event that was published on this instance. It went to channels, to a client id, or, where
 * there is neither, to everybody. What was published is not told.
 * @category Metrics and diagnostics
 */
export interface SSEPublishMessage {
  /** The one that it was published with, where an application has several. */
  readonly hub: SSEHub
  /** The event's name. */
  readonly event: string
  /** Empty where it went elsewhere. */
  readonly channels: readonly string[]
  /** `null` where it went elsewhere. */
  readonly clientId: string | null
  /** `null` for a transient event. */
  readonly id: string | null
  /** How many clients of this instance it was for. */
  readonly recipients: number
  /** How long its serialised data is, in UTF-8. */
  readonly bytes: number
}

/**
 * A client is there, in its channels.
 * @category Metrics and diagnostics
 */
export interface SSEConnectMessage {
  /** The one that it is connected to, where an application has several. */
  readonly hub: SSEHub
  /** In all its channels already. */
  readonly client: SSEClient
}

/**
 * A client is gone.
 * @category Metrics and diagnostics
 */
export interface SSEDisconnectMessage {
  /** The one that it was connected to, where an application has several. */
  readonly hub: SSEHub
  /** With the channels that it was in. */
  readonly client: SSEClient
  /** Why it went. */
  readonly reason: SSEDisconnectReason
}
