// Cuts a connection as a crash does.
import type { Socket } from 'node:net'

/**
 * Resets it. Of one whose FIN waits to be sent Node refuses to (EINVAL), and then neither closes it nor lets the process
 * end: that one is closed.
 */
export function reset (socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
