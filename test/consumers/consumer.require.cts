// TypeScript as CommonJS.
import Fastify = require('fastify')
import sse = require('fastify-sse-hub')
import client = require('fastify-sse-hub/client')

async function run (): Promise<void> {
  const app = Fastify()
  await app.register(sse, { historySize: 10 })
  app.get('/', (_request, reply) => { reply.sse(['a', 'b']) })
  await app.ready()
  await app.sse.toChannel('a', 'notification', { type: 'info', message: 'hi' })
  const connect: typeof client.connect = client.connect
  console.log(`TypeScript, CommonJS: has a ${typeof connect} to connect with`)
  await app.close()
  console.log('TypeScript, CommonJS: runs')
}

run()
