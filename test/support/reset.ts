// Cuts a connection as a crash does.
import type { Socket } from 'node:net'

/**
 * Resets a connection. If its FIN waits to be sent, Node refuses that with EINVAL. It would then neither close the socket nor
 * let the process end, so such a connection is closed.
 */
export function reset (socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
