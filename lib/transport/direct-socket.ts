// When chunk bytes may go to a socket past `ServerResponse.write`. It leans on Node's internals, so that it stands
// alone, and says no wherever a field is missing: the ordinary way is always right, only slower.
import { ServerResponse } from 'node:http'
import { Socket } from 'node:net'

/** What Node's `ServerResponse` has beside its documented fields. */
interface Internals {
  /** False for HEAD, 204 and 304: the response has no body. */
  readonly _hasBody?: boolean
  /** What waits for the socket, e.g. while a pipelined response waits for its turn, or the head is still held back. */
  readonly outputData?: readonly unknown[]
  /** False for HTTP/1.0 and where a hook set `content-length`. */
  readonly chunkedEncoding: boolean
  /** Whether the head was handed to the socket; `headersSent` is true as soon as it is composed. */
  readonly _headerSent?: boolean
}

/** The socket of a response that is Node's own, as nobody has wrapped it; `null` where there is none. */
export function plainSocket (response: ServerResponse): Socket | null {
  return response.write === ServerResponse.prototype.write && response.socket instanceof Socket ? response.socket : null
}

/**
 * The socket that takes this response's chunks as they are, or `null` where they must go through its `write`:
 * a wrapped response, HTTP/2, HTTP/1.0, HEAD, `inject()`, a head that has not left, a response whose turn it is not.
 */
export function directSocket (response: ServerResponse): Socket | null {
  const socket = plainSocket(response)
  if (socket === null) return null
  const { _hasBody, _headerSent, outputData, chunkedEncoding } = response as unknown as Internals
  if (chunkedEncoding !== true || _hasBody !== true) return null
  if (_headerSent !== true || !Array.isArray(outputData) || outputData.length > 0) return null
  return (socket as { _httpMessage?: unknown })._httpMessage === response ? socket : null
}
