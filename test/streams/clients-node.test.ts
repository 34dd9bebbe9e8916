// Clients that run outside of browsers. Each has its own way of coming back.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { createEventSource } from 'eventsource-client'
import { EventSourcePolyfill } from 'event-source-polyfill'
import t, { type Test } from 'tap'
import { comesBack, Inbox, NAMES, type Listener } from '../support/comeback.js'
import { createParser, EventSource, UndiciEventSource } from '../support/newest-clients.js'
import { without } from '../support/programs.js'
import { root } from '../support/root.js'

/** A class with the interface of a browser's EventSource. */
interface EventSourceLike {
  addEventListener (type: string, listener: (event: { readonly data: string }) => void): void
  close (): void
}

function listenTo (t: Test, source: EventSourceLike): Inbox {
  t.teardown(() => source.close())
  const inbox = new Inbox()
  for (const name of NAMES) source.addEventListener(name, ({ data }) => inbox.receive(name, data))
  return inbox
}

/** Without this, programs that find a proxy in the environment would ask it for loopback. */
const env = { ...process.env, no_proxy: '*' }

t.test('the package eventsource comes back by itself', async t => {
  const resumptions = await comesBack(t, { start: (t, origin) => listenTo(t, new EventSource(`${origin}/stream`)) })
  t.ok(resumptions.every(({ header }) => header))
})

t.test('the package eventsource-client comes back by itself', async t => {
  const resumptions = await comesBack(t, {
    start (t, origin) {
      const inbox = new Inbox()
      const source = createEventSource({ url: `${origin}/stream`, onMessage: ({ event, data }) => inbox.receive(event ?? 'message', data) })
      t.teardown(() => source.close())
      return inbox
    }
  })
  t.ok(resumptions.every(({ header }) => header))
})

t.test('the EventSource of undici comes back by itself', async t => {
  const resumptions = await comesBack(t, {
    start: (t, origin) => listenTo(t, new UndiciEventSource(`${origin}/stream`) as unknown as EventSourceLike)
  })
  t.ok(resumptions.every(({ header }) => header))
})

for (const [title, name, options, settings] of [
  ['with its defaults, which are the hub\'s', 'lastEventId', {}, {}],
  ['with a query parameter of another name', 'since', { lastEventIdQuery: 'since' }, { lastEventIdQueryParameterName: 'since' }]
] as const) {
  t.test(`the package event-source-polyfill comes back by itself ${title}`, async t => {
    // It prints each loss of a connection.
    const complaints = t.capture(console, 'error')
    const resumptions = await comesBack(t, {
      options,
      start: (t, origin) => listenTo(t, new EventSourcePolyfill(`${origin}/stream`, settings))
    })
    for (const { header, query } of resumptions) {
      t.equal(header, undefined)
      t.ok(new URLSearchParams(query).get(name))
    }
    t.equal(complaints().length, 4)
  })
}

t.test('curl resumes if it is given the last id', { skip: without('curl') }, async t => {
  const resumptions = await comesBack(t, {
    async start (t, origin) {
      const inbox = new Inbox()
      let lastEventId = ''
      const connect = (headers: readonly string[]): Promise<unknown> => {
        const parser = createParser({
          onEvent ({ id, event, data }) {
            lastEventId = id ?? lastEventId
            inbox.receive(event ?? 'message', data)
          }
        })
        const child = spawn('curl', ['-sN', ...headers, `${origin}/stream`], { env, stdio: ['ignore', 'pipe', 'inherit'] })
        t.teardown(() => child.kill('SIGKILL'))
        child.stdout.setEncoding('utf8').on('data', text => parser.feed(text))
        return once(child, 'close')
      }
      let ended = connect([])
      return Object.assign(inbox, {
        async comeBack () {
          await ended
          ended = connect(['-H', `Last-Event-ID: ${lastEventId}`])
        }
      } satisfies Partial<Listener>)
    }
  })
  t.ok(resumptions.every(({ header }) => header))
})

t.test('a script in Python resumes', { skip: without('python3') }, async t => {
  const resumptions = await comesBack(t, {
    start (t, origin) {
      const inbox = new Inbox()
      const child = spawn('python3', [`${root}test/support/read-events.py`, `${origin}/stream`], { env, stdio: ['ignore', 'pipe', 'inherit'] })
      t.teardown(() => child.kill('SIGKILL'))
      createInterface(child.stdout).on('line', line => {
        const { event, data } = JSON.parse(line)
        inbox.receive(event, data)
      })
      return inbox
    }
  })
  t.ok(resumptions.every(({ header }) => header))
})
