// JavaScript as CommonJS: `require` gives the plugin itself.
const assert = require('node:assert/strict')
const Fastify = require('fastify')
const sse = require('fastify-sse-hub')
const { connect } = require('fastify-sse-hub/client')

async function run () {
  assert.equal(typeof sse, 'function')
  assert.equal(sse.default, sse)
  assert.equal(typeof sse.SSE_ERR_CLOSED, 'function')
  assert.equal(typeof connect, 'function')
  const app = Fastify()
  await app.register(sse, { historySize: 10 })
  app.get('/events', (request, reply) => reply.sse('room'))
  const { id } = await app.sse.toChannel('room', 'message', { hello: 'there' })
  const response = await app.inject({ url: '/events', payloadAsStream: true })
  for await (const part of response.stream()) {
    if (!String(part).includes('hello')) continue
    assert.ok(String(part).includes(`\nid: ${id}\n\n`))
    break
  }
  await app.close()
  console.log('CommonJS: receives an event')
}

run()
