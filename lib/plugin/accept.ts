// What a request's headers accept (RFC 9110 12.5.1 and 12.5.3). It must not know of replies or streams.
import Negotiator from 'negotiator'

export const EVENT_STREAM = 'text/event-stream'
/** Event streams are always UTF-8. Some clients ask for that charset, and the bare type does not match theirs. */
const OFFERED = [EVENT_STREAM, `${EVENT_STREAM};charset=utf-8`]

/**
 * A longer header is not parsed, and counts as one that does not accept. Browsers send up to 200 characters. 16 KB, which Node
 * takes, can have 8,000 entries, and to parse them would hold the event loop for milliseconds.
 */
const MAX_LENGTH = 1024

/** Whether an `Accept` header accepts `text/event-stream`. A missing one does. */
export function acceptsEventStream (accept: string | undefined): boolean {
  if (accept === undefined || accept === '' || accept === EVENT_STREAM || accept === '*/*') return true
  if (accept.length > MAX_LENGTH) return false
  return new Negotiator({ headers: { accept } }).mediaTypes(OFFERED).length > 0
}

/** Whether an `Accept-Encoding` header accepts gzip. A missing one does not: few clients without it can read gzip. */
export function acceptsGzip (acceptEncoding: string | undefined): boolean {
  if (acceptEncoding === undefined || acceptEncoding === '' || acceptEncoding.length > MAX_LENGTH) return false
  return new Negotiator({ headers: { 'accept-encoding': acceptEncoding } }).encodings(['gzip']).length > 0
}
