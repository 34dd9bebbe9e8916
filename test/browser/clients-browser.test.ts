// Clients that run in browsers. Each comes back in its own way.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { FastifyInstance } from 'fastify'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { buildApp, listen, nextClient } from '../support/app.js'
import { open, shows, until, Visitors, withoutBrowser } from '../support/browser.js'
import { comesBack, NAMES, type Got, type Kind, type Listener } from '../support/comeback.js'
import { nextDisconnect } from '../support/disconnects.js'
import { root } from '../support/root.js'
import { servePage } from '../support/serve-page.js'

/** Records what a page has got, if the page does not show it. */
const RECORD = `
  var record = window.record = { events: [], recovered: [] }
  function receive (event, data) {
    if (event === 'sse:open') record.recovered.push(JSON.parse(data).recovered)
    else record.events.push({ event, data })
  }`

const NATIVE = `
  const source = new EventSource('/stream')
  for (const name of ${JSON.stringify(NAMES)}) source.addEventListener(name, event => receive(name, event.data))`

const FETCH = `
  import { fetchEventSource } from '@microsoft/fetch-event-source'
  ${RECORD}
  fetchEventSource('/stream', {
    // Comments come as well, as empty messages.
    onmessage ({ event, data }) { if (event !== '') receive(event, data) },
    // When the server ends the stream, the package comes back only if this throws.
    onclose () { throw new Error('closed') },
    openWhenHidden: location.hash === '#hidden'
  })`

/** Tells a page, as a browser does, that its tab is in the background (`true`) or in the foreground again (`false`). */
const TURN_HIDDEN = 'hidden => { Object.defineProperty(document, "hidden", { value: hidden, configurable: true }); document.dispatchEvent(new Event("visibilitychange")) }'

/** Greetings are text. All other events are HTML. */
const HTMX_2_PAGE = `
  <body hx-ext="sse"><div sse-connect="/stream">
    <p sse-swap="sse:open" hx-swap="beforeend"></p>
    <p id="latest" sse-swap="message"></p>
    <ol sse-swap="${NAMES.slice(1).join(', ')}" hx-swap="beforeend"></ol>
  </div>`

const HTMX_RECORD = `({
  events: [...document.querySelectorAll('ol > li')].map(item => ({ event: item.dataset.event, data: item.textContent })),
  recovered: [...document.querySelector('p').textContent.matchAll(/"recovered":(true|false)/g)].map(([, recovered]) => recovered === 'true')
})`

/** htmx 4 swaps in events without a name, and dispatches the others. The hub names each event. */
const HTMX_4_PAGE = `
  <body><p></p>
  <div hx-sse:connect="/stream" hx-target="#all" hx-swap="beforeend"></div>
  <ol id="all"></ol>`

const HTMX_4_DISPATCHED = `
  for (const name of ['sse:open', 'message']) document.addEventListener(name, ({ detail }) => { document.querySelector('p').append(detail.data) })`

const HTMX_4_UNNAMED = `
  document.addEventListener('htmx:sse:before:message', ({ detail: { message } }) => { if (message.event !== 'sse:open') message.event = '' })`

/** After a refusal the extension makes a new EventSource. This gives the last id to it. */
const HTMX_2_RESUMES = `
  let lastEventId = ''
  document.addEventListener('htmx:sseMessage', event => { lastEventId = event.detail.lastEventId || lastEventId })
  htmx.createEventSource = url => new EventSource(lastEventId === '' ? url : url + '?lastEventId=' + encodeURIComponent(lastEventId))`

/** Makes a page a client for `comesBack()`. */
function listenerOf (page: Page, record: string): Listener {
  return {
    async until (data) {
      await until(async () => await page.evaluate<string | undefined>(`${record}.events.at(-1)?.data`) === data)
      return page.evaluate<Got>(record)
    }
  }
}

/** For a client that closes its stream while its page is hidden. */
function hiding (page: Page): Required<Pick<Listener, 'losses' | 'comeBack'>> {
  return {
    losses: [{ title: 'its page is hidden', reason: 'client', lose: () => page.evaluate(`(${TURN_HIDDEN})(true)`) }],
    comeBack: () => page.evaluate(`document.hidden && (${TURN_HIDDEN})(false)`)
  }
}

function html (event: string, text: string): string {
  return `<li\n  data-event="${event}"\n>${text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</li>\n`
}

/** Each call of the returned function refuses the next request for the stream, as a proxy does when its server is away. */
function refuser (app: FastifyInstance): () => void {
  let refuses = false
  app.addHook('onRequest', async (request, reply) => {
    if (!refuses || !request.url.startsWith('/stream')) return
    refuses = false
    return reply.code(503).send()
  })
  return () => { refuses = true }
}

