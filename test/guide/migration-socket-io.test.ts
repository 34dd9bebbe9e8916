// The page for users of socket.io. Both programs of each pair run as they are printed there, and a client of each gets the same.
import { readFile } from 'node:fs/promises'
import { EventSource } from 'eventsource'
import { io, type Socket } from 'socket.io-client'
import t from 'tap'
import { pairsOf, programsOf, SETUP, start } from '../support/migration.js'
import { root } from '../support/root.js'

type Query = Record<string, string>
type Heard = [event: string, data: unknown]

/** A client of one side. */
interface Visitor {
  readonly heard: Heard[]
  /** Resolves when it has heard so many events. */
  until (count: number): Promise<Heard[]>
  say (room: string, text: string): Promise<unknown>
  /** Loses the connection, runs a function, and reconnects. Says whether the server told that nothing is missing. */
  away (meanwhile: () => Promise<unknown>): Promise<boolean>
  close (): void
}

class Ears {
  readonly heard: Heard[] = []
  #wake = (): void => {}

  hear (event: string, data: unknown): void {
    this.heard.push([event, data])
    this.#wake()
  }

  async until (count: number): Promise<Heard[]> {
    while (this.heard.length < count) await new Promise<void>(resolve => { this.#wake = resolve })
    return this.heard
  }
}

const EVENTS = ['news', 'message', 'note', 'left']

/** Opens a stream. Rejects if it is refused. */
async function ours (address: string, query: Query): Promise<Visitor> {
  const ears = new Ears()
  let source: EventSource
  let opened: { clientId: string, recovered: boolean }
  let last = ''
  const open = async (query: Query): Promise<void> => {
    source = new EventSource(`${address}/events?${new URLSearchParams(query).toString()}`)
    for (const name of EVENTS) {
      source.addEventListener(name, ({ data, lastEventId }) => {
        last = lastEventId
        ears.hear(name, JSON.parse(data))
      })
    }
    const { data } = await new Promise<MessageEvent>((resolve, reject) => {
      source.addEventListener('sse:open', resolve, { once: true })
      source.addEventListener('error', () => {
        source.close()
        reject(new Error('refused'))
      }, { once: true })
    })
    opened = JSON.parse(data)
  }
  await open(query)
  return {
    heard: ears.heard,
    until: count => ears.until(count),
    say: async (room, text) => await (await fetch(`${address}/say`, json({ room, text, clientId: opened.clientId }))).text(),
    async away (meanwhile) {
      source.close()
      await meanwhile()
      await open({ ...query, lastEventId: last })
      return opened.recovered
    },
    close: () => source.close()
  }
}

/** Connects a socket. Rejects if it is refused. */
async function theirs (address: string, query: Query): Promise<Visitor> {
  const ears = new Ears()
  const socket: Socket = io(address, { query, forceNew: true, transports: ['websocket'], reconnectionDelay: 10 })
  socket.onAny((event: string, data: unknown) => ears.hear(event, data))
  const connected = async (): Promise<void> => await new Promise((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('connect_error', error => {
      socket.disconnect()
      reject(error)
    })
  })
  await connected()
  return {
    heard: ears.heard,
    until: count => ears.until(count),
    say: async (_room, text) => await socket.emitWithAck('say', text) as unknown,
    async away (meanwhile) {
      socket.io.reconnection(false)
      const lost = new Promise(resolve => socket.once('disconnect', resolve))
      socket.io.engine.close()
      await lost
      await meanwhile()
      socket.io.reconnection(true)
      socket.connect()
      await connected()
      return socket.recovered
    },
    close: () => { socket.disconnect() }
  }
}

const json = (body: unknown): RequestInit => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

interface Visit {
  open (query?: Query): Promise<Visitor>
  post (path: string, body: unknown): Promise<string>
  get (path: string): Promise<unknown>
}

/** What a client does in each section, and what it must get from both sides. */
const TASKS: Record<string, { visit: (side: Visit) => Promise<unknown>, gets: unknown }> = {
  'Sending to everybody': {
    async visit ({ open, post }) {
      const visitor = await open()
      return [await post('/news', { title: 'first' }), await visitor.until(1)]
    },
    gets: ['sent', [['news', { title: 'first' }]]]
  },
  Rooms: {
    async visit ({ open, post }) {
      const [one, two] = [await open({ room: 'one' }), await open({ room: 'two' })]
      await post('/rooms/one', { text: 'for one' })
      await post('/rooms/two', { text: 'for two' })
      return [await one.until(1), await two.until(1)]
    },
    gets: [[['message', { text: 'for one' }]], [['message', { text: 'for two' }]]]
  },
  'Sending to one user': {
    async visit ({ open, post }) {
      const [alice, tab, bob] = [await open({ user: 'alice' }), await open({ user: 'alice' }), await open({ user: 'bob' })]
      await post('/users/alice', { text: 'for alice' })
      await post('/users/bob', { text: 'for bob' })
      return [await alice.until(1), await tab.until(1), await bob.until(1)]
    },
    gets: [[['note', { text: 'for alice' }]], [['note', { text: 'for alice' }]], [['note', { text: 'for bob' }]]]
  },
  'Messages from a client, to all others in its room': {
    async visit ({ open }) {
      const [one, two] = [await open({ room: 'lobby' }), await open({ room: 'lobby' })]
      const answers = [await one.say('lobby', 'from one'), await two.say('lobby', 'from two')]
      return [answers, await one.until(1), await two.until(1)]
    },
    gets: [['said', 'said'], [['message', 'from two']], [['message', 'from one']]]
  },
  'Refusing a client': {
    async visit ({ open }) {
      return [await (await open({ user: 'alice' })).until(1), await open({ user: 'mallory' }).then(() => 'let in', () => 'refused')]
    },
    gets: [[['note', 'hello alice']], 'refused']
  },
  'Who is in a room': {
    async visit ({ open, get }) {
      await open({ user: 'alice' })
      await open({ user: 'bob' })
      return await get('/office')
    },
    gets: ['alice', 'bob']
  },
  'When a client leaves': {
    async visit ({ open }) {
      const [alice, bob] = [await open({ user: 'alice' }), await open({ user: 'bob' })]
      bob.close()
      return await alice.until(1)
    },
    gets: [['left', 'bob']]
  },
  'What a client missed': {
    async visit ({ open, post }) {
      const visitor = await open()
      await post('/news', 1)
      await visitor.until(1)
      const recovered = await visitor.away(() => post('/news', 2))
      await post('/news', 3)
      return [recovered, await visitor.until(3)]
    },
    gets: [true, [['news', 1], ['news', 2], ['news', 3]]]
  }
}

const pairs = pairsOf(await readFile(`${root}examples/migration/socket-io.md`, 'utf8'))

t.test('socket-io.md has a pair for each task', async t => {
  t.same(pairs.map(({ task }) => task), [SETUP, ...Object.keys(TASKS)])
})

for (const [task, { visit, gets }] of Object.entries(TASKS)) {
  t.test(`socket-io.md, ${task}: a client gets the same from both sides`, async t => {
    const programs = programsOf(pairs, task)
    const visited = async (code: string, open: typeof ours): Promise<unknown> => {
      const { app, port } = await start(t, code)
      const address = `http://127.0.0.1:${port}`
      const visitors: Visitor[] = []
      t.teardown(async () => {
        for (const visitor of visitors) visitor.close()
        // After an aborted request, Node's fetch opens a connection ahead of time and sends nothing on it.
        app.server.closeAllConnections()
        await app.close()
      })
      return await visit({
        async open (query = {}) {
          const visitor = await open(address, query)
          visitors.push(visitor)
          return visitor
        },
        post: async (path, body) => await (await fetch(address + path, json(body))).text(),
        get: async path => await (await fetch(address + path)).json()
      })
    }
    const [fromTheirs, fromOurs] = await Promise.all([visited(programs.theirs, theirs), visited(programs.ours, ours)])
    t.strictSame(fromTheirs, gets, 'theirs')
    t.strictSame(fromOurs, gets, 'ours')
  })
}
