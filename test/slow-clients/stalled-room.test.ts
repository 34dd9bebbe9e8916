// Thousands of readers of one room stall at the same time, as they do behind a proxy that hangs. The application tells the room of
// each reader that leaves.
import { once } from 'node:events'
import t from 'tap'
import type { Client } from '../../lib/client/client.js'
import { Outbox } from '../../lib/client/outbox.js'
import { buildApp } from '../support/app.js'
import { addChatListener } from '../support/chat-listener.js'
import { connectionsUpTo } from '../support/open-files.js'
import { spawnProgram } from '../support/spawn-program.js'
import { StreamClient } from '../support/stream-client.js'
import { unixSocket } from '../support/unix-socket.js'

const READERS = 5000
const HEALTHY = 3
const MAX_BUFFERED_BYTES = 256 * 1024
/** Events with this data fill the kernel's buffer for a reader that stalls. */
const PART = 'x'.repeat(10_000)
/** After an event with this data, more than `MAX_BUFFERED_BYTES` wait for each reader that stalls. */
const TOO_MUCH = 'x'.repeat(MAX_BUFFERED_BYTES)

for (const awaits of [true, false]) {
  t.test(`where a room stalls and the chat's listener ${awaits ? 'awaits' : 'does not await'} its publish, the others get every event`, async t => {
    const count = connectionsUpTo(t, READERS)
    const app = await buildApp(t, { maxBufferedBytes: MAX_BUFFERED_BYTES, heartbeatInterval: 0, stallTimeout: 0 })
    app.get<{ Querystring: { user: string } }>('/room', (request, reply) => {
      reply.sse('room', { metadata: { user: request.query.user } })
    })
    const socketPath = unixSocket(t)
    await app.listen({ path: socketPath })
    const healthy = Array.from({ length: HEALTHY }, (_, i) => new StreamClient({ socketPath }, `/room?user=healthy-${i}`))
    t.teardown(() => healthy.forEach(reader => reader.destroy()))
    for (const reader of healthy) await reader.untilEvent('sse:open')
    const readers = spawnProgram(t, 'test/support/processes/many-readers.ts', { args: [socketPath, String(count), 'stall'] })
    await once(readers.stdout, 'data')
    t.equal(app.sse.clientCount('room'), count + HEALTHY)

    const chat = addChatListener(app, awaits)
    const pushes = countPushes(t)
    const everyone = count + HEALTHY
    let heard = 0
    let parts = 0
    const publish = async (data: string): Promise<void> => {
      t.ok(app.sse.stats().bufferedBytes <= everyone * MAX_BUFFERED_BYTES, 'what waits is bounded')
      const { recipients } = await app.sse.toChannel('room', 'part', data)
      t.equal(recipients, everyone)
      heard += recipients
      parts++
      for (const reader of healthy) await reader.until(() => reader.own.filter(({ event }) => event === 'part').length === parts)
    }
    const blocked = (): number => app.sse.clients().filter(client => (client as Client).blocked).length
    while (blocked() < count) await publish(PART)
    t.equal(app.sse.clientCount(), everyone)
    await publish(TOO_MUCH)

    // The listener has been told of all of them when its last publish has arrived.
    for (const reader of healthy) await reader.until(() => reader.own.length === parts + count)
    const told = await Promise.all(chat.outcomes)
    t.equal(told.length, count, 'one publish for each that stalled')
    t.ok(told.every(outcome => outcome === HEALTHY), 'each publish resolves, and was for the healthy readers alone')
    t.match(app.sse.stats(), { published: parts + count, slowDisconnects: count, clients: HEALTHY, channels: 1, dropped: 0 })
    t.equal(pushes(), heard + count * HEALTHY, 'nobody is given what is of no use any more')
    for (const reader of healthy) {
      const users = reader.own.filter(({ event }) => event === 'user-leave').map(({ data }) => JSON.parse(data).user)
      t.equal(new Set(users).size, count, 'a healthy reader hears of each of them once')
    }
    t.ok(Math.max(...chat.depths) <= chat.depths[0]!, 'the stack is no deeper at the last than at the first')
    // The last part is as large as what may wait. For a healthy reader, it may still wait to be written.
    t.ok(chat.bufferedBytes <= HEALTHY * 2 * MAX_BUFFERED_BYTES, 'while they are told, nothing waits for those who went')

    readers.kill()
    await app.close()
    t.match(app.sse.stats(), { clients: 0, channels: 0, bufferedBytes: 0 })
  })
}

/** Counts how often an event is put in line for a client, from now on. */
function countPushes (t: { teardown: (restore: () => void) => void }): () => number {
  const { push } = Outbox.prototype
  let count = 0
  Outbox.prototype.push = function (frame) {
    count++
    push.call(this, frame)
  }
  t.teardown(() => { Outbox.prototype.push = push })
  return () => count
}
