// Connections that fail, and more connections than the system has room for. An uncaught error fails the test, because tap reports
// it or the process ends.
import { execFileSync } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import t from 'tap'
import type { SSEStats } from '../../lib/index.js'
import { buildApp, listen, nextClient, portOf } from '../support/app.js'
import { nextDisconnect, recordDisconnects } from '../support/disconnects.js'
import { MemoryLog } from '../support/memory-log.js'
import { without } from '../support/programs.js'
import { RawClient } from '../support/raw-client.js'
import { startServer, stopServer } from '../support/server-process.js'
import { StreamClient } from '../support/stream-client.js'
import { unixHub } from '../support/unix-hub.js'
import { unixSocket } from '../support/unix-socket.js'

for (const kind of ['TCP', 'Unix sockets']) {
  t.test(`if clients of ${kind} leave in the middle of a batch, the others get all of it in order and once`, async t => {
    const EVENTS = 200
    const EACH = 15
    const log = new MemoryLog()
    const app = await buildApp(t, { historySize: 0, maxBufferedBytes: 64 * 1024 * 1024 }, { loggerInstance: log.logger })
    app.get('/', (_request, reply) => { reply.sse('room') })
    const codes = new Set<string>()
    app.server.on('connection', socket => socket.on('error', (error: NodeJS.ErrnoException) => codes.add(error.code!)))
    const path = unixSocket(t)
    if (kind === 'TCP') await listen(app)
    else await app.listen({ path })
    const address = kind === 'TCP' ? { port: portOf(app) } : { socketPath: path }
    const connection = (): Socket => connect(kind === 'TCP' ? { port: portOf(app), host: '127.0.0.1' } : { path })
    // A Unix socket can't be reset. A write to it then fails with EPIPE, or with ECONNRESET if something was not read.
    const cut = (socket: Socket): void => {
      if (kind === 'TCP') socket.resetAndDestroy()
      else socket.destroy()
    }
    const survivors = Array.from({ length: 30 }, () => new StreamClient(address, '/'))
    // Some leave before the batch is written, some when they have a part of it, and some when their sockets take no more of it.
    const [early, reading, full] = ['early', 'reading', 'full'].map(() => Array.from({ length: EACH }, () => new RawClient(connection()))) as [RawClient[], RawClient[], RawClient[]]
    const victims = [...early, ...reading, ...full]
    t.teardown(() => [...survivors, ...victims].forEach(client => client.destroy()))
    while (app.sse.clientCount() < survivors.length + victims.length) await nextClient(app)
    await Promise.all([...survivors.map(async survivor => await survivor.untilEvent('sse:open')), ...victims.map(async victim => await victim.untilEvents(1))])
    const disconnects = recordDisconnects(app)

    for (const client of full) client.pause()
    for (const { socket } of reading) socket.once('data', () => cut(socket))
    const text = 'x'.repeat(4000)
    const published: Array<Promise<unknown>> = []
    // All of this is in one turn. The server can't notice the resets in it, so it writes to closed connections.
    for (let n = 0; n < EVENTS / 2; n++) {
      if (n === 10) for (const { socket } of early) cut(socket)
      published.push(app.sse.toChannel('room', 'n', { n, text }))
    }
    await survivors[0]!.until(() => survivors[0]!.own.length > 0)
    for (let n = EVENTS / 2; n < EVENTS; n++) {
      if (n === EVENTS - 10) for (const { socket } of full) cut(socket)
      published.push(app.sse.toChannel('room', 'n', { n, text }))
    }
    await Promise.all(published)
    const all = Array.from({ length: EVENTS }, (_, n) => n)
    for (const survivor of survivors) {
      await survivor.until(() => survivor.own.length >= EVENTS)
      t.same(survivor.own.map(({ data }) => (JSON.parse(data) as { n: number }).n), all)
    }
    while (disconnects.length < victims.length) await nextDisconnect(app)
    t.same(disconnects.map(({ reason }) => reason), Array(victims.length).fill('client'), 'each is told of once')
    t.match(app.sse.stats(), { clients: survivors.length, channels: 1, published: EVENTS, dropped: 0, slowDisconnects: 0, bufferedBytes: 0 })
    t.same(log.complaints, [])
    t.ok(codes.has('EPIPE') || codes.has('ECONNRESET'), `connections failed with ${[...codes].join()}`)
  })
}

