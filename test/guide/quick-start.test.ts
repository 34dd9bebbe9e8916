import { EventSource } from 'eventsource'
import t from 'tap'
import { buildApp, listen } from '../support/app.js'

t.test('an EventSource receives what is published to its channel', async t => {
  const app = await buildApp(t)
  app.get('/events', (_request, reply) => { reply.sse('room') })
  const port = await listen(app)
  const source = new EventSource(`http://127.0.0.1:${port}/events`)
  t.teardown(() => source.close())
  await new Promise(resolve => source.addEventListener('sse:open', resolve, { once: true }))
  const received = new Promise<MessageEvent>(resolve => source.addEventListener('message', resolve, { once: true }))
  const { id, recipients } = await app.sse.toChannel('room', 'message', { text: 'hi' })
  const event = await received
  t.equal(recipients, 1)
  t.equal(event.lastEventId, id)
  t.same(JSON.parse(event.data), { text: 'hi' })
})
