// All examples in one server: `npm start`. PORT (default 3000) is the port. With TLS_KEY and TLS_CERT, which are paths of PEM
// files, the server speaks HTTP/2.
import { readFile } from 'node:fs/promises'
import helmet from '@fastify/helmet'
import Fastify from 'fastify'
import * as chat from './chat/server.js'
import * as dashboard from './dashboard/server.js'
import * as notifications from './notifications/server.js'
import pages from './pages.js'
import * as progress from './progress/server.js'
import * as tokens from './tokens/server.js'

// A program declares its events once, for the compiler. Each example registers its own hub with its own events.
declare module 'fastify-sse-hub' {
  interface SSERegister {
    events: typeof notifications.events & typeof chat.events & typeof dashboard.events & typeof progress.events & typeof tokens.events
    metadata: { user: string }
  }
}

const { PORT = '3000', LOG_LEVEL = 'info', TLS_KEY, TLS_CERT } = process.env

const tls = TLS_KEY === undefined || TLS_CERT === undefined
  ? {}
  : { http2: true, https: { allowHTTP1: true, key: await readFile(TLS_KEY), cert: await readFile(TLS_CERT) } }

const app = Fastify({
  logger: { level: LOG_LEVEL },
  // Browsers open connections ahead of time. Without this option, `close()` waits until they time out.
  forceCloseConnections: true,
  ...tls as object
})

// Nothing is loaded from other sites, and the pages have no inline scripts or styles. EventSource counts as `connect-src`.
await app.register(helmet, {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'"],
      connectSrc: ["'self'"],
      formAction: ["'self'"],
      baseUri: ["'none'"],
      frameAncestors: ["'none'"]
    }
  },
  strictTransportSecurity: false
})

await app.register(pages)
// These contexts are siblings, and each has its own hub: clients get the events of their own example only.
await app.register(notifications.default, { prefix: '/notifications' })
await app.register(chat.default, { prefix: '/chat' })
await app.register(dashboard.default, { prefix: '/dashboard' })
await app.register(progress.default, { prefix: '/progress' })
await app.register(tokens.default, { prefix: '/tokens' })

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => app.close())

const address = await app.listen({ host: '127.0.0.1', port: Number(PORT) })
console.log(`\nOpen ${address}\n`)
