// better-sse: `broadcast()` of its channels. Data is serialised only once, because its `serializer` option gets a function
// that passes text on.
import { createRequire } from 'node:module'
import { setTimeout } from 'node:timers/promises'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { channelsOf, RETRY, Rooms, type Payload, type Subject, type SubjectOptions } from './subject.js'

interface EventBuffer {
  push (data: string, event: string, id: string): void
}

interface Session {
  once (event: 'disconnected', listener: () => void): void
  batch (buffer: EventBuffer): Promise<void>
}

interface Channel {
  register (session: Session): void
  broadcast (data: string, event: string, options: { eventId: string }): void
}

interface BetterSse {
  createSession (request: unknown, response: unknown, options: object): Promise<Session>
  createChannel (): Channel
  createEventBuffer (options: object): EventBuffer
}

const require = createRequire(import.meta.url)
const { createSession, createChannel, createEventBuffer }: BetterSse = require('better-sse')
const options = { serializer: (data: string) => data }

async function serve (enter: (session: Session, channels: string[]) => void, prepare = async (_channels: string[]): Promise<void> => {}) {
  const app = Fastify({ forceCloseConnections: true })
  app.get('/events', async (request, reply) => {
    const channels = channelsOf(request.url)
    await prepare(channels)
    reply.hijack()
    enter(await createSession(request.raw, reply.raw, options), channels)
  })
  app.get('/ping', async () => 'pong')
  await app.listen({ host: '127.0.0.1', port: 0 })
  return app.server
}

export async function betterSse (): Promise<Subject> {
  const channels = new Map<string, Channel>()
  const server = await serve((session, names) => {
    for (const name of names) {
      let channel = channels.get(name)
      if (channel === undefined) channels.set(name, channel = createChannel())
      channel.register(session)
    }
  })
  return {
    server,
    publish (name, { id, data }) {
      channels.get(name)?.broadcast(JSON.stringify(data), 'message', { eventId: id })
    }
  }
}

/**
 * The same on several instances, as its maintainer advises (issues 86 and 89 of its repository). Each channel has a topic in
 * Redis. An instance subscribes to the topic when the channel's first session comes, and broadcasts what comes from the
 * topic. An event is published to the topic. This is the cheapest form: all publishes of a turn go out together, and the
 * data is not parsed.
 */
export async function betterSseRedis ({ redis }: SubjectOptions): Promise<Subject> {
  const publisher = new Redis(redis!, { enableAutoPipelining: true })
  const subscriber = new Redis(redis!)
  // The clients of Redis connect again by themselves.
  for (const client of [publisher, subscriber]) client.on('error', () => {})
  const channels = new Map<string, Channel>()
  const subscribing = new Map<string, Promise<unknown>>()
  subscriber.on('message', (topic, message) => {
    const end = message.indexOf('\n')
    channels.get(topic)!.broadcast(message.slice(end + 1), 'message', { eventId: message.slice(0, end) })
  })
  const prepare = async (names: string[]): Promise<void> => {
    for (const name of names) {
      if (!channels.has(name)) {
        channels.set(name, createChannel())
        subscribing.set(name, subscriber.subscribe(name))
      }
      await subscribing.get(name)
    }
  }
  const server = await serve((session, names) => {
    for (const name of names) channels.get(name)!.register(session)
  }, prepare)
  const publish = (name: string, { id, data }: Payload) => publisher.publish(name, `${id}\n${JSON.stringify(data)}`)
  return {
    server,
    publish,
    async insist (name, payload) {
      for (;;) {
        try {
          await publish(name, payload)
          return
        } catch {
          await setTimeout(RETRY)
        }
      }
    }
  }
}

/**
 * The same with its event buffers. It is for an application that has all events of a turn in one place and sends them
 * together: there is one buffer for each turn and channel, and it is written once for each session.
 */
export async function betterSseBatched (): Promise<Subject> {
  const rooms = new Rooms<Session>()
  const server = await serve((session, names) => {
    for (const name of names) rooms.join(name, session)
    session.once('disconnected', () => rooms.leave(session))
  })
  const waiting = new Map<string, Payload[]>()
  const flush = async (): Promise<void> => {
    const due = [...waiting]
    waiting.clear()
    for (const [room, payloads] of due) {
      const buffer = createEventBuffer(options)
      for (const { id, data } of payloads) buffer.push(JSON.stringify(data), 'message', id)
      await Promise.all(Array.from(rooms.of(room), session => session.batch(buffer)))
    }
  }
  return {
    server,
    publish (room, payload) {
      if (waiting.size === 0) queueMicrotask(flush)
      const payloads = waiting.get(room)
      if (payloads === undefined) waiting.set(room, [payload])
      else payloads.push(payload)
    }
  }
}
