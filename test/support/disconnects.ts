// Which clients were disconnected, and the reasons that the hub told.
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import type { SSEClient, SSEDisconnectReason } from '../../lib/index.js'

export interface Disconnect {
  readonly client: SSEClient
  readonly reason: SSEDisconnectReason
}

/** A list that gets an entry for every client that is disconnected. */
export function recordDisconnects (app: FastifyInstance): Disconnect[] {
  const disconnects: Disconnect[] = []
  app.sse.on('disconnect', (client, reason) => disconnects.push({ client, reason }))
  return disconnects
}

/** Resolves with the next client that is disconnected. */
export async function nextDisconnect (app: FastifyInstance): Promise<Disconnect> {
  const [client, reason] = await once(app.sse as never, 'disconnect') as [SSEClient, SSEDisconnectReason]
  return { client, reason }
}
