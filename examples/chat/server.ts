// A chat: rooms, who is in them, and what was said before.
import { randomUUID } from 'node:crypto'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import sse, { type SSEClient } from 'fastify-sse-hub'

const UserName = Type.String({ minLength: 1, maxLength: 40 })

export const events = {
  message: Type.Object({ id: Type.String(), user: UserName, text: Type.String(), time: Type.Integer() }),
  presence: Type.Object({
    user: UserName,
    action: Type.Union([Type.Literal('join'), Type.Literal('leave')]),
    users: Type.Array(UserName)
  })
}

const Room = Type.Object({ room: Type.String({ minLength: 1, maxLength: 40 }) })

const chat: FastifyPluginAsyncTypebox = async app => {
  await app.register(sse, { events, historySize: 500, heartbeatInterval: 30_000 })

  // A user with two tabs is there once, until both are gone.
  const usersIn = (room: string): string[] =>
    [...new Set(app.sse.channelClients(room).map(client => client.metadata.user))].sort()

  // Everybody in the room is told, who comes included: so a page that opens has the list at once. It is not kept: what
  // counts is who is there now.
  function announce (action: 'join' | 'leave', { channels, metadata: { user } }: SSEClient): void {
    for (const room of channels) {
      const users = usersIn(room)
      if (action === 'leave' && users.includes(user)) continue
      app.sse.toChannel(room, 'presence', { user, action, users }, { transient: true })
    }
  }
  app.sse.on('connect', client => announce('join', client))
  app.sse.on('disconnect', client => announce('leave', client))

  app.get('/rooms/:room/stream', { schema: { params: Room, querystring: Type.Object({ user: UserName }) } }, (request, reply) => {
    reply.sse(request.params.room, { metadata: { user: request.query.user } })
  })

  app.get('/rooms/:room/users', { schema: { params: Room } }, async request => {
    return { users: usersIn(request.params.room) }
  })

  // The client id is random, and only the page that opened the stream was told it: it says who speaks. The page shows
  // what it sends by itself, so its own stream is left out.
  app.post('/rooms/:room/messages', {
    schema: { params: Room, body: Type.Object({ clientId: Type.String(), text: Type.String({ minLength: 1, maxLength: 2000 }) }) }
  }, async (request, reply) => {
    const { params: { room }, body: { clientId, text } } = request
    const client = app.sse.client(clientId)
    if (client === undefined || !client.channels.has(room)) return reply.code(409).send({ message: 'Your stream is not open' })
    const message = { id: randomUUID(), user: client.metadata.user, text, time: Date.now() }
    await app.sse.toChannel(room, 'message', message, { except: clientId })
    return message
  })
}

export default chat
