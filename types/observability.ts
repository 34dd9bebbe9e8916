// What an operator sees of a hub: metrics for Prometheus, and messages of node:diagnostics_channel.
import type { SSEClient, SSEDisconnectReason, SSEHub } from './index.js'

/** Where and under which names the hub's metrics are. */
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

/** What the hub asks of a registry, so that it depends on no version of `prom-client`. */
export interface SSEMetricsRegister {
  // prom-client's parameter is one of its own four classes, of which a registry calls only what the hub's metrics have.
  registerMetric (metric: any): void
  getSingleMetric (name: string): unknown
  removeSingleMetric (name: string): void
}

/**
 * The channels of `node:diagnostics_channel` and their messages: `subscribe(name, message => …)`. Subscribers run at once,
 * inside the hub's work. One that throws stops nothing here, but Node makes its error an `uncaughtException`, which ends a
 * process that does not handle it.
 */
export interface SSEDiagnostics {
  'fastify-sse-hub.publish': SSEPublishMessage
  'fastify-sse-hub.connect': SSEConnectMessage
  'fastify-sse-hub.disconnect': SSEDisconnectMessage
}

/**
 * The broker has accepted an event that was published on this instance. It went to channels, to a client id, or, where
 * there is neither, to everybody. What was published is not told.
 */
export interface SSEPublishMessage {
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

/** A client is there, in its channels. */
export interface SSEConnectMessage {
  readonly hub: SSEHub
  readonly client: SSEClient
}

/** A client is gone. */
export interface SSEDisconnectMessage {
  readonly hub: SSEHub
  readonly client: SSEClient
  readonly reason: SSEDisconnectReason
}
