// What a client takes (RFC 9110 12.5.1 and 12.5.3).
import Negotiator from 'negotiator'

export const EVENT_STREAM = 'text/event-stream'
/** Event streams are always UTF-8, and some clients say so, which the bare type would not match. */
const OFFERED = [EVENT_STREAM, `${EVENT_STREAM};charset=utf-8`]

/** Whether an `Accept` header admits `text/event-stream`; a missing one does. */
export function acceptsEventStream (accept: string | undefined): boolean {
  if (accept === undefined || accept === '' || accept === EVENT_STREAM || accept === '*/*') return true
  return new Negotiator({ headers: { accept } }).mediaTypes(OFFERED).length > 0
}

/** Whether an `Accept-Encoding` header admits gzip; a missing one does not: few who leave it out can read it. */
export function acceptsGzip (acceptEncoding: string | undefined): boolean {
  if (acceptEncoding === undefined || acceptEncoding === '') return false
  return new Negotiator({ headers: { 'accept-encoding': acceptEncoding } }).encodings(['gzip']).length > 0
}
