// A chat: rooms, the users in them, and the messages that were sent before.
import { randomUUID } from 'node:crypto'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import sse, { type Broker, type SSEPresence } from 'fastify-sse-hub'

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

/** With a broker, several instances are one chat: see `examples/cluster/`. */
const chat: FastifyPluginAsyncTypebox<{ broker?: Broker }> = async (app, { broker }) => {
  await app.register(sse, { events, historySize: 500, heartbeatInterval: 30_000, ...broker === undefined ? {} : { broker } })

  // It has the users of all instances. A user with two tabs is listed once, until both tabs are closed.
  const usersIn = async (room: string): Promise<string[]> =>
    [...new Set((await app.sse.presence(room)).map(({ metadata }) => metadata.user))].sort()

  // Every instance hears of each join and leave, and tells its own clients. The client that joins is told as well, so a page
  // that opens gets the list at once. The list is not kept: only the users who are there now count.
  async function announce (action: 'join' | 'leave', { metadata: { user } }: SSEPresence, room: string): Promise<void> {
    const users = await usersIn(room)
    if (action === 'leave' && users.includes(user)) return
    for (const client of app.sse.channelClients(room)) client.send('presence', { user, action, users })
  }
  app.sse.on('join', (who, room) => announce('join', who, room))
  app.sse.on('leave', (who, room) => announce('leave', who, room))

  app.get('/rooms/:room/stream', { schema: { params: Room, querystring: Type.Object({ user: UserName }) } }, (request, reply) => {
    reply.sse(request.params.room, { metadata: { user: request.query.user } })
  })

  app.get('/rooms/:room/users', { schema: { params: Room } }, async request => {
    return { users: await usersIn(request.params.room) }
  })

  // The client id is random, and only the page that opened the stream knows it, so it says who the sender is. The page shows
  // its own message without the stream, so `except` leaves that stream out.
  app.post('/rooms/:room/messages', {
    schema: { params: Room, body: Type.Object({ clientId: Type.String(), text: Type.String({ minLength: 1, maxLength: 2000 }) }) }
  }, async (request, reply) => {
    const { params: { room }, body: { clientId, text } } = request
    const sender = (await app.sse.presence(room)).find(who => who.clientId === clientId)
    if (sender === undefined) return reply.code(409).send({ message: 'Your stream is not open' })
    const message = { id: randomUUID(), user: sender.metadata.user, text, time: Date.now() }
    await app.sse.toChannel(room, 'message', message, { except: clientId })
    return message
  })
}

export default chat
