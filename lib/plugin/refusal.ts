// What a reply whose stream was refused has of that, where Fastify is given the error: `Retry-After`, and no lines in the log, as a
// flood of refusals would fill it. It must not know why a stream is refused.
import type { FastifyBaseLogger, FastifyReply } from 'fastify'

interface Refusal extends Error {
  readonly statusCode?: number
}

/** The errors of refused streams, with the seconds that their clients should wait. */
const refusals = new WeakMap<object, number>()

/** Notes that an error refuses a stream. */
export function noteRefusal (error: unknown, retryAfter: number): void {
  refusals.set(error as object, retryAfter)
}

/**
 * Called when Fastify is given an error, before any error handler. Where the application catches a refusal and answers otherwise,
 * this is not called. Where its error handler answers otherwise, the status tells it.
 */
export function quieten (reply: FastifyReply, error: Refusal): void {
  const retryAfter = refusals.get(error)
  if (retryAfter === undefined) return
  const isRefused = (): boolean => reply.statusCode === error.statusCode
  reply.log = quietLog(reply, error, isRefused)
  const { send } = reply
  reply.send = function (payload?: unknown) {
    if (isRefused()) reply.header('retry-after', retryAfter)
    return send.call(this, payload)
  }
}

/** The reply's logger without Fastify's lines about the refusal. What the application logs is logged. */
function quietLog (reply: FastifyReply, error: Error, isRefused: () => boolean): FastifyBaseLogger {
  const { log } = reply
  const about = (entry: unknown): boolean => {
    const { err, res } = (entry ?? {}) as { err?: unknown, res?: unknown }
    return err === error || (res === reply && isRefused())
  }
  // The methods of a logger may need it as their `this`.
  return new Proxy<FastifyBaseLogger>(Object.create(log), {
    get: (_target, name) => {
      const value: unknown = Reflect.get(log, name)
      if (typeof value !== 'function') return value
      const passes = (entry: unknown[]): boolean => (name !== 'info' && name !== 'error') || !about(entry[0])
      return (...entry: unknown[]) => { if (passes(entry)) return Reflect.apply(value, log, entry) as unknown }
    }
  })
}
