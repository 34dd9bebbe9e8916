// Pages that the browser keeps when the user leaves them, and shows again at Back (the back/forward cache).
import { build } from 'esbuild'
import t from 'tap'
import { buildApp, listen, nextClient } from '../support/app.js'
import { open, until, Visitors, withoutBrowser } from '../support/browser.js'
import { openCachingBrowser } from '../support/chromium.js'
import { root } from '../support/root.js'
import { servePage } from '../support/serve-page.js'

const RECORD = `
  window.record = { got: [], recovered: [], states: [], shown: [] }
  addEventListener('pageshow', ({ persisted }) => { record.shown.push(persisted) })`

const CLIENTS = {
  'the browser\'s own EventSource': `
    const source = window.source = new EventSource('/stream')
    source.addEventListener('message', ({ data }) => { record.got.push(JSON.parse(data)) })
    source.addEventListener('sse:open', ({ data }) => { record.recovered.push(JSON.parse(data).recovered) })
    for (const [type, state] of [['open', 'open'], ['error', 'reconnecting']]) source.addEventListener(type, () => { record.states.push(state) })`,
  'connect()': `
    import { connect } from 'fastify-sse-hub/client'
    connect('/stream', {
      on: { message: data => { record.got.push(data) } },
      onOpen: ({ recovered }) => { record.recovered.push(recovered) },
      onState: state => { if (state !== 'connecting') record.states.push(state) }
    })`
}

t.test('a page that Back brings from the back/forward cache', { skip: withoutBrowser }, async t => {
  const visitors = await Visitors.come(t, await openCachingBrowser())
  for (const [name, script] of Object.entries(CLIENTS)) {
    const { outputFiles } = await build({ stdin: { contents: RECORD + script, resolveDir: root }, bundle: true, write: false })

    for (const [what, isEnded] of [['has what came meanwhile', false], ['comes back if its stream was ended meanwhile', true]] as const) {
      await t.test(`${what}, with ${name}`, async t => {
        const app = await buildApp(t, { retry: 10 }, { forceCloseConnections: true })
        app.get('/stream', (_request, reply) => { reply.sse('room') })
        app.get('/elsewhere', async (_request, reply) => reply.type('text/html').send('<!doctype html><title>elsewhere</title>'))
        servePage(app, [outputFiles[0]!.text])
        const origin = `http://127.0.0.1:${await listen(app)}`
        const connected = nextClient(app)
        const page = await open(await visitors.visitor(), origin)
        const client = await connected
        await app.sse.toChannel('room', 'message', 'before')
        await until(() => page.evaluate<boolean>('record.got.length === 1'))

        await page.goto(`${origin}/elsewhere`)
        await app.sse.toChannel('room', 'message', 'away')
        const reconnected = isEnded && nextClient(app)
        if (isEnded) client.close()
        await app.sse.toChannel('room', 'message', 'still away')
        // The load event that it would wait for does not come again.
        await page.goBack({ waitUntil: 'commit' })
        await reconnected
        await app.sse.toChannel('room', 'message', 'back')
        await until(() => page.evaluate<boolean>('record.got.at(-1) === "back"'))
        t.strictSame(await page.evaluate('record'), {
          got: ['before', 'away', 'still away', 'back'],
          recovered: isEnded ? [false, true] : [false],
          states: isEnded ? ['open', 'reconnecting', 'open'] : ['open'],
          shown: [false, true]
        })
      })
    }
  }
})
