// JavaScript as an ES module: a client receives an event over a real connection.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { get } from 'node:http'
import Fastify from 'fastify'
import { EventSource } from 'eventsource'
import sse, { SSE_ERR_CLOSED } from 'fastify-sse-hub'
import { connect } from 'fastify-sse-hub/client'

const app = Fastify()
await app.register(sse)
app.get('/events', (request, reply) => reply.sse('room'))
await app.listen({ host: '127.0.0.1', port: 0 })

const text = await new Promise((resolve, reject) => {
  get({ port: app.server.address().port, path: '/events', agent: false }, response => {
    let text = ''
    response.setEncoding('utf8').on('data', part => {
      text += part
      if (part.includes('sse:open')) app.sse.toChannel('room', 'message', { hello: 'there' })
      if (text.includes('hello')) {
        response.destroy()
        resolve(text)
      }
    })
  }).on('error', reject)
})
assert.match(text, /event: message\ndata: {"hello":"there"}\nid: \S+\n\n$/)

const message = await new Promise(resolve => {
  const stream = connect(`http://127.0.0.1:${app.server.address().port}/events`, {
    EventSource,
    on: {
      message (data) {
        stream.close()
        resolve(data)
      }
    }
  })
})
assert.deepEqual(message, { hello: 'there' })
console.log('ES module: its client receives an event')

await app.close()
const refused = await app.sse.send('late', 1).catch(error => error)
assert(refused instanceof SSE_ERR_CLOSED)
const [, page, anchor] = /\(see fastify-sse-hub\/(\S+)#(\S+)\)$/.exec(refused.message)
assert.equal(anchor, 'sse_err_closed')
assert.match(await readFile(new URL(page, import.meta.resolve('fastify-sse-hub/package.json')), 'utf8'), /^## SSE_ERR_CLOSED$/m)
console.log('ES module: receives an event')
