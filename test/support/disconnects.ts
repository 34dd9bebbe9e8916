// Who went, and why, as the hub tells it.
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import type { SSEClient, SSEDisconnectReason } from '../../lib/index.js'

export interface Disconnect {
  readonly client: SSEClient
  readonly reason: SSEDisconnectReason
}

/** A list that grows with every client that goes. */
export function recordDisconnects (app: FastifyInstance): Disconnect[] {
  const disconnects: Disconnect[] = []
  app.sse.on('disconnect', (client, reason) => disconnects.push({ client, reason }))
  return disconnects
}

/** Resolves with the next client that goes. */
export async function nextDisconnect (app: FastifyInstance): Promise<Disconnect> {
  const [client, reason] = await once(app.sse as never, 'disconnect') as [SSEClient, SSEDisconnectReason]
  return { client, reason }
}
