// The plugin in applications that load their files with @fastify/autoload.
import autoload from '@fastify/autoload'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { listen } from '../support/app.js'
import { appFolder } from '../support/app-folder.js'
import { checkReceives, openStream } from '../support/streams.js'

const PLUGIN = `
import sse from 'fastify-sse-hub'
export default sse
export const autoConfig = { retry: 7 }
`
const ROUTES = `
export default async function (app) {
  app.get('/', (request, reply) => { reply.sse('room') })
}
`

/** An app that loads the folders `plugins` and `routes`, in this order. */
async function load (t: Test, files: Record<string, string>): Promise<FastifyInstance> {
  const folder = await appFolder(t, files)
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  app.register(autoload, { dir: `${folder}/plugins` })
  app.register(autoload, { dir: `${folder}/routes` })
  return app
}

t.test('a file that exports the plugin, with its options as autoConfig, adds the hub to all loaded routes', async t => {
  const app = await load(t, { 'plugins/sse.mjs': PLUGIN, 'routes/events/index.mjs': ROUTES, 'routes/more/deep/index.mjs': ROUTES })
  const port = await listen(app)
  const client = await openStream(t, port)
  t.match(client.text, /^retry: 7\n/)
  const deep = await openStream(t, port, { path: '/more/deep' })
  await checkReceives(t, app.sse, client)
  await deep.untilEvents(2)
})

t.test('the plugin can also be loaded from a folder of its own and from CommonJS', async t => {
  const app = await load(t, {
    'plugins/sse/index.cjs': "module.exports = require('fastify-sse-hub')\nmodule.exports.autoConfig = { retry: 8 }\n",
    'routes/events/index.mjs': ROUTES
  })
  const client = await openStream(t, await listen(app))
  t.match(client.text, /^retry: 8\n/)
  await checkReceives(t, app.sse, client)
})

t.test('a plugin that names the hub as a dependency is loaded after it', async t => {
  const app = await load(t, {
    'plugins/a-notifier.mjs': `
import fp from 'fastify-plugin'
export default fp(async app => {
  app.decorate('notify', message => app.sse.send('message', message))
}, { dependencies: ['fastify-sse-hub'], decorators: { fastify: ['sse'], reply: ['sse'] } })
`,
    'plugins/sse.mjs': PLUGIN,
    'routes/events/index.mjs': ROUTES
  })
  await app.ready()
  t.ok(app.hasPlugin('fastify-sse-hub'))
  const { notify } = app as unknown as { notify: (message: string) => Promise<{ recipients: number }> }
  t.equal((await notify('hi')).recipients, 0)
})

t.test('a folder of routes that loads the plugin has its own hub', async t => {
  const app = await load(t, {
    'plugins/sse.mjs': PLUGIN,
    'routes/own/index.mjs': `
import sse from 'fastify-sse-hub'
export default async function (app) {
  await app.register(sse, { retry: 9 })
  app.get('/', (request, reply) => { reply.sse('room') })
}
`,
    'routes/events/index.mjs': ROUTES
  })
  const port = await listen(app)
  t.match((await openStream(t, port, { path: '/own' })).text, /^retry: 9\n/)
  t.match((await openStream(t, port)).text, /^retry: 7\n/)
  t.equal(app.sse.clientCount(), 1)
})
