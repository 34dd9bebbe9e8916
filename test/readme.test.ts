import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import autoload from '@fastify/autoload'
import { EventSource } from 'eventsource'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import ts from 'typescript'
import { appFolder } from './support/app-folder.js'
import { RedisServer, withoutRedis } from './support/redis-server.js'
import { root } from './support/root.js'
import { startServer } from './support/server-process.js'
import { ended, spawnProgram } from './support/spawn-program.js'

const readme = await readFile(`${root}README.md`, 'utf8')

/** The code blocks of a language, in order. */
function blocks (language: string): string[] {
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(match => match[1]!)
}

/** The one block that holds a text. */
function blockWith (part: string): string {
  const found = [...blocks('js'), ...blocks('ts'), ...blocks('tsx')].filter(block => block.includes(part))
  if (found.length !== 1) throw new Error(`${found.length} code blocks hold ${part}`)
  return found[0]!
}

/** Writes a program where the package's name resolves; it goes when the test ends. */
async function program (t: Test, code: string): Promise<string> {
  const folder = await mkdtemp(`${root}examples/.readme-`)
  t.teardown(() => rm(folder, { recursive: true }))
  await writeFile(`${folder}/program.ts`, code)
  return `${folder}/program.ts`
}

/** Runs a program to its end and gives what it prints. */
async function run (t: Test, code: string, env: Record<string, string> = {}): Promise<string> {
  const { code: exitCode, stdout, stderr } = await ended(spawnProgram(t, await program(t, code), { env }))
  t.equal(exitCode, 0, stderr)
  return stdout
}

const APP = `
import Fastify from 'fastify'
import sse from 'fastify-sse-hub'
const app = Fastify()
await app.register(sse)
`

t.test('the quick start of the README runs as it stands there', async t => {
  const { address } = await startServer(t, await program(t, blockWith('// server.mjs')))
  const source = new EventSource(`${address}/chat/lobby`)
  t.teardown(() => source.close())
  await new Promise(resolve => source.addEventListener('sse:open', resolve, { once: true }))
  const message = new Promise<MessageEvent>(resolve => source.addEventListener('message', resolve, { once: true }))
  const body = { user: 'alice', text: 'hi' }
  const response = await fetch(`${address}/chat/lobby`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  const { data, lastEventId } = await message
  t.same(await response.json(), { id: lastEventId, recipients: 1 })
  t.same(JSON.parse(data), body)
})

t.test('the tests that README.md and SECURITY.md name are there', async t => {
  const named = new Set([...(readme + await readFile(`${root}SECURITY.md`, 'utf8')).matchAll(/test\/[\w-]+\.test\.ts/g)].map(([path]) => path))
  t.ok(named.size > 20)
  for (const path of named) await t.resolves(access(`${root}${path}`), path)
})

t.test('the four publishing calls of the README run', async t => {
  const output = await run(t, `${APP}
const clientId = 'someone'
${blockWith('await app.sse.toChannels(')}
console.log(app.sse.stats().published)
await app.close()`)
  t.equal(output, '4\n')
})

t.test('the state channels of the README run', async t => {
  t.equal(await run(t, `${APP}
${blockWith("{ key: 'ACME', remove: true }")}
console.log(key, JSON.stringify(data), id.endsWith('-2'), await app.sse.state('prices', 'price'))
await app.close()`), 'ACME {"symbol":"ACME","price":102} true []\n')
  t.equal(await run(t, `${blockWith('keyed(Type.Object')}
console.log((await app.sse.state('prices', 'price')).map(({ key }) => key))
await app.close()`), "[ 'ACME' ]\n")
})

t.test('the streamed answer of the README runs', async t => {
  const output = await run(t, `${APP}
${blockWith('async function * tokens')}
const response = await app.inject({ method: 'POST', url: '/answer', payload: { question: 'why not' } })
console.log(response.body)
await app.close()`)
  t.same([...output.matchAll(/event: token\ndata: (.*)\n/g)].map(match => match[1]), ['"You"', '"asked:"', '"why"', '"not"'])
})

t.test('the typed events of the README run', async t => {
  t.equal(await run(t, `${blockWith('interface SSERegister')}
console.log(app.sse.stats().published)
await app.close()`), '1\n')
})

t.test('the described routes of the README run, and their document shows both', async t => {
  const output = await run(t, blockWith('sseResponse('))
  t.same([...output.matchAll(/^ {2}(\/\S+):$/gm)].map(match => match[1]), ['/events', '/jobs/{id}'])
  t.equal(output.match(/text\/event-stream:/g)!.length, 2)
  t.same([...output.matchAll(/- title: (\S+)$/gm)].map(match => match[1]), ['notification', 'progress', 'sse:open', 'sse:gap', 'progress', 'sse:open', 'sse:gap'])
})

t.test('the autoloaded plugin of the README is loaded', async t => {
  const folder = await appFolder(t, { 'plugins/sse.mjs': blockWith('// plugins/sse.mjs') })
  const app = Fastify()
  await app.register(autoload, { dir: `${folder}/plugins` })
  t.ok(app.hasPlugin('fastify-sse-hub'))
  await app.close()
})

t.test('the Nest application of the README runs', async t => {
  // As a Nest project's compiler is set.
  const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, experimentalDecorators: true, emitDecoratorMetadata: true }
  const { outputText } = ts.transpileModule(blockWith('// main.ts'), { compilerOptions })
  const { address } = await startServer(t, await program(t, `${outputText}\nconsole.log(await app.getUrl())\n`))
  const source = new EventSource(`${address}/chat/lobby`)
  t.teardown(() => source.close())
  await new Promise(resolve => source.addEventListener('sse:open', resolve, { once: true }))
  const message = new Promise<MessageEvent>(resolve => source.addEventListener('message', resolve, { once: true }))
  const response = await fetch(`${address}/chat/lobby`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"text":"hi"}' })
  const { data, lastEventId } = await message
  t.same(await response.json(), { id: lastEventId, recipients: 1 })
  t.equal(data, '{"text":"hi"}')
})

