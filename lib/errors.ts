// All errors of the package, with their codes, messages and status codes. It must not know who throws them.
import { createError } from '@fastify/error'

/** The page of the package that has a section for each code. */
const PAGE = 'fastify-sse-hub/docs/reference/errors.md'

/** Makes a class of errors whose messages end with the address of the section about their code. */
// The return type is inferred, because TypeDoc asks for docstrings of the properties of a type that is written here.
function createSSEError<Code extends string, Status extends number, Values extends unknown[] = [any?, any?, any?]> (
  code: Code, message: string, status: Status, Base?: ErrorConstructor) {
  return createError<Code, Status, Values>(code, `${message} (see ${PAGE}#${code.toLowerCase()})`, status, Base)
}

/**
 * An option of a registration or a call is unknown, of the wrong type or out of range. Status 500: correct the code. The
 * message names the option and what is accepted.
 * @category Errors
 */
export const SSE_ERR_INVALID_OPTION = createSSEError<'SSE_ERR_INVALID_OPTION', 500, [string]>('SSE_ERR_INVALID_OPTION', '%s', 500, TypeError)
/**
 * An event name is not a string of 1 to 256 well-formed characters without CR, LF and NUL, or begins with `sse:`, as the hub's own names
 * do. Status 500: event names come from the code, not from a request.
 * @category Errors
 */
export const SSE_ERR_INVALID_EVENT_NAME = createSSEError<'SSE_ERR_INVALID_EVENT_NAME', 500, [string]>('SSE_ERR_INVALID_EVENT_NAME', '%s', 500, TypeError)
/**
 * A channel name is not a string of 1 to 256 well-formed characters without CR, LF and NUL, or there is no channel to publish to. Status
 * 400: the name may come from a request, and its sender is told.
 * @category Errors
 */
export const SSE_ERR_INVALID_CHANNEL = createSSEError<'SSE_ERR_INVALID_CHANNEL', 400, [string]>('SSE_ERR_INVALID_CHANNEL', '%s', 400, TypeError)
/**
 * A client id is not a string of 1 to 256 well-formed characters without CR, LF and NUL. Status 400: the id may come from a request,
 * and its sender is told.
 * @category Errors
 */
export const SSE_ERR_INVALID_CLIENT_ID = createSSEError<'SSE_ERR_INVALID_CLIENT_ID', 400, [string]>('SSE_ERR_INVALID_CLIENT_ID', '%s', 400, TypeError)
/**
 * The data can't be serialised, or does not match the event's schema. Then the message has the path and what is wrong there.
 * Status 500. Nothing is sent. `cause` is what the serializer threw, if it threw.
 * @category Errors
 */
export const SSE_ERR_INVALID_DATA = createSSEError<'SSE_ERR_INVALID_DATA', 500, [string]>('SSE_ERR_INVALID_DATA', '%s', 500, TypeError)
/**
 * Schemas are given, but there is none for this event. Status 500: add a schema to {@link SSEPluginOptions.events}, or correct
 * the name. `app.ready()` rejects with it where the {@link sseResponse} of a route names such an event.
 * @category Errors
 */
export const SSE_ERR_UNKNOWN_EVENT = createSSEError<'SSE_ERR_UNKNOWN_EVENT', 500, [string]>('SSE_ERR_UNKNOWN_EVENT', '%s', 500, TypeError)
/**
 * The data of an event is larger than {@link SSEPluginOptions.maxEventBytes}. Status 413 (RFC 9110 15.5.14), because the data
 * may come from a request. Nothing is sent: publish a reference to the data, or raise the limit.
 * @category Errors
 */
