// A hub whose diagnostics channels have subscribers that throw. With "handled", the process handles uncaught exceptions. The
// results are printed at the end in alphabetical order, because Node decides when it reports an exception.
import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import sse from 'fastify-sse-hub'
import { StreamClient } from '../stream-client.js'

const lines: string[] = []
for (const name of ['fastify-sse-hub.publish', 'fastify-sse-hub.connect', 'fastify-sse-hub.disconnect']) {
  subscribe(name, () => { throw new Error(name) })
}
if (process.argv[2] === 'handled') process.on('uncaughtException', error => { lines.push(`uncaught ${error.message}`) })

const app = Fastify()
await app.register(sse)
app.get('/', (_request, reply) => { reply.sse() })
await app.listen({ host: '127.0.0.1', port: 0 })
app.sse.on('disconnect', (_client, reason) => lines.push(`disconnect ${reason}`))
const client = new StreamClient({ port: (app.server.address() as AddressInfo).port }, '/')
await client.untilEvent('sse:open')
lines.push(`published to ${(await app.sse.send('n', 'n')).recipients}`)
await client.untilEvent('n')
lines.push(`received ${client.own[0]!.data}`)
const gone = once(app.sse, 'disconnect')
client.destroy()
await gone
await new Promise(resolve => setImmediate(resolve))
lines.push(`left ${app.sse.clientCount()}`)
await app.close()
lines.push('closed')
console.log(lines.sort().join('\n'))
