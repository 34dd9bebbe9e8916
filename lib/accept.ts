// Whether a client takes an event stream (RFC 9110 12.5.1).
import Negotiator from 'negotiator'

export const EVENT_STREAM = 'text/event-stream'

/** Whether an `Accept` header admits `text/event-stream`; a missing one does. */
export function acceptsEventStream (accept: string | undefined): boolean {
  if (accept === undefined || accept === '' || accept === EVENT_STREAM || accept === '*/*') return true
  return new Negotiator({ headers: { accept } }).mediaType([EVENT_STREAM]) === EVENT_STREAM
}
