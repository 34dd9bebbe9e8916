// A notification system: users sign in, follow their own channel, and notify each other.
import { randomBytes, randomUUID } from 'node:crypto'
import { freemem, loadavg, totalmem } from 'node:os'
import cookie from '@fastify/cookie'
import jwt from '@fastify/jwt'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import sse from 'fastify-sse-hub'

// The events, declared once. The compiler checks them, the hub checks and serialises them at run time, and the page has
// their types.
export const events = {
  notification: Type.Object({
    id: Type.String(),
    type: Type.Union([Type.Literal('info'), Type.Literal('success'), Type.Literal('warning')]),
    from: Type.String(),
    message: Type.String(),
    time: Type.Integer()
  }),
  'system-status': Type.Object({ load: Type.Number(), memory: Type.Number(), clients: Type.Integer() })
}

declare module '@fastify/jwt' {
  interface FastifyJWT { payload: { name: string }, user: { name: string } }
}

const UserName = Type.String({ minLength: 1, maxLength: 40, pattern: '^\\w[\\w.-]*$' })
const User = Type.Object({ user: UserName })

const notifications: FastifyPluginAsyncTypebox = async app => {
  await app.register(cookie)
  await app.register(jwt, {
    // Without a lasting secret, all users have to sign in again after a restart.
    secret: process.env.JWT_SECRET ?? randomBytes(32).toString('hex'),
    cookie: { cookieName: 'session', signed: false },
    sign: { expiresIn: '8h' }
  })
  await app.register(sse, { events, historySize: 1000, heartbeatInterval: 30_000 })

  // EventSource sends cookies, but it can't send a header of your own, so the token is in a cookie. No script can read
  // this cookie, and no page of another site can make a browser send it.
  const session = { httpOnly: true, sameSite: 'strict', path: '/', secure: 'auto' } as const

  // A real application asks for more than a name.
  app.post('/session', { schema: { body: User } }, async (request, reply) => {
    const { user } = request.body
    reply.setCookie('session', await reply.jwtSign({ name: user }), session)
    return { user }
  })

  const signedIn = (request: FastifyRequest): Promise<unknown> => request.jwtVerify({ onlyCookie: true })

  app.get('/session', async request => {
    const user = await signedIn(request).then(() => request.user.name, () => null)
    return { user, time: Date.now() }
  })

  app.delete('/session', { onRequest: signedIn }, async (request, reply) => {
    reply.clearCookie('session', session)
    // A stream stays open after the check at its start. When this browser's streams connect again, they have no cookie and
    // get a 401.
    for (const client of app.sse.channelClients(request.user.name)) client.close()
    return reply.code(204).send()
  })

  // The channel belongs to the signed-in user. A request for another user's channel gets an error, not a stream.
  app.get('/users/:user/stream', { onRequest: signedIn, schema: { params: User } }, async (request, reply) => {
    const { user } = request.params
    if (user !== request.user.name) return reply.code(403).send({ message: 'This is not your stream' })
    reply.sse(user, { metadata: { user } })
  })

  app.post('/users/:user', {
    onRequest: signedIn,
    schema: {
      params: User,
      body: Type.Object({ type: events.notification.properties.type, message: Type.String({ minLength: 1, maxLength: 500 }) })
    }
  }, async request => {
    const { recipients } = await app.sse.toChannel(request.params.user, 'notification', {
      id: randomUUID(), from: request.user.name, time: Date.now(), ...request.body
    })
    return { recipients }
  })

  // The timer starts when the server listens, and stops before the server closes.
  let timer: NodeJS.Timeout
  app.addHook('onListen', async () => {
    timer = setInterval(() => {
      // Nobody needs an old status later, so it is not kept.
      app.sse.send('system-status', {
        load: loadavg()[0]!, memory: 1 - freemem() / totalmem(), clients: app.sse.clientCount()
      }, { transient: true })
    }, 5000)
  })
  app.addHook('preClose', async () => clearInterval(timer))
}

export default notifications
