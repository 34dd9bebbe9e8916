/**
 * The plugin, and all that an application uses of it. Begin with its {@link SSEPluginOptions | options}, with
 * {@link SSEReplyDecorator.sse | reply.sse()}, which opens a stream, and with {@link SSEHub | fastify.sse}, which publishes.
 * @module fastify-sse-hub
 */
// It adds options, decorators and hooks to Fastify. It must not know how a stream is opened or an event is delivered.
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { SSEPluginOptions } from '../types/index.js'
import { addressKey } from './address-key.js'
import { MemoryBroker } from './brokers/memory.js'
import * as errors from './errors.js'
import { coreOf, Hub } from './hub/hub.js'
import { keyed } from './schemas/keyed.js'
import { describeStreams, sseResponse } from './plugin/openapi.js'
import { hubOptions } from './options.js'
import { sse as replySse } from './plugin/reply.js'
import { kClient, kOwn, release } from './plugin/takeover.js'

export type * from '../types/index.js'
export * from './errors.js'
export { addressKey } from './address-key.js'
export { keyed } from './schemas/keyed.js'
export { sseResponse } from './plugin/openapi.js'

async function register (fastify: FastifyInstance, options: SSEPluginOptions): Promise<void> {
  const hub = new Hub(hubOptions(options), options.broker ?? new MemoryBroker(), fastify.log.child({ plugin: 'fastify-sse-hub' }))
  const core = coreOf(hub)
  await core.start()

  // A child context that registers again gets a hub of its own. `decorate` would refuse it, because the child inherits `sse`.
  if ('sse' in fastify && !Object.hasOwn(fastify, 'sse')) Object.defineProperty(fastify, 'sse', { value: hub, configurable: true, enumerable: true, writable: true })
  else fastify.decorate('sse', hub)

  if (!fastify.hasReplyDecorator('sse')) {
    fastify.decorateReply('sse', replySse)
    fastify.decorateReply(kClient, null)
    fastify.decorateReply(kOwn, null)
    fastify.addHook('onError', async (_request, reply) => release(reply))
  }

  describeStreams(fastify)
  fastify.addHook('onReady', async () => core.startHeartbeat())
  fastify.addHook('preClose', () => core.close())
}

/**
 * The plugin: `await app.register(sse, options)`. The context that registers it and the contexts inside share one hub. A
 * context that registers it again has another hub. With CommonJS `require()` returns the plugin, with the package's other
 * exports as properties.
 *
 * The registration rejects with {@link SSE_ERR_INVALID_OPTION}, and with the error of a broker that fails to start.
 * @function
 */
const plugin = Object.assign(fp(register, { name: 'fastify-sse-hub', fastify: '5.x' }), errors, { addressKey, keyed, sseResponse })

export default plugin

/**
 * What `require('fastify-sse-hub')` gives.
 * @internal
 */
const required = plugin
export { required as 'module.exports' }