t.test('the browser code of the README runs', async t => {
  // In Node, with an EventSource that is given a whole address.
  const output = await run(t, `${APP}
import { EventSource as NodeEventSource } from 'eventsource'
app.get('/chat/lobby', (request, reply) => { reply.sse('lobby') })
const address = await app.listen({ port: 0, host: '127.0.0.1' })
class EventSource extends NodeEventSource { constructor (path: string) { super(address + path) } }
${blockWith('new EventSource(')}
source.addEventListener('sse:open', () => app.sse.toChannel('lobby', 'message', { text: 'hi' }))
source.addEventListener('message', () => process.exit())`)
  t.equal(output, 'a first visit, or something is missing: load the state\n{ text: \'hi\' }\n')
})

t.test('the client code of the README runs', async t => {
  // In Node, with what a page has.
  t.equal(await run(t, `${APP}
import { EventSource } from 'eventsource'
app.get('/notifications', (request, reply) => { reply.sse() })
Object.assign(globalThis, { EventSource, location: { href: await app.listen({ port: 0, host: '127.0.0.1' }) } })
app.sse.on('connect', () => app.sse.send('notification', { type: 'info', message: 'hi' }))
app.sse.on('disconnect', () => process.exit())
${blockWith('// typed and parsed').replace('(type, message) }', '(type, message); stream.close() }')}`),
  'connecting\nopen\na first visit, or something is missing: load the state\ninfo hi\nclosed\n')
})

t.test('the client code for Node of the README runs, with its header', async t => {
  t.equal(await run(t, `${APP}
app.get('/stream', (request, reply) => {
  console.log(request.headers.authorization)
  reply.sse()
})
process.env.STREAM = await app.listen({ port: 0, host: '127.0.0.1' }) + '/stream'
app.sse.on('connect', () => app.sse.send('message', 'hi'))
app.sse.on('disconnect', () => process.exit())
${blockWith('class AuthorizedEventSource').replace('console.log(data)', '{ console.log(data); stream.close() }')}`,
  { TOKEN: 'secret' }), 'Bearer secret\nhi\n')
})

t.test('the client code for pages of the README compiles, in React and in Vue too', async t => {
  const folder = dirname(await program(t, blockWith('// typed and parsed')))
  await writeFile(`${folder}/react.tsx`, blockWith('setNotifications([])'))
  await writeFile(`${folder}/vue.ts`, blockWith('notifications.value = []'))
  await writeFile(`${folder}/events.ts`, blockWith('interface SSERegister').replace('const events', 'export const events'))
  await writeFile(`${folder}/tsconfig.json`, JSON.stringify({
    extends: '../tsconfig.json',
    compilerOptions: { noUnusedLocals: false },
    files: ['program.ts', 'react.tsx', 'vue.ts'],
    include: []
  }))
  const { stdout, code } = await ended(spawnProgram(t, `${root}node_modules/typescript/bin/tsc`, { args: ['-p', folder] }))
  t.equal(code, 0, stdout)
})

t.test('the metrics of the README are scraped', async t => {
  const output = await run(t, `${blockWith('new Registry()')}
await app.sse.send('message', 'hi')
console.log((await app.inject('/metrics')).body)
await app.close()`)
  t.match(output, '# TYPE sse_published_total counter\nsse_published_total 1\n')
})

t.test('the diagnostics of the README are told', async t => {
  t.equal(await run(t, `${APP}
${blockWith("subscribe('fastify-sse-hub.publish'")}
await app.sse.toChannel('lobby', 'message', 'hi')
await app.close()`), "message [ 'lobby' ] 0\n")
})

t.test('the broker over Redis of the README runs, with the rights that stand there', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const rights = /^ACL SETUSER sse on >secret (.*)$/m.exec(readme)![1]!.split(' ')
  await redis.connect(t).call('ACL', 'SETUSER', 'sse', 'on', '>secret', ...rights)
  const output = await run(t, `${blockWith('redisBroker({ client')}
app.sse.on('join', (_who, channel) => console.log('join', channel))
app.get('/', (_request, reply) => { reply.sse('room') })
app.inject({ url: '/', payloadAsStream: true })
console.log((await app.sse.toChannel('room', 'message', 'hi', { idempotencyKey: 'k' })).recipients)
console.log(await app.sse.presence('room').then(present => present.length), app.sse.stats().broker.state)
await app.close()
client.disconnect()
`, { REDIS_URL: `redis://sse:secret@127.0.0.1:${redis.port}` })
  t.match(output, /^join room\n1\n1 ready\n/)
})
