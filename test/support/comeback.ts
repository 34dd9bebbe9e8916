// One test for all kinds of clients. A client connects, gets events, loses its connection in every possible way, comes back
// in its own way, and must have missed nothing.
import { EventEmitter, once } from 'node:events'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { SSEClient, SSEDisconnectReason, SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen, nextClient } from './app.js'
import { nextDisconnect } from './disconnects.js'

export interface Received {
  readonly event: string
  readonly data: string
}

/** What a client has received. */
export interface Got {
  /** The application's events, in the order in which they came. */
  readonly events: readonly Received[]
  /** `recovered` of its greetings, one for each connection. */
  readonly recovered: readonly boolean[]
}

/** A client of some kind that listens. */
export interface Listener {
  /** Resolves with everything that the client has received, when an event with this data is among it. */
  until: (data: string) => Promise<Got>
  /** Connects again, for a client that does not do so by itself. */
  comeBack?: () => Promise<void>
  /** Further ways in which its connection is lost, before the usual ones. */
  readonly losses?: readonly Loss[]
}

/** The server's side of a stream. */
interface Stream {
  readonly app: FastifyInstance
  readonly socket: Socket
  readonly client: SSEClient
}

interface Loss {
  readonly title: string
  /** The reason that the hub tells. */
  readonly reason: SSEDisconnectReason
  readonly lose: (stream: Stream, publish: (event: string, text: string) => Promise<unknown>) => unknown
}

/** Where a request has its last event id. */
export interface Resumption {
  readonly header: string | undefined
  readonly query: string
}

export interface Kind {
  /** Resolves when the client has begun to connect. It is closed when the test ends. */
  readonly start: (t: Test, origin: string) => Listener | Promise<Listener>
  readonly options?: SSEPluginOptions
  /** Adds the routes of the page that loads the client. */
  readonly routes?: (app: FastifyInstance) => void
  /** Makes the data from which the client shows a text. */
  readonly dress?: (event: string, text: string) => string
  /** What the client makes of a text. */
  readonly reads?: (text: string) => string
}

/** The names of all events of the test. */
export const NAMES = ['sse:open', 'message', 'größer: 漢']
const [, DEFAULT, NAMED] = NAMES as [string, string, string]

/** Milliseconds: how long clients should wait before they come back, and the interval of heartbeats. */
const RETRY = 50
const HEARTBEAT = 20

const HALF = 'one half of it'

const TEXTS = [
  'one line',
  'two\nlines',
  '  spaces before and behind  ',
  'ä € 漢字 👩‍👩‍👧‍👦 \u00a0',
  'data: x\r\nid: 7\revent: forged\n\n: no comment\n\nretry: 1',
  '',
  '\nbetween empty lines\n'
]

/** It is longer than what the hub writes at once. */
const LONG = 'äöü'.repeat(12_000)

const LOSSES: readonly Loss[] = [
  { title: 'its connection is destroyed', reason: 'client', lose: ({ socket }) => socket.destroy() },
  {
    title: 'its connection is destroyed after a heartbeat with a newer id than any event',
    reason: 'client',
    async lose ({ app, socket }) {
      await app.sse.toChannel('elsewhere', DEFAULT, 'not for it')
      await nextWrite(socket)
      socket.destroy()
    }
  },
  { title: 'its connection is reset', reason: 'client', lose: ({ socket }) => socket.resetAndDestroy() },
  {
    title: 'its connection ends in the middle of an event',
    reason: 'client',
    lose ({ socket }, publish) {
      endBehind(socket, HALF)
      return publish(DEFAULT, `${HALF}, and the other one`)
    }
  },
  { title: 'the server ends its stream', reason: 'server', lose: ({ client }) => client.close() }
]

/** Cuts the connection after a text has been written. A network knows nothing of events, so it may cut in the middle. */
function endBehind (socket: Socket, text: string): void {
  const write = socket.write.bind(socket)
  socket.write = (bytes: Uint8Array | string): boolean => {
    const at = Buffer.from(bytes).indexOf(text)
    if (at === -1) return write(bytes)
    write(bytes.slice(0, at + Buffer.byteLength(text)))
    socket.destroySoon()
    return false
  }
}

/** Resolves when something more is written. */
async function nextWrite (socket: Socket): Promise<void> {
  const { bytesWritten } = socket
  while (socket.bytesWritten === bytesWritten) await new Promise(resolve => setTimeout(resolve, HEARTBEAT))
}

/** Runs the test. Resolves with what the client sent each time it came back. */
export async function comesBack (t: Test, { start, options = {}, routes, dress = (_event, text) => text, reads = text => text }: Kind): Promise<Resumption[]> {
  // Clients that read with `fetch` keep idle connections open.
  const app = await buildApp(t, { retry: RETRY, heartbeatInterval: HEARTBEAT, historySize: 200, ...options }, { forceCloseConnections: true })
  const resumptions: Resumption[] = []
  let stream!: Stream
  app.get('/stream', (request, reply) => {
    resumptions.push({ header: request.headers['last-event-id'] as string | undefined, query: request.url.slice('/stream'.length) })
    stream = { app, socket: request.raw.socket, client: reply.sse('room') }
  })
  routes?.(app)
  const port = await listen(app)

  const sent: Received[] = []
  const publish = async (event: string, text: string): Promise<number> => {
    sent.push({ event, data: reads(text.replace(/\r\n?/g, '\n')) })
    const data = dress(event, text)
    const { recipients } = await (event === NAMED ? app.sse.send(event, data, { raw: true }) : app.sse.toChannel('room', event, data, { raw: true }))
    return recipients
  }
  const publishAll = async (): Promise<number[]> => Promise.all(TEXTS.flatMap(text => [publish(DEFAULT, text), publish(NAMED, text)]))

  await publishAll()
  const connected = nextClient(app)
  const listener = await start(t, `http://127.0.0.1:${port}`)
  await connected
  await publishAll()
  await publish(NAMED, LONG)
  await publish(DEFAULT, 'all is well')
  const first = await listener.until('all is well')
  await t.test('gets what is kept and what is sent', async t => {
    t.strictSame(first.events, sent)
    t.strictSame(first.recovered, [false])
  })

  for (const { title, reason, lose } of [...listener.losses ?? [], ...LOSSES]) {
    await t.test(`misses nothing when ${title}`, async t => {
      const before = sent.length
      const gone = nextDisconnect(app)
      const back = nextClient(app)
      await lose(stream, publish)
      t.equal((await gone).reason, reason)
      const recipients = await publishAll()
      t.strictSame(recipients, recipients.map(() => 0), 'it is away')
      await listener.comeBack?.()
      await back
      await publish(NAMED, 'welcome back')
      const mark = `the end of ${title}`
      await publish(DEFAULT, mark)
      const { events, recovered } = await listener.until(mark)
      t.strictSame(events.slice(before), sent.slice(before))
      t.equal(recovered.length, resumptions.length)
      t.equal(recovered.at(-1), true)
    })
  }
  return resumptions.slice(1)
}

/** What a client has received. The client runs in this process, or reports to it at once. */
export class Inbox implements Listener {
  readonly #events: Received[] = []
  readonly #recovered: boolean[] = []
  readonly #changes = new EventEmitter()

  receive (event: string, data: string): void {
    if (event === 'sse:open') this.#recovered.push(JSON.parse(data).recovered)
    else this.#events.push({ event, data })
    this.#changes.emit('change')
  }

  async until (data: string): Promise<Got> {
    while (this.#events.at(-1)?.data !== data) await once(this.#changes, 'change')
    return { events: this.#events, recovered: this.#recovered }
  }
}