t.test('if a client has read everything and closed before the next event is written, the write fails with EPIPE, and only this client is disconnected', async t => {
  const log = new MemoryLog()
  const { app, open } = await unixHub(t, {}, { loggerInstance: log.logger })
  const codes: Array<string | undefined> = []
  app.server.on('connection', socket => socket.on('error', (error: NodeJS.ErrnoException) => codes.push(error.code)))
  const { reader: survivor } = await open({ channels: ['room'] })
  const { reader: victim, client } = await open({ channels: ['room'] })
  const gone = nextDisconnect(app)
  // This code runs in the turn of a read. The event is written before the server can see that the socket is closed.
  victim.changes.once('change', () => {
    victim.destroy()
    app.sse.toChannel('room', 'second', 2)
  })
  await app.sse.toChannel('room', 'first', 1)
  t.match(await gone, { client, reason: 'client' })
  await survivor.untilEvent('second')
  t.same(codes, ['EPIPE'])
  t.same(survivor.own.map(({ event }) => event), ['first', 'second'])
  t.match(app.sse.stats(), { clients: 1, bufferedBytes: 0 })
  t.same(log.complaints, [])
})

t.test('with more connections than the process may have files, the accepted ones are served, and new ones after some have left', { skip: without('prlimit') }, async t => {
  const ROOM = 12
  const server = await startServer(t, 'test/support/processes/drains.ts', {}, JSON.stringify({ hub: {} }))
  const port = Number(new URL(server.address).port)
  // Requests that ask the server for its state use one connection that is open from the beginning.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const ask = async <Answer>(method: string, path: string, body = ''): Promise<Answer> => await new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': body.length }
    request({ host: '127.0.0.1', port, method, path, headers: body === '' ? {} : headers, agent }, response => {
      let text = ''
      response.on('data', part => { text += part })
      response.on('end', () => resolve(JSON.parse(text)))
    }).on('error', reject).end(body)
  })
  const clients = async (): Promise<number> => (await ask<SSEStats>('GET', '/stats')).clients
  let published = 0
  /** Checks that these clients get an event after the kept ones, and that there are no other clients. */
  const check = async (served: readonly RawClient[]): Promise<void> => {
    const { recipients } = await ask<{ recipients: number }>('POST', '/', String(++published))
    t.equal(recipients, served.length)
    const all = Array.from({ length: published }, (_, i) => String(i + 1))
    for (const client of served) {
      await client.until(() => client.events.at(-1)?.data === all.at(-1))
      t.same(client.events.slice(1).map(({ data }) => data), all)
    }
    t.match(await ask('GET', '/stats'), { clients: served.length, channels: 1, bufferedBytes: 0 })
  }
  const open = (): RawClient => {
    const client = new RawClient(port, { path: '/?channels=room' })
    t.teardown(() => client.destroy())
    return client
  }
  const answered = async (client: RawClient): Promise<void> => await client.until(() => client.head !== '').catch(() => {})

  t.equal(await clients(), 0)
  const pid = String(server.child.pid)
  // The compiler of the program still writes its cache.
  while (openFiles(pid).some(path => path.startsWith(tmpdir()))) await clients()
  const files = new Set(readdirSync(`/proc/${pid}/fd`).map(Number))
  let limit = 0
  for (let free = 0; free < ROOM; limit++) if (!files.has(limit)) free++
  execFileSync('prlimit', ['--pid', pid, `--nofile=${limit}`])

  const crowd = Array.from({ length: 3 * ROOM }, open)
  // The other connections are closed, or wait for room.
  while (await clients() < ROOM) await Promise.race(crowd.map(answered))
  const served = crowd.slice(0, ROOM)
  await Promise.all(served.map(answered))
  t.ok(served.every(({ status }) => status === 200), 'who came first is served')
  for (let i = 0; i < 10; i++) await check(served)
  t.ok(crowd.slice(ROOM).every(({ head }) => head === ''))

  const staying = served.slice(ROOM / 2)
  for (const client of crowd) if (!staying.includes(client)) client.destroy()
  while (await clients() > staying.length);
  const fresh: RawClient[] = []
  while (fresh.length < ROOM / 2) {
    const client = open()
    await answered(client)
    if (client.status === 200) fresh.push(client)
  }
  await check([...staying, ...fresh])
  t.equal(await stopServer(server), 0)
})

function openFiles (pid: string): string[] {
  return readdirSync(`/proc/${pid}/fd`).map(file => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${file}`)
    } catch {
      return '' // The file was closed meanwhile.
    }
  })
}