t.test('clients in a browser', { skip: withoutBrowser }, async t => {
  const visitors = await Visitors.come(t)
  const visitor = await visitors.visitor()
  const come = async (t: Test, url: string): Promise<Page> => {
    const page = await open(visitor, url)
    t.teardown(() => page.close())
    return page
  }
  const bundle = await build({ stdin: { contents: FETCH, resolveDir: root }, bundle: true, write: false })
  const fetchEventSource = bundle.outputFiles[0]!.text
  // htmx-ext-sse brings the htmx 2 that it is for.
  const extension = createRequire(import.meta.resolve('htmx-ext-sse/sse.js'))
  const readAll = async (paths: readonly string[]): Promise<string[]> => Promise.all(paths.map(path => readFile(path, 'utf8')))
  const htmx2 = await readAll([extension.resolve('htmx.org/dist/htmx.js'), extension.resolve('htmx-ext-sse/sse.js')])
  const htmx4 = await readAll([import.meta.resolve('htmx.org/dist/htmx.js'), import.meta.resolve('htmx.org/dist/ext/hx-sse.js')].map(url => fileURLToPath(url)))

  await t.test('the browser\'s own EventSource comes back by itself', async t => {
    const resumptions = await comesBack(t, {
      routes: app => servePage(app, [RECORD + NATIVE]),
      start: async (t, origin) => listenerOf(await come(t, origin), 'record')
    })
    t.ok(resumptions.every(({ header }) => header))
  })

  await t.test('the browser\'s own EventSource comes back by itself when its stream is compressed', async t => {
    const encodings: unknown[] = []
    const resumptions = await comesBack(t, {
      options: { compress: true },
      routes (app) {
        servePage(app, [RECORD + NATIVE])
        app.addHook('onSend', async (request, reply) => { if (request.url === '/stream') encodings.push(reply.getHeader('content-encoding')) })
      },
      start: async (t, origin) => listenerOf(await come(t, origin), 'record')
    })
    t.ok(resumptions.every(({ header }) => header))
    t.same(encodings, Array.from({ length: 1 + resumptions.length }, () => 'gzip'))
  })

  await t.test('the browser\'s own EventSource shows each event of a compressed stream before the next one is sent', async t => {
    const app = await buildApp(t, { compress: true }, { forceCloseConnections: true })
    app.get('/stream', (_request, reply) => {
      reply.sse('room')
      t.equal(reply.getHeader('content-encoding'), 'gzip')
    })
    servePage(app, [RECORD + NATIVE])
    const connected = nextClient(app)
    const listener = listenerOf(await come(t, `http://127.0.0.1:${await listen(app)}`), 'record')
    await connected
    for (let n = 0; n < 20; n++) {
      const data = `${n} ${['short', 'long enough '.repeat(100), 'long '.repeat(30_000)][n % 3]}`
      await app.sse.toChannel('room', 'message', data, { raw: true, compress: n % 5 !== 4 })
      const { events } = await listener.until(data)
      t.equal(events.length, n + 1)
    }
  })

  await t.test('the package @microsoft/fetch-event-source comes back, when its page is seen again as well', async t => {
    const resumptions = await comesBack(t, {
      routes: app => servePage(app, [fetchEventSource]),
      // The package loses line breaks at the beginning of data.
      reads: text => text.replace(/^\n+/, ''),
      async start (t, origin) {
        const page = await come(t, origin)
        return { ...listenerOf(page, 'record'), ...hiding(page) }
      }
    })
    t.ok(resumptions.every(({ header }) => header))
  })

  await t.test('the package @microsoft/fetch-event-source with openWhenHidden stays while its page is hidden', async t => {
    const app = await buildApp(t, {}, { forceCloseConnections: true })
    app.get('/stream', (_request, reply) => { reply.sse('room') })
    servePage(app, [fetchEventSource])
    const page = await come(t, `http://127.0.0.1:${await listen(app)}/#hidden`)
    const listener = listenerOf(page, 'record')
    await app.sse.toChannel('room', 'message', 1)
    await listener.until('1')
    await page.evaluate(`(${TURN_HIDDEN})(true)`)
    await app.sse.toChannel('room', 'message', 2)
    t.strictSame((await listener.until('2')).recovered, [false])
  })

  const htmxKind: Omit<Kind, 'routes'> = {
    dress: html,
    start: async (t, origin) => listenerOf(await come(t, origin), HTMX_RECORD)
  }

  await t.test('the sse extension of htmx 2 comes back by itself', async t => {
    const resumptions = await comesBack(t, { ...htmxKind, routes: app => servePage(app, htmx2, HTMX_2_PAGE) })
    t.ok(resumptions.every(({ header }) => header))
  })

  await t.test('the sse extension of htmx 2 comes back even where it was refused, if it is given the last id', async t => {
    let refuse = (): void => {}
    const resumptions = await comesBack(t, {
      dress: html,
      routes (app) {
        refuse = refuser(app)
        servePage(app, [...htmx2, HTMX_2_RESUMES], HTMX_2_PAGE)
      },
      start: async (t, origin) => ({
        ...listenerOf(await come(t, origin), HTMX_RECORD),
        losses: [{
          title: 'it is refused when it comes back',
          reason: 'client',
          lose ({ socket }) {
            refuse()
            socket.destroy()
          }
        }]
      })
    })
    t.match(resumptions[0], { header: undefined, query: /^\?lastEventId=./ })
    t.ok(resumptions.slice(1).every(({ header }) => header), 'the header, which is newer, goes before the query')
  })

  await t.test('the sse extension of htmx 2 forgets the last id where it was refused, and gets again what is kept', async t => {
    const app = await buildApp(t, { retry: 10 }, { forceCloseConnections: true })
    const refuse = refuser(app)
    const lastEventIds: Array<string | null> = []
    app.get('/stream', (_request, reply) => { lastEventIds.push(reply.sse('room').lastEventId) })
    servePage(app, htmx2, HTMX_2_PAGE)
    const publish = async (text: string): Promise<unknown> => app.sse.toChannel('room', 'message', html('message', text), { raw: true })
    const connected = nextClient(app)
    const page = await come(t, `http://127.0.0.1:${await listen(app)}`)
    const client = await connected
    await publish('before')
    await shows(page, '#latest', 'before')
    const gone = nextDisconnect(app)
    refuse()
    client.close()
    await gone
    await publish('missed')
    await shows(page, '#latest', 'missed')
    const { events, recovered } = await page.evaluate<Got>(HTMX_RECORD)
    t.strictSame(lastEventIds, [null, null], 'the last id is gone')
    t.strictSame(recovered, [false, false])
    t.strictSame(events.map(({ data }) => data), ['before', 'before', 'missed'], 'a list has something twice; what is replaced is up to date')
  })

  await t.test('the sse extension of htmx 4 comes back by itself, when it was refused and when its page is seen again as well', async t => {
    let refuse = (): void => {}
    const resumptions = await comesBack(t, {
      dress: html,
      routes (app) {
        refuse = refuser(app)
        servePage(app, [...htmx4, HTMX_4_DISPATCHED, HTMX_4_UNNAMED], HTMX_4_PAGE)
      },
      async start (t, origin) {
        const page = await come(t, origin)
        const { losses, comeBack } = hiding(page)
        const refusal: (typeof losses)[number] = {
          title: 'it is refused when it comes back',
          reason: 'server',
          lose ({ client }) {
            refuse()
            client.close()
          }
        }
        return { ...listenerOf(page, HTMX_RECORD), losses: [...losses, refusal], comeBack }
      }
    })
    t.ok(resumptions.every(({ header }) => header))
  })

  await t.test('the sse extension of htmx 4 dispatches what has a name, and swaps it in if its name is taken away', async t => {
    const app = await buildApp(t, { greeting: false }, { forceCloseConnections: true })
    app.get('/stream', (_request, reply) => { reply.sse('room') })
    servePage(app, [...htmx4, HTMX_4_DISPATCHED], HTMX_4_PAGE)
    const connected = nextClient(app)
    const page = await come(t, `http://127.0.0.1:${await listen(app)}`)
    await connected
    const publish = async (text: string): Promise<unknown> => app.sse.toChannel('room', 'message', text, { raw: true })
    await publish('one ')
    await publish('two ')
    await shows(page, 'p', 'one two')
    t.equal(await page.locator('#all').textContent(), '')
    await page.evaluate(HTMX_4_UNNAMED)
    await publish('three')
    await shows(page, '#all', 'three')
    t.equal(await page.locator('p').textContent(), 'one two ')
  })

  await t.test('the sse extension of htmx 4 shows the answer where its first request is refused', async t => {
    const app = await buildApp(t, {}, { forceCloseConnections: true })
    app.get('/stream', async (_request, reply) => reply.code(503).send('away'))
    servePage(app, htmx4, HTMX_4_PAGE)
    const page = await come(t, `http://127.0.0.1:${await listen(app)}`)
    await shows(page, '#all', 'away')
    t.equal(await page.evaluate('document.querySelector("div")._htmx.sse'), undefined, 'it does not come back')
  })
})
