// The server's limit for a silent connection (`connectionTimeout`). A stream may be silent for longer, so the limit is
// lifted while it is open; heartbeats and `stallTimeout` find out whether the client is still there. It must not know
// of streams. Functions, not a class: a stream keeps one number.
import type { Socket } from 'node:net'

/** Lifts the limit; returns what `restoreTimeout` must give back, 0 for nothing. */
export function liftTimeout (connection: Socket | null): number {
  // The connection of an injected request is not a real socket and has no limit.
  if (!connection?.timeout) return 0
  const limit = connection.timeout
  connection.setTimeout(0)
  return limit
}

export function restoreTimeout (connection: Socket | null, limit: number): void {
  // After a response, Node sets `keepAliveTimeout`. That one must stay.
  if (limit !== 0 && connection?.timeout === 0) connection.setTimeout(limit)
}
