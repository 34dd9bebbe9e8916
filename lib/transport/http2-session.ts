// Ends an HTTP/2 session at once. It must not know of streams.
import type { Http2Session } from 'node:http2'

/** A way to destroy a socket that all sockets of Node 20 have, though Node's types have it only later. */
interface Disposable {
  readonly [Symbol.asyncDispose]?: () => Promise<void>
}

/**
 * `session.destroy()` alone waits until the system takes the bytes that are being written. To a peer that is gone, that takes 15
 * minutes, in which the server can't close. So the socket is destroyed as well. Node hides `socket.destroy()` of a session.
 */
export function destroySession (session: Http2Session): void {
  if (session.destroyed) return
  // The socket is bound to this function. After `destroy()` the session has no socket.
  const dispose = (session.socket as Disposable)[Symbol.asyncDispose]
  session.destroy()
  dispose?.().catch(() => {})
}
