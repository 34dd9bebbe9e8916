// A deploy: a server under load gets SIGTERM. The tests check what has become of the events that it accepted.
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import t, { type Test } from 'tap'
import { buildApp, listen } from '../support/app.js'
import { Instance } from '../support/instances.js'
import { Ledger, none, type Ending } from '../support/ledger.js'
import { RawClient, requestText } from '../support/raw-client.js'
import { Reader } from '../support/reader.js'
import { redisDatabase, withoutRedis } from '../support/redis-server.js'
import { parseResponses } from '../support/responses.js'
import { startServer, stopServer, type ServerProcess } from '../support/server-process.js'
import { StreamClient } from '../support/stream-client.js'

const PROGRAM = 'test/support/processes/drains.ts'
const POSTERS = 4

/** How a publish ended, and its number of recipients. */
type Outcome = Ending & { readonly recipients?: number }

class Server {
  readonly port: number
  readonly agent: Agent
  readonly process: ServerProcess
  /** The last answers to posts. */
  answers: Promise<Array<number | Error>> = Promise.resolve([])
  /** The publishes of the server itself. */
  readonly inside: Outcome[] = []
  /** The publishes that were posted. */
  readonly posted: Outcome[] = []

  static async start (t: Test, options: object, ended: (outcome: Outcome) => void = () => {}): Promise<Server> {
    const agent = new Agent({ keepAlive: true, maxSockets: POSTERS })
    t.teardown(() => agent.destroy())
    return new Server(await startServer(t, PROGRAM, {}, JSON.stringify(options)), agent, ended)
  }

  private constructor (process: ServerProcess, agent: Agent, readonly ended: (outcome: Outcome) => void) {
    this.process = process
    this.agent = agent
    this.port = Number(new URL(process.address).port)
    let rest = ''
    process.child.stdout.on('data', (part: string) => {
      const lines = (rest + part).split('\n')
      rest = lines.pop()!
      for (const line of lines) {
        if (!line.startsWith('{')) continue
        const outcome = JSON.parse(line) as Outcome
        this.inside.push(outcome)
        this.ended(outcome)
      }
    })
  }

  async post (path: string, body: object = {}): Promise<{ status: number, body: string }> {
    return await new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json' }
      const posted = request({ host: '127.0.0.1', port: this.port, path, method: 'POST', headers, agent: this.agent }, response => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', part => { text += part })
        response.on('end', () => resolve({ status: response.statusCode!, body: text }))
        response.on('error', reject)
      })
      posted.on('error', reject)
      posted.end(JSON.stringify(body))
    })
  }

  /** Posts one event after the other until the status is not 200, and resolves with that status. */
  async #postAll (p: string): Promise<number | Error> {
    for (let k = 1; ; k++) {
      const event = { p, k, o: k, c: [] }
      const { status, body } = await this.post('/', event)
      if (status !== 200) return status
      const outcome: Outcome = { ...event, ...JSON.parse(body) }
      this.posted.push(outcome)
      this.ended(outcome)
    }
  }

  /** Resolves with the exit code when all output of the process is read. */
  async stop (): Promise<number | null> {
    const closed = once(this.process.child, 'close')
    const code = await stopServer(this.process)
    await closed
    return code
  }

  /** Publishes from inside and outside. Resolves when this number is accepted. */
  async publish (count: number): Promise<void> {
    await this.post('/begin')
    const all = Array.from({ length: POSTERS }, async (_, i) => await this.#postAll(`poster ${i}`).catch((error: Error) => error))
    this.answers = Promise.all(all)
    const { stdout } = this.process.child
    while (this.inside.length < count || this.posted.length < count / 4) await new Promise(resolve => stdout.once('data', resolve))
  }
}

/** A client that does not read and whose socket is full. It delays the end until `closeTimeout`. */
async function deafClient (t: Test, server: Server): Promise<StreamClient> {
  const deaf = new StreamClient(server, '/?channels=deaf')
  t.teardown(() => deaf.destroy())
  await deaf.untilEvent('sse:open')
  deaf.pause()
  await server.post('/fill')
  return deaf
}

