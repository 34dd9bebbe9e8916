// app.close() with thousands of open streams, and an application that tells the room of each client that leaves.
import { once } from 'node:events'
import t from 'tap'
import { buildApp } from '../support/app.js'
import { addChatListener } from '../support/chat-listener.js'
import { connectionsUpTo } from '../support/open-files.js'
import { spawnProgram } from '../support/spawn-program.js'
import { unixSocket } from '../support/unix-socket.js'

const READERS = 2000

for (const awaits of [true, false]) {
  t.test(`app.close() with 2,000 open streams ends each of them whole, where the chat's listener ${awaits ? 'awaits' : 'does not await'} its publish`, async t => {
    const count = connectionsUpTo(t, READERS)
    // A machine that is busy with other tests may need long for the last bytes.
    const app = await buildApp(t, { closeTimeout: 30_000 })
    app.get<{ Querystring: { user: string } }>('/room', (request, reply) => {
      reply.sse('room', { metadata: { user: request.query.user } })
    })
    const socketPath = unixSocket(t)
    await app.listen({ path: socketPath })
    const readers = spawnProgram(t, 'test/support/processes/many-readers.ts', { args: [socketPath, String(count), 'read'] })
    await once(readers.stdout, 'data')
    t.equal(app.sse.clientCount('room'), count)

    const chat = addChatListener(app, awaits)
    const { published, delivered } = app.sse.stats()
    const saw = once(readers.stdout, 'data')
    await app.close()

    t.equal(chat.outcomes.length, count, 'the listener has heard of all of them by then')
    t.ok((await Promise.all(chat.outcomes)).every(outcome => outcome === 0), 'each publish resolves, and was for nobody: all have left the room first')
    t.match(app.sse.stats(), { published: published + count, delivered, clients: 0, channels: 0, bufferedBytes: 0 })
    t.ok(Math.max(...chat.depths) <= chat.depths[0]!, 'the stack is no deeper at the last than at the first')
    t.strictSame(JSON.parse((await saw)[0]), { closed: count, whole: count })
  })
}
