// A program whose publishes are refused and not awaited. It must end as if nothing had happened.
import Fastify from 'fastify'
import sse, { type Broker } from '../../../lib/index.js'

const broken = {
  start () {},
  publish: () => Promise.reject(new Error('no connection')),
  head: () => '',
  position: () => -1,
  close () {}
} as Broker

const app = Fastify()
app.get('/', (_request, reply) => {
  const client = reply.sse()
  client.send('bad\nname', 1)
  client.send('big', 1n)
  client.stream(null as never, { event: 'x' })
  client.stream((async function * () { throw new Error('source') })(), { event: 'x' })
  setImmediate(() => client.close())
})
await app.register(sse)
await app.register(async child => {
  await child.register(sse, { broker: broken })
  child.get('/child', (_request, reply) => { reply.send('ok') })
  child.addHook('onReady', async () => { child.sse.send('x', 1) })
})
await app.ready()
app.sse.send('bad\nname', 1)
app.sse.toChannel('', 'x', 1)
app.sse.toChannels([], 'x', 1)
app.sse.toClient('', 'x', 1)
app.sse.send('x', 1n)
app.sse.send('x', 1, { unknown: true } as object)
await app.inject('/')
await app.close()
app.sse.send('x', 1)
// Node reports an unhandled rejection in a later turn.
await new Promise(resolve => setTimeout(resolve, 20))
console.log('done')
