/**
 * The broker over Redis Streams: one order for all instances of an application. It needs `ioredis` 6 and Redis 6.2 or newer.
 * @module fastify-sse-hub/redis
 */
import { Type, type Static } from '@sinclair/typebox'
import type { Cluster, Redis } from 'ioredis'
import type { Broker } from '../../../types/broker.js'
import { SSE_ERR_INVALID_OPTION } from '../../errors.js'
import { checker, checkWellFormed } from '../../options.js'
import { RedisBroker } from './broker.js'

/** Where Redis is, the hub's name there, and time limits. Give one of `client` and `url`; the other options have defaults. */
export interface RedisBrokerOptions {
  /** A client of `ioredis`, e.g. `fastify.redis`. The broker makes two connections with its settings, and never closes it. */
  client?: Redis | Cluster
  /** Or the address of Redis: `redis://user:password@host:port/db`, `rediss://` for TLS. */
  url?: string
  /** The hub's name in Redis, without braces. Hubs with the same name share their events. Default `'sse'`. */
  stream?: string
  /** How long an event stays in the log that all instances read, in milliseconds. Default 60000. */
  logMaxAge?: number
  /** How long a publish waits for Redis, in milliseconds. Default 5000. */
  publishTimeout?: number
  /**
   * How often an instance says that it is alive, in milliseconds. After three times this, the clients of a killed instance
   * are no longer present: with the default after 6 seconds. Default 2000.
   */
  leasePeriod?: number
}

const Options = Type.Partial(Type.Object({
  client: Type.Object({}, { additionalProperties: true }),
  url: Type.String({ minLength: 1 }),
  stream: Type.String({ minLength: 1, maxLength: 256, pattern: '^[^{}\\r\\n\\0]+$' }),
  logMaxAge: Type.Integer({ minimum: 1000, maximum: 2 ** 31 - 1 }),
  publishTimeout: Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 }),
  leasePeriod: Type.Integer({ minimum: 100, maximum: 2 ** 31 - 1 })
}, { additionalProperties: false }))

/** Also the path of a Unix socket, as ioredis takes it. */
const URL_FORM = /^(rediss?:\/\/|\/)./

const checkOptions = checker(Options, 'redisBroker()')

/**
 * Makes a broker for the plugin's option `broker`; each hub needs one of its own. It connects when the plugin is registered.
 * The registration rejects with `SSE_ERR_BROKER_UNAVAILABLE` if Redis does not answer within 5 seconds, or within
 * `publishTimeout` if that is longer.
 * ```ts
 * await app.register(sse, { broker: redisBroker({ url: 'redis://localhost:6379' }) })
 * ```
 * @throws `SSE_ERR_INVALID_OPTION`, which names the option
 */
export function redisBroker (options: RedisBrokerOptions): Broker {
  const checked = checkOptions(options) as Static<typeof Options> & RedisBrokerOptions
  checkWellFormed('stream', checked.stream, 'redisBroker()')
  const template = checked.client ?? checked.url
  if (template === undefined || (checked.client !== undefined && checked.url !== undefined)) {
    throw new SSE_ERR_INVALID_OPTION('redisBroker() takes one of the options "client" and "url"')
  }
  if (typeof template === 'string' && !URL_FORM.test(template)) {
    throw new SSE_ERR_INVALID_OPTION('Option "url" of redisBroker() is invalid: it must begin with "redis://" or "rediss://", or be the path of a socket')
  }
  if (typeof template !== 'string' && typeof template.duplicate !== 'function') {
    throw new SSE_ERR_INVALID_OPTION('Option "client" of redisBroker() is invalid: it is no client of ioredis')
  }
  return new RedisBroker(template, checked.stream ?? 'sse', {
    logAge: checked.logMaxAge ?? 60_000, timeout: checked.publishTimeout ?? 5000, leasePeriod: checked.leasePeriod ?? 2000
  })
}
