// What a reply whose stream was refused has of that, where it is answered with the refusal's status: `Retry-After`, and no lines of
// Fastify's in the log, as a flood of refusals would fill it. It must not know why a stream is refused.
import type { FastifyBaseLogger, FastifyReply } from 'fastify'

/**
 * Called before the error of a refusal is thrown. The application may catch it and answer otherwise, so that is decided when
 * something is sent or logged. Example: one handler answers the error with 503, and gets `Retry-After`. Another answers with the
 * last events as JSON and 200, and is logged as any request.
 */
export function prepareRefusal (reply: FastifyReply, error: unknown, retryAfter: number): void {
  const isRefused = (): boolean => reply.statusCode === (error as { readonly statusCode?: number }).statusCode
  reply.log = quietLog(reply, error, isRefused)
  const { send } = reply
  reply.send = function (payload?: unknown) {
    if (isRefused()) reply.header('retry-after', retryAfter)
    return send.call(this, payload)
  }
}

/** The reply's logger without Fastify's lines about the refusal. What the application logs is logged. */
function quietLog (reply: FastifyReply, error: unknown, isRefused: () => boolean): FastifyBaseLogger {
  const { log } = reply
  const isAbout = (entry: unknown): boolean => {
    const { err, res } = (entry ?? {}) as { err?: unknown, res?: unknown }
    return (err === error || res === reply) && isRefused()
  }
  // The methods of a logger may need it as their `this`.
  return new Proxy<FastifyBaseLogger>(Object.create(log), {
    get: (_target, name) => {
      const value: unknown = Reflect.get(log, name)
      if (typeof value !== 'function') return value
      const passes = (entry: unknown[]): boolean => (name !== 'info' && name !== 'error') || !isAbout(entry[0])
      return (...entry: unknown[]) => { if (passes(entry)) return Reflect.apply(value, log, entry) as unknown }
    }
  })
}