export const SSE_ERR_EVENT_TOO_LARGE = createSSEError<'SSE_ERR_EVENT_TOO_LARGE', 413, [string, number, number]>('SSE_ERR_EVENT_TOO_LARGE', 'Event "%s" takes %d bytes, and "maxEventBytes" is %d', 413, RangeError)
/**
 * A client would be in more channels than {@link SSEPluginOptions.maxChannelsPerClient}. Status 400. `reply.sse()` opens no
 * stream. {@link SSEClient.join} changes nothing: let the client {@link SSEClient.leave | leave} another channel first.
 * @category Errors
 */
export const SSE_ERR_TOO_MANY_CHANNELS = createSSEError<'SSE_ERR_TOO_MANY_CHANNELS', 400, [number]>('SSE_ERR_TOO_MANY_CHANNELS', 'A client may be in at most %d channels', 400, RangeError)
/**
 * The hub has {@link SSEPluginOptions.maxClients} clients. Status 503 with `Retry-After` (RFC 9110 15.6.4). A browser's
 * `EventSource` gives up. `connect()` of `fastify-sse-hub/client` asks again.
 * @category Errors
 */
export const SSE_ERR_TOO_MANY_CLIENTS = createSSEError<'SSE_ERR_TOO_MANY_CLIENTS', 503, [number]>('SSE_ERR_TOO_MANY_CLIENTS', 'All %d streams are taken', 503)
/**
 * One {@link SSEPluginOptions.key} has {@link SSEPluginOptions.maxClientsPerKey} clients. Status 429 with `Retry-After`
 * (RFC 6585 4).
 * @category Errors
 */
export const SSE_ERR_TOO_MANY_CLIENTS_PER_KEY = createSSEError<'SSE_ERR_TOO_MANY_CLIENTS_PER_KEY', 429, [number]>('SSE_ERR_TOO_MANY_CLIENTS_PER_KEY', 'All %d streams that one client may have open are taken', 429)
/**
 * The `Accept` header of the request excludes `text/event-stream` (RFC 9110 12.5.1). Status 406: answer something else where
 * clients may ask for it.
 * @category Errors
 */
export const SSE_ERR_NOT_ACCEPTABLE = createSSEError('SSE_ERR_NOT_ACCEPTABLE', 'This resource is a text/event-stream, which the Accept header excludes', 406)
/**
 * `reply.sse()` was called on a reply that was sent or has a stream. Status 500: call it once, and do not send anything else.
 * `reply.send()` after `reply.sse()` changes nothing and is logged with this error.
 * @category Errors
 */
export const SSE_ERR_ALREADY_SENT = createSSEError('SSE_ERR_ALREADY_SENT', 'The reply is already sent, or has a stream already', 500)
/**
 * The hub is closing (thrown by `reply.sse()`) or closed (by a publish). Status 503, from `reply.sse()` with `Retry-After`
 * (RFC 9110 15.6.4): another instance may take the client.
 * @category Errors
 */
export const SSE_ERR_CLOSED = createSSEError('SSE_ERR_CLOSED', 'The hub is closed', 503)

const BrokerUnavailable = createSSEError<'SSE_ERR_BROKER_UNAVAILABLE', 503, [string]>('SSE_ERR_BROKER_UNAVAILABLE', 'The broker is unavailable: %s', 503)

/**
 * The broker did not accept an event, or did not answer. Status 503: publish again, where `inDoubt` is true with the same
 * {@link SSEPublishOptions.idempotencyKey}. `cause` is the error that caused it, if any. A broker of your own rejects with this
 * error.
 * @category Errors
 */
export class SSE_ERR_BROKER_UNAVAILABLE extends BrokerUnavailable {
  /** False: the event is not stored and never will be. True: the event may have been stored. */
  readonly inDoubt: boolean

  /**
   * For a broker of your own.
   * @param reason the end of the message
   * @param inDoubt whether the event may have been stored
   * @param options with the error that caused this one as `cause`, if any
   */
  constructor (reason: string, inDoubt: boolean, options?: ErrorOptions) {
    super(reason)
    this.inDoubt = inDoubt
    if (options?.cause !== undefined) this.cause = options.cause
  }
}
