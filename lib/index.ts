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
import { decorate, refuseTaken } from './plugin/decorators.js'
import { describeStreams, sseResponse } from './plugin/openapi.js'
import { hubOptions } from './options.js'

export type * from '../types/index.js'
export * from './errors.js'
export { addressKey } from './address-key.js'
export { keyed } from './schemas/keyed.js'
export { sseResponse } from './plugin/openapi.js'

async function register (fastify: FastifyInstance, options: SSEPluginOptions): Promise<void> {
  refuseTaken(fastify)
  const hub = new Hub(hubOptions(options), options.broker ?? new MemoryBroker(), fastify.log.child({ plugin: 'fastify-sse-hub' }))
  const core = coreOf(hub)
  try {
    // First of all: the app may be closed while the broker starts, e.g. when Fastify waits no longer for it.
    fastify.addHook('preClose', () => core.close())
    await core.start()
    decorate(fastify, hub)
    describeStreams(fastify)
    fastify.addHook('onReady', async () => core.startHeartbeat())
  } catch (error) {
    await core.close()
    throw error
  }
}

/**
 * The plugin: `await app.register(sse, options)`. The context that registers it and the contexts inside share one hub. A
 * context that registers it again has another hub. With CommonJS `require()` returns the plugin, with the package's other
 * exports as properties.
 *
 * The registration rejects with {@link SSE_ERR_INVALID_OPTION}, with the error of a broker that fails to start, and with Fastify's
 * `FST_ERR_DEC_ALREADY_PRESENT` where another plugin has a `fastify.sse` or a `reply.sse`, or the context has a hub already. Then
 * nothing of the hub stays: no connection of the broker, no metric, no decorator.
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
