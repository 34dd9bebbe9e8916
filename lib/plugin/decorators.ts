// Adds `fastify.sse` and `reply.sse`, and refuses to take the place of another plugin's. It must not know what they do.
import { createError } from '@fastify/error'
import type { FastifyInstance } from 'fastify'
import { Hub } from '../hub/hub.js'
import { sse as replySse } from './reply.js'
import { kClient, kOwn, release } from './takeover.js'

/** Fastify's own code. It is not thrown by Fastify here: a child context may cover a decorator of its parent. */
const ALREADY_PRESENT = createError<'FST_ERR_DEC_ALREADY_PRESENT', [string]>('FST_ERR_DEC_ALREADY_PRESENT',
  'The decorator "%s" has already been added. Another plugin with a decorator of that name, and another fastify-sse-hub, need contexts of their own', 500)

/**
 * A child context that registers again gets a hub of its own. So the context may inherit a hub, and a `reply.sse` that belongs to
 * it. Whatever else has these names is another plugin's: streams would open there, and events would be published here.
 * @throws FST_ERR_DEC_ALREADY_PRESENT
 */
export function refuseTaken (fastify: FastifyInstance): void {
  if (Object.hasOwn(fastify, 'sse') || ('sse' in fastify && !(fastify.sse as unknown instanceof Hub))) throw new ALREADY_PRESENT('fastify.sse')
  if (fastify.hasReplyDecorator('sse') && !fastify.hasReplyDecorator(kClient)) throw new ALREADY_PRESENT('reply.sse')
}

/** @throws FST_ERR_DEC_ALREADY_PRESENT where a name was taken since `refuseTaken`, FST_ERR_DEC_AFTER_START */
export function decorate (fastify: FastifyInstance, hub: Hub): void {
  refuseTaken(fastify)
  if (!fastify.hasReplyDecorator('sse')) {
    fastify.decorateReply('sse', replySse)
    fastify.decorateReply(kClient, null)
    fastify.decorateReply(kOwn, null)
    fastify.addHook('onError', async (_request, reply) => release(reply))
  }
  const inherits = 'sse' in fastify
  // `decorate` would refuse it where the context inherits `sse`.
  if (inherits) Object.defineProperty(fastify, 'sse', { value: hub, configurable: true, enumerable: true, writable: true })
  else (fastify as FastifyInstance).decorate('sse', hub)
}
