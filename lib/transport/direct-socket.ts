// Decides whether chunk bytes may be written directly to a response's socket, past `ServerResponse.write`. It relies on
// internal fields of Node, so it stands alone. Where a field is missing it says no: `write` is always right, only slower.
// It must not write anything itself.
import { ServerResponse } from 'node:http'
import { Socket } from 'node:net'

/** Fields of Node's `ServerResponse` that are internal or untyped. */
interface Internals {
  /** False for HEAD, 204 and 304: the response has no body. */
  readonly _hasBody?: boolean
  /** What waits for the socket: the head before it is flushed, or all of a pipelined response before its turn. */
  readonly outputData?: readonly unknown[]
  /** False for HTTP/1.0 and where a hook set `content-length`. */
  readonly chunkedEncoding: boolean
  /** Whether the socket has the head. `headersSent` is already true when the head is composed. */
  readonly _headerSent?: boolean
}

/** The socket of a response whose `write` is still Node's own; `null` for a wrapped response, HTTP/2 or no socket. */
export function plainSocket (response: ServerResponse): Socket | null {
  return response.write === ServerResponse.prototype.write && response.socket instanceof Socket ? response.socket : null
}

/**
 * The socket that takes this response's chunks as they are. `null` where they must go through its `write`: for a wrapped
 * response, HTTP/2, HTTP/1.0, HEAD and `inject()`, before the head has left, and before a pipelined response's turn.
 */
export function directSocket (response: ServerResponse): Socket | null {
  const socket = plainSocket(response)
  if (socket === null) return null
  const { _hasBody, _headerSent, outputData, chunkedEncoding } = response as unknown as Internals
  if (chunkedEncoding !== true || _hasBody !== true) return null
  if (_headerSent !== true || !Array.isArray(outputData) || outputData.length > 0) return null
  return hasTurn(response, socket) ? socket : null
}

/**
 * Whether a socket takes this response's bytes now. Not after the response's end: the last chunk is written, and what comes after
 * it would be part of the next response on the connection.
 */
export function hasTurn (response: ServerResponse, socket: Socket): boolean {
  return !response.writableEnded && (socket as { _httpMessage?: unknown })._httpMessage === response
}
