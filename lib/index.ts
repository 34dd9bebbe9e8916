/**
 * The plugin, with all that an application meets of it. Begin with its {@link SSEPluginOptions | options},
 * {@link SSEReplyDecorator.sse | reply.sse()}, which opens a stream, and {@link SSEHub | fastify.sse}, which publishes.
 * @module fastify-sse-hub
 */
// Options, decorators, hooks.
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { SSEPluginOptions } from '../types/index.js'
import { MemoryBroker } from './brokers/memory.js'
import * as errors from './errors.js'
import { coreOf, Hub } from './hub/hub.js'
import { keyed } from './schemas/keyed.js'
import { describeStreams, sseResponse } from './plugin/openapi.js'
import { hubOptions } from './options.js'
import { sse as replySse } from './plugin/reply.js'
import { kClient, release } from './plugin/takeover.js'

export type * from '../types/index.js'
export * from './errors.js'
export { keyed } from './schemas/keyed.js'
export { sseResponse } from './plugin/openapi.js'

async function register (fastify: FastifyInstance, options: SSEPluginOptions): Promise<void> {
  const hub = new Hub(hubOptions(options), options.broker ?? new MemoryBroker(), fastify.log.child({ plugin: 'fastify-sse-hub' }))
  const core = coreOf(hub)
  await core.start()

  // A child context that registers again shadows its parent's hub, which `decorate` would refuse.
  if ('sse' in fastify && !Object.hasOwn(fastify, 'sse')) Object.defineProperty(fastify, 'sse', { value: hub, configurable: true, enumerable: true, writable: true })
  else fastify.decorate('sse', hub)

  if (!fastify.hasReplyDecorator('sse')) {
    fastify.decorateReply('sse', replySse)
    fastify.decorateReply(kClient, null)
    fastify.addHook('onError', async (_request, reply) => release(reply))
  }

  describeStreams(fastify)
  fastify.addHook('onReady', async () => core.startHeartbeat())
  fastify.addHook('preClose', () => core.close())
}

/**
 * The plugin: `await app.register(sse, options)`. The context that registers it and those inside have its hub; one that
 * registers it again has another. With CommonJS `require()` gives it, with the package's other exports as properties.
 *
 * Its registration rejects with {@link SSE_ERR_INVALID_OPTION}, and with what its broker fails to start with.
 * @function
 */
const plugin = Object.assign(fp(register, { name: 'fastify-sse-hub', fastify: '5.x' }), errors, { keyed, sseResponse })

export default plugin

/**
 * What `require('fastify-sse-hub')` gives.
 * @internal
 */
const required = plugin
export { required as 'module.exports' }
