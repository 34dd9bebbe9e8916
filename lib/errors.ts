// Every error that the package throws, with its code, its message and its status code. It knows of nothing else.
import { createError } from '@fastify/error'

/** A registration or call option is unknown, of the wrong type or out of range. */
export const SSE_ERR_INVALID_OPTION = createError<'SSE_ERR_INVALID_OPTION', [string]>('SSE_ERR_INVALID_OPTION', '%s', 500, TypeError)
/** An event name is not a string of 1 to 256 characters without CR, LF and NUL, or begins with `sse:`. */
export const SSE_ERR_INVALID_EVENT_NAME = createError<'SSE_ERR_INVALID_EVENT_NAME', [string]>('SSE_ERR_INVALID_EVENT_NAME', '%s', 500, TypeError)
/** A channel name is not a string of 1 to 256 characters without CR, LF and NUL. */
export const SSE_ERR_INVALID_CHANNEL = createError<'SSE_ERR_INVALID_CHANNEL', [string]>('SSE_ERR_INVALID_CHANNEL', '%s', 400, TypeError)
/** A client id is not a string of 1 to 256 characters without CR, LF and NUL. */
export const SSE_ERR_INVALID_CLIENT_ID = createError<'SSE_ERR_INVALID_CLIENT_ID', [string]>('SSE_ERR_INVALID_CLIENT_ID', '%s', 400, TypeError)
/** Data can't be serialised, or is not what the event's schema says. */
export const SSE_ERR_INVALID_DATA = createError<'SSE_ERR_INVALID_DATA', [string]>('SSE_ERR_INVALID_DATA', '%s', 500, TypeError)
/** Schemas are given, and there is none for this event. */
export const SSE_ERR_UNKNOWN_EVENT = createError<'SSE_ERR_UNKNOWN_EVENT', [string]>('SSE_ERR_UNKNOWN_EVENT', '%s', 500, TypeError)
/** An event is larger than `maxEventBytes`. */
export const SSE_ERR_EVENT_TOO_LARGE = createError<'SSE_ERR_EVENT_TOO_LARGE', [string, number, number]>('SSE_ERR_EVENT_TOO_LARGE', 'Event "%s" takes %d bytes, and "maxEventBytes" is %d', 413, RangeError)
/** A client would be in more channels than `maxChannelsPerClient`. */
export const SSE_ERR_TOO_MANY_CHANNELS = createError<'SSE_ERR_TOO_MANY_CHANNELS', [number]>('SSE_ERR_TOO_MANY_CHANNELS', 'A client may be in at most %d channels', 400, RangeError)
/** The hub has `maxClients` clients. */
export const SSE_ERR_TOO_MANY_CLIENTS = createError<'SSE_ERR_TOO_MANY_CLIENTS', [number]>('SSE_ERR_TOO_MANY_CLIENTS', 'All %d streams are taken', 503)
/** `maxClientsPerKey` clients are open for one key. */
export const SSE_ERR_TOO_MANY_CLIENTS_PER_KEY = createError<'SSE_ERR_TOO_MANY_CLIENTS_PER_KEY', [number]>('SSE_ERR_TOO_MANY_CLIENTS_PER_KEY', 'All %d streams that one client may have open are taken', 429)
/** The request's `Accept` header excludes `text/event-stream`. */
export const SSE_ERR_NOT_ACCEPTABLE = createError('SSE_ERR_NOT_ACCEPTABLE', 'This resource is a text/event-stream, which the Accept header excludes', 406)
/** The reply was sent already, or has a stream already. */
export const SSE_ERR_ALREADY_SENT = createError('SSE_ERR_ALREADY_SENT', 'reply.sse() was called on a reply that is already sent', 500)
/** The hub is closing or closed. */
export const SSE_ERR_CLOSED = createError('SSE_ERR_CLOSED', 'The hub is closed', 503)

const BrokerUnavailable = createError<'SSE_ERR_BROKER_UNAVAILABLE', [string]>('SSE_ERR_BROKER_UNAVAILABLE', 'The broker is unavailable: %s', 503)

/** The broker did not accept an event. */
export class SSE_ERR_BROKER_UNAVAILABLE extends BrokerUnavailable {
  /** False: it is not stored and never will be. True: it may yet have been stored. */
  readonly inDoubt: boolean

  constructor (reason: string, inDoubt: boolean, options?: ErrorOptions) {
    super(reason)
    this.inDoubt = inDoubt
    if (options?.cause !== undefined) this.cause = options.cause
  }
}
