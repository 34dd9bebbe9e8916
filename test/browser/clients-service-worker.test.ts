// A service worker between a page and its stream, as the documentation's Questions tell of it.
import { readFile } from 'node:fs/promises'
import t from 'tap'
import { buildApp, listen, nextClient } from '../support/app.js'
import { open, until, Visitors, withoutBrowser } from '../support/browser.js'
import { root } from '../support/root.js'
import { servePage } from '../support/serve-page.js'

/** The documentation's line for a worker that leaves streams alone. */
const [, LEAVES_ALONE] = /`(if \(event\.request\.[^`]+)`/.exec(await readFile(`${root}docs/questions.md`, 'utf8'))!
const FETCHES = 'event.respondWith(fetch(event.request))'

/** The page opens its stream when the worker controls it. */
const PAGE = `
  window.record = { got: [], recovered: [] };
  (async () => {
    const { serviceWorker } = navigator
    if (location.hash !== '#alone') {
      await serviceWorker.register('/worker.js')
      if (!serviceWorker.controller) await new Promise(resolve => { serviceWorker.oncontrollerchange = resolve })
    }
    const source = new EventSource('/stream')
    source.addEventListener('message', ({ data }) => { record.got.push(Number(data)) })
    source.addEventListener('sse:open', ({ data }) => { record.recovered.push(JSON.parse(data).recovered) })
  })()`

const WAYS = [
  { name: 'without a service worker', listener: undefined, resumes: true },
  { name: 'through a service worker that fetches the stream', listener: FETCHES, resumes: false },
  { name: 'past a service worker that leaves streams alone, as the documentation says', listener: `${LEAVES_ALONE}; ${FETCHES}`, resumes: true }
]

t.test('a stream that is ended', { skip: withoutBrowser }, async t => {
  const visitors = await Visitors.come(t)
  for (const { name, listener, resumes } of WAYS) {
    await t.test(`${resumes ? 'resumes' : 'has no last event id, and brings all that is kept once more,'} ${name}`, async t => {
      const app = await buildApp(t, { retry: 10 }, { forceCloseConnections: true })
      const lastEventIds: Array<string | null> = []
      app.get('/stream', (_request, reply) => { lastEventIds.push(reply.sse('room').lastEventId) })
      app.get('/worker.js', async (_request, reply) => reply.type('text/javascript').send(`
        addEventListener('install', () => skipWaiting())
        addEventListener('activate', event => event.waitUntil(clients.claim()))
        addEventListener('fetch', event => { ${listener} })`))
      servePage(app, [PAGE])

      const connected = nextClient(app)
      const page = await open(await visitors.visitor(), `http://127.0.0.1:${await listen(app)}${listener === undefined ? '/#alone' : '/'}`)
      const client = await connected
      t.equal(await page.evaluate('navigator.serviceWorker.controller !== null'), listener !== undefined)
      await app.sse.toChannel('room', 'message', 1)
      const { id } = await app.sse.toChannel('room', 'message', 2)
      await until(() => page.evaluate<boolean>('record.got.length === 2'))
      const reconnected = nextClient(app)
      client.close()
      await reconnected
      await app.sse.toChannel('room', 'message', 3)
      await until(() => page.evaluate<boolean>('record.got.at(-1) === 3'))

      t.strictSame(lastEventIds, [null, resumes ? id : null])
      t.strictSame(await page.evaluate('record'), {
        got: resumes ? [1, 2, 3] : [1, 2, 1, 2, 3],
        recovered: [false, resumes]
      })
    })
  }
})
