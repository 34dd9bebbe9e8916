// `stats().bufferedBytes`: what waits for clients, found without a look at those for which nothing waits.
import t from 'tap'
import type { Client } from '../../lib/client/client.js'
import { ClientStream } from '../../lib/client/client-stream.js'
import { coreOf } from '../../lib/hub/hub.js'
import { nextDisconnect } from '../support/disconnects.js'
import { unixHub } from '../support/unix-hub.js'

const turn = (): Promise<unknown> => new Promise(resolve => setImmediate(resolve))

t.test('it is what waits for all clients together, at every moment, and idle clients are not looked at', async t => {
  const { app, open } = await unixHub(t, { maxBufferedBytes: 64 * 1024 * 1024 })
  const { bufferedBytes } = Object.getOwnPropertyDescriptors(ClientStream.prototype)
  const looked = new Set<unknown>()
  t.teardown(() => Object.defineProperty(ClientStream.prototype, 'bufferedBytes', bufferedBytes))
  Object.defineProperty(ClientStream.prototype, 'bufferedBytes', {
    configurable: true,
    get (this: Client): number {
      looked.add(this)
      return bufferedBytes.get!.call(this) as number
    }
  })
  const { connections } = coreOf(app.sse)
  const check = (what: string): number => {
    const { bufferedBytes } = app.sse.stats()
    t.equal(bufferedBytes, [...connections.all()].reduce((sum, client) => sum + client.bufferedBytes, 0), what)
    return bufferedBytes
  }
  const idle = [await open({ channels: ['idle'] }), await open({ channels: ['idle'] })]
  const reading = await open({ channels: ['room'] })
  const slow = await open({ channels: ['room'], paused: true })
  await turn()
  check('at the start')
  app.sse.toChannel('room', 'row', 'x'.repeat(1000))
  t.ok(check('in line') >= 2000)
  await turn()
  check('written')
  while (!(slow.client as Client).blocked) {
    app.sse.toChannel('room', 'row', 'x'.repeat(60_000))
    check('in line for both')
    await turn()
    check('in the sockets')
  }
  app.sse.toChannel('room', 'row', 'x'.repeat(1000))
  slow.client.send('own', 'x'.repeat(200_000))
  t.ok(check('in line for a socket that is full') > 200_000)
  looked.clear()
  app.sse.stats()
  for (const { client } of idle) t.notOk(looked.has(client), 'no look at an idle client')
  slow.client.close()
  check('ending')
  const gone = nextDisconnect(app)
  reading.reader.destroy()
  await gone
  check('one has gone')
  slow.reader.resume()
  await slow.reader.untilClosed()
  while (app.sse.stats().bufferedBytes > 0) await turn()
  t.equal(check('at the end'), 0)
})
