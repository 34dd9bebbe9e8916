// TypeScript as an ES module: one declaration gives the types of all calls.
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import sse, { type SSEClient } from 'fastify-sse-hub'
import { connect, type EventSourceLike } from 'fastify-sse-hub/client'

const events = { notification: Type.Object({ type: Type.String(), message: Type.String() }) }

declare module 'fastify-sse-hub' {
  interface SSERegister { events: typeof events, metadata: { user: string } }
}

const app = Fastify()
await app.register(sse, { events, historySize: 10 })
app.get<{ Params: { room: string } }>('/chat/:room', (request, reply) => {
  const client: SSEClient = reply.sse(`chat-${request.params.room}`, { metadata: { user: 'ada' } })
  const user: string = client.metadata.user
  client.send('notification', { type: 'info', message: user })
})
const published = await app.sse.toChannel('chat-lobby', 'notification', { type: 'info', message: 'hi' })
const id: string = published.id
// @ts-expect-error the message is missing
app.sse.send('notification', { type: 'info' })
// @ts-expect-error there is no such event
app.sse.send('other', {})
app.sse.on('disconnect', (client, reason) => { console.log(client.metadata.user, reason satisfies string) })

class Source implements EventSourceLike {
  readonly readyState = 2
  addEventListener (): void {}
  close (): void {}
}
const stream = connect<typeof events>('http://localhost/chat/lobby', {
  EventSource: Source,
  signal: AbortSignal.timeout(1000),
  on: {
    notification ({ message }) { console.log(message.toUpperCase()) },
    // @ts-expect-error there is no such event
    other () {}
  }
})
stream.close()
await app.close()
console.log(`TypeScript, ES module: runs (${typeof id})`)
