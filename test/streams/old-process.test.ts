// A process that is 24.8 days old: its milliseconds are no 32-bit numbers any more.
import { once } from 'node:events'
import t from 'tap'
import { nextDisconnect, recordDisconnects } from '../support/disconnects.js'
import { letPass } from '../support/passing-time.js'
import { unixHub } from '../support/unix-hub.js'

const BORDER = 2 ** 31

for (const border of [BORDER, 2 * BORDER]) {
  t.test(`while a process becomes ${border} ms old, heartbeats go on, and a client is stalled after stallTimeout and not before`, async t => {
    letPass(border - 200 - performance.now())
    const { app, open } = await unixHub(t, { heartbeatInterval: 40, stallTimeout: 60_000, maxBufferedBytes: 8_000_000 })
    const disconnects = recordDisconnects(app)
    const { reader } = await open()
    const { client } = await open({ channels: ['slow'], paused: true })
    await app.sse.toChannel('slow', 'message', 'x'.repeat(1_000_000))
    while (performance.now() < border + 200) await once(reader.changes, 'change')
    const { comments } = reader
    await reader.until(() => reader.comments >= comments + 3)
    t.same(disconnects, [])
    const gone = nextDisconnect(app)
    letPass(60_000)
    t.match(await gone, { client, reason: 'stalled' })
    await reader.until(() => reader.comments >= comments + 6)
    t.equal(disconnects.length, 1)
  })
}
