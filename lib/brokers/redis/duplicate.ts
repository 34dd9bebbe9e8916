// Makes a connection of the broker's own from the application's client or from a URL. The client itself is left as it is.
import { Cluster, Redis } from 'ioredis'
import { backoff } from './backoff.js'

export type Client = Redis | Cluster

/**
 * These hold whatever the application chose for its own client:
 * - Without `socketTimeout` a half-open connection hangs for ever.
 * - With `commandTimeout` or `blockingTimeout` reads pile up on a dead socket.
 * - Without `autoResendUnfulfilledCommands` a read that waits when the connection is lost is never settled.
 */
function overridesOf (socketTimeout: number) {
  return {
    socketTimeout,
    connectTimeout: 2000,
    maxRetriesPerRequest: null,
    autoResendUnfulfilledCommands: true,
    enableOfflineQueue: true,
    enableAutoPipelining: false,
    // The types of ioredis do not say that these two may be undone.
    commandTimeout: undefined as never,
    blockingTimeout: undefined as never,
    replyMapping: 'legacy' as const,
    stringNumbers: false,
    lazyConnect: false,
    retryStrategy: backoff,
    // The server has become a replica. A new connection finds the new master.
    reconnectOnError: ({ message }: Error) => message.startsWith('READONLY ')
  }
}

/** @param socketTimeout milliseconds without an answer after which the connection counts as lost */
export function duplicate (template: Client | string, socketTimeout: number): Client {
  const overrides = overridesOf(socketTimeout)
  if (typeof template === 'string') return new Redis(template, overrides)
  // A client of another copy of ioredis is no instance of this Cluster.
  if (template instanceof Cluster || 'nodes' in template) {
    const cluster = template as Cluster
    return cluster.duplicate([], { lazyConnect: false, enableOfflineQueue: true, enableAutoPipelining: false, scaleReads: 'master', clusterRetryStrategy: backoff, redisOptions: { ...cluster.options.redisOptions, ...overrides } } as never)
  }
  return template.duplicate(overrides)
}
