// All examples in one server: `npm start`. PORT (default 3000) is where it listens; TLS_KEY and TLS_CERT, files in PEM,
// make it speak HTTP/2.
import { readFile } from 'node:fs/promises'
import helmet from '@fastify/helmet'
import Fastify from 'fastify'
import * as chat from './chat/server.js'
import * as dashboard from './dashboard/server.js'
import * as notifications from './notifications/server.js'
import pages from './pages.js'
import * as progress from './progress/server.js'
import * as tokens from './tokens/server.js'

// A program declares its events once, for the compiler. Each example registers a hub of its own and tells it its part.
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
  // Browsers open connections ahead of time; without this, `close()` waits until they time out.
  forceCloseConnections: true,
  ...tls as object
})

// Nothing is loaded from elsewhere, and no script or style stands in a page itself. EventSource counts as `connect-src`.
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
// Contexts beside one another: what one of them publishes, no client of another one gets.
await app.register(notifications.default, { prefix: '/notifications' })
await app.register(chat.default, { prefix: '/chat' })
await app.register(dashboard.default, { prefix: '/dashboard' })
await app.register(progress.default, { prefix: '/progress' })
await app.register(tokens.default, { prefix: '/tokens' })

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => app.close())

const address = await app.listen({ host: '127.0.0.1', port: Number(PORT) })
console.log(`\nOpen ${address}\n`)
