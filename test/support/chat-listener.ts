// The listener of the README's chat. It tells a room who has left it. The results of its publishes are kept here.
import type { FastifyInstance } from 'fastify'

export interface ChatListener {
  /** For each of its publishes: how many clients it was for, or the error that it was rejected with. */
  readonly outcomes: Array<Promise<number | Error>>
  /** For each call of the listener, how many calls were on the stack. */
  readonly depths: number[]
  /** The largest number of bytes that waited for clients when it was called. */
  bufferedBytes: number
}

/** @param awaits whether the listener awaits its publish */
export function addChatListener (app: FastifyInstance, awaits: boolean): ChatListener {
  const chat: ChatListener = { outcomes: [], depths: [], bufferedBytes: 0 }
  const isIn = (channel: string, user: unknown): boolean => app.sse.channelClients(channel).some(client => client.metadata.user === user)
  const publish = (channel: string, user: unknown): Promise<unknown> => {
    const published = app.sse.toChannel(channel, 'user-leave', { user }, { transient: true })
    chat.outcomes.push(published.then(({ recipients }) => recipients, error => error as Error))
    return published
  }
  const look = (): void => {
    chat.depths.push(stackDepth())
    chat.bufferedBytes = Math.max(chat.bufferedBytes, app.sse.stats().bufferedBytes)
  }
  if (awaits) {
    app.sse.on('disconnect', async ({ channels, metadata: { user } }) => {
      look()
      for (const channel of channels) if (!isIn(channel, user)) await publish(channel, user)
    })
  } else {
    app.sse.on('disconnect', ({ channels, metadata: { user } }) => {
      look()
      for (const channel of channels) if (!isIn(channel, user)) publish(channel, user)
    })
  }
  return chat
}

function stackDepth (): number {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = Infinity
  const depth = new Error().stack!.split('\n').length
  Error.stackTraceLimit = stackTraceLimit
  return depth
}
