// A notification system: every user has a channel of their own, anyone may be notified by a POST, and the state of the
// system goes to everybody every 5 seconds. `npm start` runs it.
import { readFile } from 'node:fs/promises'
import { freemem, loadavg, totalmem } from 'node:os'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import sse from 'fastify-sse-hub'

// What may be sent, declared once: checked by the compiler, checked and serialised at run time.
const events = {
  notification: Type.Object({
    type: Type.Union([Type.Literal('info'), Type.Literal('success'), Type.Literal('warning')]),
    message: Type.String(),
    time: Type.Integer()
  }),
  'system-status': Type.Object({ load: Type.Number(), memory: Type.Number(), clients: Type.Integer(), time: Type.Integer() })
}

declare module 'fastify-sse-hub' {
  interface SSERegister { events: typeof events, metadata: { user: string } }
}

const User = Type.String({ minLength: 1, maxLength: 40, pattern: '^[\\w.-]+$' })

const app = Fastify({
  logger: { level: process.env.LOG_LEVEL ?? 'info' },
  // Browsers open connections ahead of time; without this, `close()` waits until they time out.
  forceCloseConnections: true
}).withTypeProvider<TypeBoxTypeProvider>()

await app.register(sse, { events, historySize: 1000, heartbeatInterval: 30_000 })

app.get('/', async (_request, reply) => {
  return reply.type('text/html').send(await readFile(new URL('notifications.html', import.meta.url)))
})

// A real application takes the user from the authenticated request, never from what the client says it is.
app.get('/notifications', { schema: { querystring: Type.Object({ user: User }) } }, (request, reply) => {
  const { user } = request.query
  reply.sse(`user-${user}`, { metadata: { user } })
})

app.post('/notify', {
  schema: { body: Type.Object({ user: User, type: events.notification.properties.type, message: Type.String({ minLength: 1, maxLength: 500 }) }) }
}, async (request) => {
  const { user, type, message } = request.body
  const { recipients } = await app.sse.toChannel(`user-${user}`, 'notification', { type, message, time: Date.now() })
  return { status: 'sent', recipients }
})

// Tied to the application's life: it starts when the server listens and stops before it closes.
let timer: NodeJS.Timeout
app.addHook('onListen', async () => {
  timer = setInterval(() => {
    // The present state is worth nothing later, so it is not kept in history.
    app.sse.send('system-status', {
      load: loadavg()[0]!,
      memory: 1 - freemem() / totalmem(),
      clients: app.sse.clientCount(),
      time: Date.now()
    }, { transient: true })
  }, 5000)
})
app.addHook('preClose', async () => clearInterval(timer))

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => app.close())

const address = await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT ?? 3000) })
console.log(`\nOpen ${address} in two tabs, and send yourself a notification.\n`)