t.test('SIGTERM under load, with the broker in memory', async t => {
  const READERS = 20
  const server = await Server.start(t, { hub: { closeTimeout: 4000, maxBufferedBytes: 64 * 1024 * 1024, historySize: 0 } })
  const { port } = server
  const readers = Array.from({ length: READERS }, () => new StreamClient({ port }, '/?channels=room'))
  t.teardown(() => readers.forEach(reader => reader.destroy()))
  await Promise.all(readers.map(async reader => await reader.untilEvent('sse:open')))
  await deafClient(t, server)
  const keptAlive = new RawClient(port, { path: '/none' })
  t.teardown(() => keptAlive.destroy())
  await keptAlive.until(() => parseResponses(keptAlive.received).length === 1)
  await server.publish(400)

  const exited = server.stop()
  await Promise.all(readers.map(async reader => await reader.untilClosed()))
  // The client that does not read delays the close.
  keptAlive.socket.write(requestText({ path: '/?channels=room' }))
  const fresh = new RawClient(port, { path: '/?channels=room' })
  t.teardown(() => fresh.destroy())
  for (const [what, client, nth] of [['on a kept-alive connection', keptAlive, 1], ['on a new one', fresh, 0]] as const) {
    await client.until(() => parseResponses(client.received).length > nth)
    const { status, head } = parseResponses(client.received)[nth]!
    t.equal(status, 503, `a new stream ${what} gets 503`)
    t.match(head.toLowerCase(), /\r\nconnection: close/)
    await client.untilClosed()
  }
  t.same(await server.answers, Array(POSTERS).fill(503), 'posts get 503 as well')
  t.equal(await exited, 0, 'the process ends by itself')

  // Every accepted event has its number of recipients. That is 0 from the moment when the streams end.
  const accepted = [...server.inside, ...server.posted].filter(({ id }) => id !== undefined)
  const delivered = accepted.filter(({ recipients }) => recipients !== 0)
  t.ok(delivered.length >= 500, `${delivered.length} of ${accepted.length} events were for clients`)
  t.same(delivered.filter(({ recipients }) => recipients !== READERS + 1), [])
  t.same(server.inside.filter(({ id, code }) => id === undefined && code !== 'SSE_ERR_CLOSED'), [])
  const place = (id: string): number => Number(id.slice(id.lastIndexOf('-') + 1))
  const expected = delivered.map(({ id, p, k }) => [place(id!), `${p}:${k}`] as const).sort(([one], [other]) => one - other)
  for (const reader of readers) {
    const seen = reader.own.map(({ id, data }) => {
      const { p, k } = JSON.parse(data) as Outcome
      return [place(id!), `${p}:${k}`] as const
    })
    t.same(seen, expected, 'every reader got all of it, in order, once')
  }
})

t.test('SIGTERM under load, with the broker over Redis', { skip: withoutRedis }, async t => {
  const redis = await redisDatabase(t)
  const ledger = new Ledger()
  const hub = { closeTimeout: 1500, maxBufferedBytes: 64 * 1024 * 1024, retry: 30, reconnectSpread: 300, historySize: 5000, replay: 'missed' } as const
  const server = await Server.start(t, { redis: redis.url, hub }, ({ recipients: _, ...ending }) => ledger.ended(ending))
  const other = await Instance.start(t, ledger, { broker: { url: redis.url }, hub })
  let { port } = server
  const readers = await Promise.all(Array.from({ length: 20 }, async (_, i) =>
    await Reader.open(t, ledger, { name: `reader ${i}`, channels: ['room'], port: () => port })))
  await deafClient(t, server)
  await server.publish(400)

  port = other.port
  t.equal(await server.stop(), 0, 'the process ends by itself')
  t.same(await server.answers, Array(POSTERS).fill(503))
  await Promise.all(readers.map(async reader => await reader.until(() => reader.connections === 2)))
  other.publish({ name: 'after', count: 1, targets: [[]] })
  await other.done('after')
  await Promise.all(readers.map(async reader => await reader.untilEvent('after', 1)))
  t.ok(ledger.acknowledged.size >= 500, `${ledger.acknowledged.size} events were accepted`)
  t.same(ledger.rejections.filter(({ code }) => code !== 'SSE_ERR_CLOSED'), [])
  t.strictSame(ledger.losses, [])
  t.strictSame(ledger.faults(), none)
})

t.test('the last retry times of the clients are spread evenly', async t => {
  const CLIENTS = 400
  const RETRY = 2000
  const SPREAD = 10_000
  const app = await buildApp(t, { retry: RETRY, reconnectSpread: SPREAD })
  app.get('/', (_request, reply) => { reply.sse() })
  const port = await listen(app)
  const clients = Array.from({ length: CLIENTS }, () => new RawClient(port))
  t.teardown(() => clients.forEach(client => client.destroy()))
  for (const client of clients) await client.untilEvents(1)
  await app.close()
  for (const client of clients) await client.untilClosed()
  const waits = clients.map(({ text }) => Number(/\n\nretry: (\d+)\n\n$/.exec(text)?.[1])).sort((one, other) => one - other)
  t.ok(waits.every(wait => wait >= RETRY && wait <= RETRY + SPREAD), `from ${waits[0]} to ${waits.at(-1)}`)
  // The test of Kolmogorov and Smirnov: the distance between the share of values below a time and the expected share. By the
  // inequality of Dvoretzky, Kiefer, Wolfowitz and Massart, it exceeds d with a probability of at most 2·exp(-2·n·d²).
  const distance = Math.max(...waits.map((wait, i) => {
    const share = (wait - RETRY) / SPREAD
    return Math.max(share - i / CLIENTS, (i + 1) / CLIENTS - share)
  }))
  const bound = Math.sqrt(Math.log(2 / 1e-6) / (2 * CLIENTS))
  t.ok(distance < bound + 1 / SPREAD, `${distance} < ${bound}`)
})
