// The pages for users of other packages. Both programs of each pair run as they are printed there, and a client gets the
// same from both.
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { root } from '../support/root.js'
import { StreamClient } from '../support/stream-client.js'

const OURS = 'fastify-sse-hub'
const PAGES = `${root}examples/migration/`

interface Pair {
  readonly task: string
  readonly theirs: string
  readonly ours: string
}

/** The pairs of a page, each with the heading above it. Throws if a section has code that is not one block of each package. */
function pairsOf (page: string): Pair[] {
  const theirs = /^# From `(.+)`$/m.exec(page)?.[1]
  return page.split(/^## /m).slice(1).flatMap(section => {
    const task = section.slice(0, section.indexOf('\n'))
    const blocks = [...section.matchAll(/^\*\*([^\n]+)\*\*\n\n```js\n(.*?)^```$/gms)]
    const labels = blocks.map(([, label]) => label)
    const fences = [...section.matchAll(/^```/gm)].length
    if (fences === 0) return []
    if (fences !== 4 || labels[0] !== theirs || labels[1] !== OURS) throw new Error(`no pair under "${task}": ${labels.join()}`)
    return [{ task, theirs: blocks[0]![2]!, ours: blocks[1]![2]! }]
  })
}

/** One program of a pair, as a server that listens. */
class Side {
  readonly app: FastifyInstance
  readonly #port: number
  readonly #clients: StreamClient[] = []

  /** Runs code in its own module next to the examples, where the packages' names resolve. */
  static async start (t: Test, code: string): Promise<Side> {
    const folder = await mkdtemp(`${root}examples/.migration-`)
    t.teardown(() => rm(folder, { recursive: true }))
    await writeFile(`${folder}/program.mjs`, `${code}\nexport { app }\n`)
    const { app } = await import(pathToFileURL(`${folder}/program.mjs`).href) as { app: FastifyInstance }
    await app.listen({ host: '127.0.0.1', port: 0 })
    const side = new Side(app)
    t.teardown(async () => {
      for (const client of side.#clients) client.destroy()
      await app.close()
    })
    return side
  }

  private constructor (app: FastifyInstance) {
    this.app = app
    this.#port = (app.server.address() as { port: number }).port
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

const SETUP = 'Registering'
const pages = (await readdir(PAGES)).filter(name => name !== 'README.md')

for (const name of pages) {
  const pairs = pairsOf(await readFile(`${PAGES}${name}`, 'utf8'))
  const setup = pairs.find(({ task }) => task === SETUP)!
  /** A block that makes an app is a complete program. Other blocks need the setup before them. */
  const program = (side: 'theirs' | 'ours', block: string): string => block.includes('Fastify(') ? block : `${setup[side]}\n${block}`

  t.test(`${name} has a pair for each task`, async t => {
    t.same(pairs.map(({ task }) => task), [SETUP, ...Object.keys(tasks)])
  })

  t.test(`${name}: a client gets the same from both sides`, { jobs: 4 }, async t => {
    for (const { task, theirs, ours } of pairs) {
      if (task === SETUP) continue
      t.test(task, async t => {
        const { visit, gets } = tasks[task]!
        const sides = await Promise.all([Side.start(t, program('theirs', theirs)), Side.start(t, program('ours', ours))])
        const [fromTheirs, fromOurs] = await Promise.all(sides.map(visit))
        t.strictSame(fromTheirs, gets, 'theirs')
        t.strictSame(fromOurs, gets, 'ours')
      })
    }
  })

  t.test(`${name}: what changes for all does change`, async t => {
    const { theirs, ours } = pairs.find(({ task }) => task === 'Opening a stream')!
    const hook = "app.addHook('onSend', async (request, reply) => { reply.header('x-hook', 'ran') })"
    const open = async (code: string): Promise<[Side, StreamClient]> => {
      const side = await Side.start(t, `${code}\n${hook}`)
      return [side, await side.open('/events')]
    }
    const [[left, leftClient], [right, rightClient]] = await Promise.all([open(program('theirs', theirs)), open(program('ours', ours))])
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
  const index = await readFile(`${PAGES}README.md`, 'utf8')
  t.same([...index.matchAll(/\]\(([\w-]+\.md)\)/g)].map(([, page]) => page).sort(), pages.sort())
})
