// The pages for users of other packages. Both programs of each pair run as they are printed there, and a client gets the
// same from both.
import { readFile, readdir } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { pairsOf, programsOf, SETUP, start } from '../support/migration.js'
import { root } from '../support/root.js'
import { StreamClient } from '../support/stream-client.js'

const PAGES = `${root}examples/migration/`

/** One program of a pair, as a server that listens. */
class Side {
  readonly app: FastifyInstance
  readonly #port: number
  readonly #clients: StreamClient[] = []

  static async start (t: Test, code: string): Promise<Side> {
    const { app, port } = await start(t, code)
    const side = new Side(app, port)
    t.teardown(async () => {
      for (const client of side.#clients) client.destroy()
      await app.close()
    })
    return side
  }

  private constructor (app: FastifyInstance, port: number) {
    this.app = app
    this.#port = port
  }

  /** Resolves when the response's head has come. */
  async open (path: string, headers: Record<string, string> = {}): Promise<StreamClient> {
    const client = new StreamClient({ port: this.#port }, path, headers)
    this.#clients.push(client)
    while (client.status === undefined) await setTimeout(5)
    return client
  }

  async post (path: string, body: unknown): Promise<void> {
    const headers = { 'content-type': 'application/json', connection: 'close' }
    const response = await fetch(`http://127.0.0.1:${this.#port}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    if (!response.ok) throw new Error(`${response.status} to ${path}: ${await response.text()}`)
  }

  async get (path: string): Promise<unknown> {
    return (await fetch(`http://127.0.0.1:${this.#port}${path}`, { headers: { connection: 'close' } })).json()
  }
}

type Event = [name: string, data: unknown]

/** Resolves with a stream's events, as an `EventSource` would give them, when at least `count` have come. */
async function events (client: StreamClient, count: number): Promise<Event[]> {
  await client.until(() => client.own.length >= count)
  return client.own.map(({ event, data }) => [event ?? 'message', JSON.parse(data)])
}

interface Task {
  /** Does what a client does, and resolves with what it got. */
  readonly visit: (side: Side) => Promise<unknown>
  readonly gets: unknown
}

const tasks: Record<string, Task> = {
  'Opening a stream': {
    async visit (side) {
      const client = await side.open('/events')
      return [client.status, client.header('content-type')?.split(';')[0], await events(client, 1)]
    },
    gets: [200, 'text/event-stream', [['message', { text: 'hello' }]]]
  },
  'Sending to one client': {
    async visit (side) {
      const [alice, bob] = [await side.open('/users/alice'), await side.open('/users/bob')]
      await side.post('/users/alice', { text: 'for alice' })
      await side.post('/users/bob', { text: 'for bob' })
      return [await events(alice, 1), await events(bob, 1)]
    },
    gets: [[['note', { text: 'for alice' }]], [['note', { text: 'for bob' }]]]
  },
  'A named event with an id and retry': {
    async visit (side) {
      const client = await side.open('/prices')
      for (const price of [101, 102]) await side.post('/prices', { price })
      const got = await events(client, 2)
      const ids = new Set(client.own.map(({ id }) => id))
      return [got, client.retry, ids.size, ids.has(undefined)]
    },
    gets: [[['price', { price: 101 }], ['price', { price: 102 }]], 10_000, 2, false]
  },
  'Broadcasting and channels': {
    async visit (side) {
      const [lobby, garden] = [await side.open('/rooms/lobby'), await side.open('/rooms/garden')]
      await side.post('/rooms/lobby', { text: 'hi' })
      await side.post('/rooms', { text: 'closing soon' })
      return [await events(lobby, 2), await events(garden, 1)]
    },
    gets: [[['said', { text: 'hi' }], ['notice', { text: 'closing soon' }]], [['notice', { text: 'closing soon' }]]]
  },
  'An async iterable': {
    async visit (side) {
      const client = await side.open('/count')
      await client.untilClosed()
      return [await events(client, 3), client.whole]
    },
    gets: [[['tick', { n: 1 }], ['tick', { n: 2 }], ['tick', { n: 3 }]], true]
  },
  Heartbeats: {
    async visit (side) {
      const client = await side.open('/events')
      await client.until(() => client.comments >= 2)
      return client.own
    },
    gets: []
  },
  'Last-Event-ID and replay': {
    async visit (side) {
      const client = await side.open('/news')
      for (const n of [1, 2]) await side.post('/news', { n })
      const before = await events(client, 2)
      client.destroy()
      for (const n of [3, 4]) await side.post('/news', { n })
      const again = await side.open('/news', { 'last-event-id': client.lastEventId! })
      await events(again, 2)
      await side.post('/news', { n: 5 })
      return [before, await events(again, 3), new Set([...client.own, ...again.own].map(({ id }) => id)).size]
    },
    gets: [[1, 2].map(n => ['news', { n }]), [3, 4, 5].map(n => ['news', { n }]), 5]
  },
  'Knowing that a client left': {
    async visit (side) {
      const [alice, bob] = [await side.open('/users/alice'), await side.open('/users/bob')]
      const before = await side.get('/left')
      alice.destroy()
      let left = await side.get('/left') as string[]
      while (left.length === 0) left = await side.get('/left') as string[]
      return [before, left, bob.closed]
    },
    gets: [[], ['alice'], false]
  },
  'Closing a stream': {
    async visit (side) {
      const client = await side.open('/job')
      await client.untilClosed()
      return [await events(client, 1), client.whole]
    },
    gets: [[['done', { files: 3 }]], true]
  },
  'Closing the app': {
    async visit (side) {
      const client = await side.open('/events')
      await side.app.close()
      await client.untilClosed()
      return client.whole
    },
    gets: true
  },
  'Cookies and other headers': {
    async visit (side) {
      const client = await side.open('/events')
      return [client.header('set-cookie'), client.header('access-control-allow-origin')]
    },
    gets: [['seen=yes; Path=/; SameSite=Lax'], 'https://example.com']
  }
}

/** Clients of socket.io speak another protocol, so that page has a test of its own. */
const SOCKET_IO = 'socket-io.md'
const pages = (await readdir(PAGES)).filter(page => page !== SOCKET_IO)

for (const name of pages) {
  const pairs = pairsOf(await readFile(`${PAGES}${name}`, 'utf8'))

  t.test(`${name} has a pair for each task`, async t => {
    t.same(pairs.map(({ task }) => task), [SETUP, ...Object.keys(tasks)])
  })

  t.test(`${name}: a client gets the same from both sides`, { jobs: 4 }, async t => {
    for (const { task } of pairs) {
      if (task === SETUP) continue
      const { theirs, ours } = programsOf(pairs, task)
      t.test(task, async t => {
        const { visit, gets } = tasks[task]!
        const sides = await Promise.all([Side.start(t, theirs), Side.start(t, ours)])
        const [fromTheirs, fromOurs] = await Promise.all(sides.map(visit))
        t.strictSame(fromTheirs, gets, 'theirs')
        t.strictSame(fromOurs, gets, 'ours')
      })
    }
  })

  t.test(`${name}: what changes for all does change`, async t => {
    const { theirs, ours } = programsOf(pairs, 'Opening a stream')
    const hook = "app.addHook('onSend', async (request, reply) => { reply.header('x-hook', 'ran') })"
    const open = async (code: string): Promise<[Side, StreamClient]> => {
      const side = await Side.start(t, `${code}\n${hook}`)
      return [side, await side.open('/events')]
    }
    const [[left, leftClient], [right, rightClient]] = await Promise.all([open(theirs), open(ours)])
    t.equal(leftClient.header('x-hook'), undefined)
    t.equal(rightClient.header('x-hook'), 'ran')

    await right.app.close()
    await rightClient.untilClosed()
    t.ok(rightClient.whole, 'ours closes while its client is there')

    const closing = left.app.close()
    while (left.app.server.listening) await setTimeout(5)
    // The client still reads what was written before this.
    left.app.server.closeAllConnections()
    await Promise.all([closing, leftClient.untilClosed()])
    t.notOk(leftClient.whole, 'theirs does not end the stream, so it waits for its client')
  })
}

t.test('the index links every page', async t => {
  const index = await readFile(`${root}docs/migration.md`, 'utf8')
  t.same([...index.matchAll(/\]\(\.\.\/examples\/migration\/([\w-]+\.md)\)/g)].map(([, page]) => page).sort(), [...pages, SOCKET_IO].sort())
})
