// Every code block of the documentation runs or is compiled. `pages.test.ts` checks that the Chinese pages have the same ones.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, readFile } from 'node:fs/promises'
import { get, type IncomingMessage } from 'node:http'
import { availableParallelism } from 'node:os'
import { text } from 'node:stream/consumers'
import { runInNewContext } from 'node:vm'
import autoload from '@fastify/autoload'
import { build } from 'esbuild'
import { EventSource } from 'eventsource'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import ts from 'typescript'
import { compileScript, parse } from 'vue/compiler-sfc'
import { hubOptions } from '../../lib/options.js'
import { buildApp, listen } from '../support/app.js'
import { appFolder } from '../support/app-folder.js'
import { until as waitFor, Visitors, withoutBrowser } from '../support/browser.js'
import { freePort, without } from '../support/programs.js'
import { pages, readPage, type Block } from '../support/pages.js'
import { exampleFile } from '../support/proxy.js'
import { redisDatabase, RedisServer, withoutRedis } from '../support/redis-server.js'
import { root } from '../support/root.js'
import { startServer } from '../support/server-process.js'
import { ended, spawnProgram, type Program } from '../support/spawn-program.js'

const blocks = pages.flatMap(page => readPage(page)).flatMap(section => section.blocks)
const used = new Set<Block>()

/** The one block that contains a text. */
function blockWith (part: string): string {
  const found = blocks.filter(({ code }) => code.includes(part))
  if (found.length !== 1) throw new Error(`${found.length} code blocks hold ${part}`)
  used.add(found[0]!)
  return found[0]!.code
}

/** The compiler's options in a usual project. The last two are for Nest. */
const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, experimentalDecorators: true, emitDecoratorMetadata: true }

/** Writes a program where the package's name resolves. It is removed when the test ends. */
async function program (t: Test, code: string): Promise<string> {
  const folder = await appFolder(t, { 'program.mjs': ts.transpileModule(code, { compilerOptions }).outputText })
  return `${folder}/program.mjs`
}

/** Runs a program to its end and returns its output. */
async function run (t: Test, code: string, env: Record<string, string> = {}): Promise<string> {
  const { code: exitCode, stdout, stderr } = await ended(spawnProgram(t, await program(t, code), { env }))
  t.equal(exitCode, 0, stderr)
  return stdout
}

/** Opens a stream and waits until it is open. It is closed when the test ends. */
async function opened (t: Test, url: string, headers: Record<string, string> = {}): Promise<EventSource> {
  const source = new EventSource(url, { fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }) })
  t.teardown(() => source.close())
  await next(source, 'sse:open')
  return source
}

/** The next event of this name. */
async function next (source: EventSource, event: string): Promise<MessageEvent> {
  return await new Promise(resolve => source.addEventListener(event, resolve, { once: true }))
}

async function post (url: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
}

const BARE = `
import Fastify from 'fastify'
import sse from 'fastify-sse-hub'
const app = Fastify()
`
const APP = `${BARE}
await app.register(sse)
`
const READ = `
const read = async (stream, end) => {
  let text = ''
  for await (const part of stream.setEncoding('utf8').iterator({ destroyOnReturn: false })) if ((text += part).includes(end)) return text
}
`
/** For programs that open streams and read them. */
const STREAMS = `
import { get } from 'node:http'
const open = async (url, headers = {}) => {
  if (!app.server.listening) await app.listen({ port: 0, host: '127.0.0.1' })
  return await new Promise(resolve => get(app.listeningOrigin + url, { headers, agent: false }, resolve))
}
${READ}`

/** For the code of pages: addresses are relative to the app that serves the page. */
const PAGE = `
import { EventSource as NodeEventSource } from 'eventsource'
let origin = process.env.ADDRESS
const address = () => origin ??= app.listeningOrigin
globalThis.EventSource = class extends NodeEventSource { constructor (url) { super(new URL(url, address())) } }
const { fetch: request } = globalThis
globalThis.fetch = (url, init) => request(new URL(url, address()), init)
`

t.test('the tests that the documentation names are there', async t => {
  const texts = await Promise.all([...pages, 'SECURITY.md'].map(page => readFile(`${root}${page}`, 'utf8')))
  const named = new Set([...texts.join('\n').matchAll(/test\/[\w/-]+\.test\.ts/g)].map(([path]) => path))
  t.ok(named.size > 20)
  for (const path of named) await t.resolves(access(`${root}${path}`), path)
})

t.test('the quick start runs as it stands there', async t => {
  const { address } = await startServer(t, await program(t, blockWith('// server.mjs')))
  const source = await opened(t, `${address}/chat/lobby`)
  const message = next(source, 'message')
  const body = { user: 'alice', text: 'hi' }
  const response = await post(`${address}/chat/lobby`, body)
  const { data, lastEventId } = await message
  t.same(await response.json(), { id: lastEventId, recipients: 1 })
  t.same(JSON.parse(data), body)
})

const CURL = blockWith('curl -N')

t.test('the quick start answers to curl', { skip: without('curl') }, async t => {
  const { address } = await startServer(t, await program(t, blockWith('// server.mjs')))
  const [listen, say] = CURL.replaceAll('http://localhost:3000', address).trimEnd().split('\n') as [string, string]
  const run = (command: string): Program => {
    const [file, ...args] = [...command.matchAll(/'([^']*)'|([^\s&]+)/g)].map(([, quoted, bare]) => quoted ?? bare!)
    const child = spawn(file!, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 })
    t.teardown(() => child.kill('SIGKILL'))
    child.stdout.setEncoding('utf8')
    return child
  }
  const listener = run(listen)
  let heard = ''
  listener.stdout.on('data', text => { heard += text })
  await waitFor(() => heard.includes('sse:open'))
  const { code, stdout } = await ended(run(say))
  t.equal(code, 0)
  t.match(JSON.parse(stdout), { recipients: 1 })
  await waitFor(() => heard.includes('event: message\ndata: {"user":"alice","text":"hi"}\n'))
})

t.test('what is installed and run by npm is there', async t => {
  const { name, dependencies, devDependencies, scripts } = JSON.parse(await readFile(`${root}package.json`, 'utf8'))
  const commands = blocks.filter(({ language, code }) => language === 'sh' && code.startsWith('npm '))
  for (const block of commands) {
    used.add(block)
    for (const [, installed] of block.code.matchAll(/npm install (\S+)/g)) t.ok(installed === name || installed! in { ...dependencies, ...devDependencies }, installed!)
    for (const [, script] of block.code.matchAll(/&& npm (?:run )?(\S+)/g)) t.ok(script! in scripts, script!)
  }
  t.equal(commands.length, 6)
})

t.test('the routes with channels open streams in them', async t => {
  t.equal(await run(t, `${APP}${STREAMS}
${blockWith("client.join('sports')")}
for (const url of ['/events', '/rooms/1', '/feed', '/alerts', '/choice']) {
  const stream = await open(url)
  console.log(url, app.sse.channels().map(({ name }) => name).join())
  stream.destroy()
  await new Promise(resolve => app.sse.once('disconnect', resolve))
}
await app.close()`), '/events \n/rooms/1 room-1\n/feed news,alerts,updates\n/alerts alerts\n/choice sports\n')
})

t.test('the rooms are streams, and what is posted to one reaches it', async t => {
  const { address } = await startServer(t, await program(t, blockWith('// rooms.mjs')))
  const source = await opened(t, `${address}/rooms/7`)
  const message = next(source, 'message')
  const { id, recipients } = await (await post(`${address}/rooms/7`, { text: 'hi' })).json() as { id: string, recipients: number }
  t.match(await message, { data: '{"text":"hi"}', lastEventId: id })
  t.equal(recipients, 1)
})

t.test('the publishing calls run, with their options, and on a hub of a child context', async t => {
  const output = await run(t, `${APP}
const clientId = 'someone'
${blockWith('await app.sse.toChannels(')}
console.log(app.sse.stats().published)
${blockWith("idempotencyKey: 'order-17-paid'")}
console.log(app.sse.stats().published)
${blockWith('await admin.register(sse')}
console.log((await app.inject({ method: 'POST', url: '/admin/notice' })).json().recipients, app.sse.stats().published)
await app.close()`)
  t.equal(output, '4\ntrue\n8\n0 8\n')
})

t.test('the chat room runs: who comes, who goes, who is there, what is said', async t => {
  const { address } = await startServer(t, await program(t, blockWith('// chat.mjs')))
  const room = `${address}/chat/lobby`
  t.equal((await fetch(`${room}/stream`)).status, 400)
  const alice = await opened(t, `${room}/stream?user=alice`)
  const came = next(alice, 'user-join')
  const bob = await opened(t, `${room}/stream?user=bob`)
  t.equal((await came).data, '{"user":"bob"}')
  t.same(await (await fetch(`${room}/users`)).json(), { users: ['alice', 'bob'] })
  const heard = next(bob, 'message')
  t.equal((await post(`${room}/message`, { user: 'alice', text: 'hi' })).status, 201)
  t.match(JSON.parse((await heard).data), { user: 'alice', text: 'hi', time: Number })
  // Bob opens and closes another tab. That is neither a join nor a leave.
  const announced: string[] = []
  for (const event of ['user-join', 'user-leave']) alice.addEventListener(event, () => announced.push(event))
  const tab = await opened(t, `${room}/stream?user=bob`)
  tab.close()
  const left = next(alice, 'user-leave')
  bob.close()
  t.equal((await left).data, '{"user":"bob"}')
  t.same(announced, ['user-leave'])
  const late = new EventSource(`${room}/stream?user=carol`)
  t.teardown(() => late.close())
  t.match((await next(late, 'message')).data, '"text":"hi"')
})

t.test('the dashboard sends its figures', async t => {
  const { address } = await startServer(t, await program(t, blockWith('// dashboard.mjs')))
  const source = await opened(t, `${address}/dashboard/stream`)
  t.match(JSON.parse((await next(source, 'metrics')).data), {
    time: Number, cpu: { load: Number, cores: Number }, memory: { used: Number, available: Number }, requests: { total: 0 }, streams: 1
  })
})

t.test('the progress of a task is followed from its beginning, and its end is there for who comes late', async t => {
  const { address } = await startServer(t, await program(t, blockWith('// progress.mjs')))
  const { id } = await (await post(`${address}/tasks`, {})).json() as { id: string }
  const source = new EventSource(`${address}/tasks/${id}/progress`)
  t.teardown(() => source.close())
  t.match(JSON.parse((await next(source, 'progress')).data), { percent: Number })
  t.equal((await next(source, 'complete')).data, '{"result":"done"}')
  const late = new EventSource(`${address}/tasks/${id}/progress`)
  t.teardown(() => late.close())
  t.equal((await next(late, 'complete')).data, '{"result":"done"}')
  // A stream that the page does not close would keep its process alive.
  const output = await run(t, `${PAGE}${blockWith('await (await fetch(\'/tasks\'')}`, { ADDRESS: address })
  t.match(output, /^(?:\d?0\n)*complete \{ result: 'done' \}\n$/)
})

const ANSWER = blockWith("app.post('/answer'")
const ASK = blockWith('async function ask')

t.test('the streamed answer is read in a page', async t => {
  t.equal(await run(t, `${APP}${PAGE}
${ANSWER}
await app.listen({ port: 0, host: '127.0.0.1' })
${ASK}
await app.close()`), 'You\nasked:\nWhy\nnot?\n')
})

t.test('the answer of a model is passed on, its failure is told, and it stops when the reader leaves', async t => {
  // The client of fetch() may have opened a connection ahead of time, for which app.close() would wait.
  t.equal(await run(t, `${APP.replace('Fastify()', 'Fastify({ forceCloseConnections: true })')}${PAGE}
${ANSWER.slice(0, ANSWER.indexOf('async function'))}
${blockWith('chat/completions').replace(/^import .*/, '')}
let stop
const stopped = new Promise(resolve => { stop = resolve })
const part = content => JSON.stringify({ choices: [{ delta: { content } }] })
app.post('/v1/chat/completions', async (request, reply) => {
  const { content } = request.body.messages[0]
  if (content === 'fail') return await reply.code(500).send()
  const client = reply.sse([], { broadcast: false, replay: 'none', greeting: false, retry: null })
  await client.stream([part('It'), part(' depends'), part('')], { event: 'message', raw: true })
  if (content === 'stay') return client.signal.addEventListener('abort', () => stop('the model has stopped'))
  client.send('message', '[DONE]', { raw: true })
  client.close()
})
process.env.MODEL_URL = await app.listen({ port: 0, host: '127.0.0.1' })
${ASK}
await ask('fail', () => {}).catch(error => console.log(error.message))
await ask('stay', () => reading.abort(), reading.signal).catch(error => console.log(error.name))
console.log(await stopped)
await app.close()`), 'It\n depends\nThere is no answer\nAbortError\nthe model has stopped\n')
})

t.test('one answer has several readers, and stops when nobody reads it', async t => {
  t.equal(await run(t, `import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
${BARE}${PAGE}
${blockWith("app.post('/answers'").replace('10_000).unref()', '0).unref()')}
let more
let stopped
async function * tokens (question, signal) {
  yield 'It'
  signal.addEventListener('abort', () => { stopped = true; more() })
  await new Promise(resolve => { more = resolve })
  signal.throwIfAborted()
  yield 'depends'
}
await app.listen({ port: 0, host: '127.0.0.1' })
const ask = async () => (await (await fetch('/answers', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"question":"Why?"}' })).json()).id
const follow = id => {
  const source = new EventSource('/answers/' + id)
  const heard = []
  for (const name of ['token', 'done', 'failed']) source.addEventListener(name, event => heard.push(event.data))
  return { source, heard, hears: name => new Promise(resolve => source.addEventListener(name, resolve, { once: true })) }
}
console.log((await fetch('/answers/unknown')).status)
const id = await ask()
const reader = follow(id)
await reader.hears('token')
const other = follow(id)
await other.hears('token')
other.source.close()
await once(app.sse, 'disconnect')
const done = reader.hears('done')
more()
await done
const late = follow(id)
await late.hears('done')
console.log(stopped, reader.heard.join(), late.heard.join())
reader.source.close()
late.source.close()
const left = follow(await ask())
await left.hears('token')
left.source.close()
while (!stopped) await new Promise(setImmediate)
console.log(stopped)
process.exit()`), '404\nundefined "It","depends",null "It","depends",null\ntrue\n')
})

t.test('metadata tells who is there', async t => {
  t.equal(await run(t, `${APP}${STREAMS}
${blockWith("app.post('/admins'")}
const alice = await open('/office?user=alice')
const bob = await open('/office?user=bob')
const told = read(alice, 'for admins')
const { office, ...counts } = (await app.inject({ method: 'POST', url: '/admins' })).json()
console.log(JSON.stringify(counts), office.map(({ metadata }) => metadata.user).join())
await told
bob.destroy()
await new Promise(resolve => app.sse.once('leave', resolve))
await app.close()`), `alice joined office
bob joined office
{"streams":2,"rooms":[{"name":"office","count":2}]} alice,bob
bob left office
alice left office
`)
})

t.test('history is as each route wants it', async t => {
  t.equal(await run(t, `${BARE}${STREAMS}${PAGE}
${blockWith('historyMaxAge: 3_600_000 })\n\napp.get')}
await app.sse.toChannel('alerts', 'alert', 'kept')
const id = (await app.sse.toChannel('ticker', 'tick', 'kept')).id
for (const url of ['/news', '/alerts', '/ticker', '/alerts?lastEventId=' + id]) {
  const stream = await open(url)
  await app.sse.send('live', null, { transient: true })
  console.log(url.replace(id, 'ID'), [...(await read(stream, 'live')).matchAll(/event: ([a-z]+)\\n/g)].map(([, name]) => name).join())
}
${blockWith("new EventSource('/news')")}
await new Promise(resolve => source.addEventListener('headline', resolve))
source.close()
await app.close()`), '/news headline,live\n/alerts live\n/ticker live\n/alerts?lastEventId=ID live\nload the state\nkept\n')
})

t.test('messages are loaded from a database, and the stream begins after them', async t => {
  t.equal(await run(t, `${APP}${PAGE}
const database = { rows: [], insert: async row => { database.rows.push(row) }, newest: async () => database.rows }
${blockWith('await database.insert(')}
await app.listen({ port: 0, host: '127.0.0.1' })
const say = async text => { await (await fetch('/rooms/lobby/messages', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ text }) })).text() }
/** Sends a message between the load and the stream, and one to the open stream. Prints what the page showed. */
async function page (sent, last) {
  const lines = []
  let ended
  const end = new Promise(resolve => { ended = resolve })
  const print = console.log
  const console_ = { log: text => { lines.push(text); if (text === last) ended() } }
  const fetchRows = async url => {
    const rows = await (await fetch(url)).json()
    if (sent !== null) await say(sent)
    sent = null
    return { json: async () => rows }
  }
  const source = await (async (console, fetch) => {
${blockWith('rows.forEach(show)')}
return source })(console_, fetchRows)
  await end
  const finished = new Promise(resolve => source.addEventListener('end', resolve))
  await say('after')
  await app.sse.toChannel('room-lobby', 'end', null, { transient: true })
  await finished
  source.close()
  print(lines.join())
}
await page('before the first stream opens', 'before the first stream opens')
await say('while nobody looks')
await page('before the next stream opens', 'before the next stream opens')
process.exit()`), 'before the first stream opens,after\n' +
    'before the first stream opens,after,while nobody looks,before the next stream opens,after\n')
})

t.test('the state channels run', async t => {
  t.equal(await run(t, `${APP}
${blockWith("{ key: 'ACME', remove: true }")}
console.log(key, JSON.stringify(data), id.endsWith('-2'), await app.sse.state('prices', 'price'))
await app.close()`), 'ACME {"symbol":"ACME","price":102} true []\n')
  // The page misses a broadcast while it is away. ACME has not changed, and is there again.
  t.equal(await run(t, `${PAGE}
import { setTimeout } from 'node:timers/promises'
${blockWith('keyed(Price').replace('historySize: 10_000', 'historySize: 1, retry: 1')}
console.log((await app.sse.state('prices', 'price')).map(({ key }) => key))
await app.listen({ port: 0, host: '127.0.0.1' })
${blockWith("new EventSource('/prices')")}
while (!prices.has('ACME')) await setTimeout(1)
app.sse.clients()[0].close()
for (const symbol of ['MISSED', 'KEPT']) await app.sse.send('price', { symbol, price: 1 })
while (!prices.has('KEPT')) await setTimeout(1)
while (!prices.has('LIVE')) {
  await app.sse.toChannel('prices', 'price', { symbol: 'LIVE', price: 1 }, { transient: true })
  await setTimeout(1)
}
console.log([...prices.keys()].sort().join())
await app.close()
process.exit()`), "[ 'ACME' ]\nACME,KEPT,LIVE\n")
})

t.test('heartbeats are events where they are wanted', async t => {
  t.match(await run(t, `${BARE}${STREAMS}
${blockWith("heartbeatEvent: 'heartbeat' })").replace('15_000', '20')}
app.get('/', (request, reply) => { reply.sse() })
console.log(await read(await open('/'), 'event: heartbeat'))
await app.close()`), 'event: heartbeat\ndata: {}\n')
})

const MEMBERS = blockWith('const memberOnly')

t.test('an authenticated stream is its user\'s, until the sign-out or the end of the token, and a ticket opens another one', async t => {
  // The token is valid for eight hours. The route takes these eight hours as over.
  const untilExpiry = blockWith('request.user.exp * 1000').replace('- Date.now()', '- 8 * 3_600_000 $&')
  const code = blockWith('// notifications.mjs').replace('await app.listen', `${untilExpiry}\n${blockWith('ticketSign')}\n${MEMBERS}\n$&`)
  const { address } = await startServer(t, await program(t, code), { JWT_SECRET: 'secret', TICKET_SECRET: 'another secret' })
  t.equal((await fetch(`${address}/notifications`)).status, 401)
  const signIn = async (name: string): Promise<{ cookie: string }> => {
    const { headers } = await post(`${address}/session`, { name })
    return { cookie: headers.get('set-cookie')!.split(';')[0]! }
  }
  const alice = await signIn('alice')
  const source = await opened(t, `${address}/notifications`, alice)
  const notification = next(source, 'notification')
  await post(`${address}/notifications/alice`, { message: 'hi' }, await signIn('bob'))
  t.same(JSON.parse((await notification).data), { type: 'info', from: 'bob', message: 'hi' })
  t.match(await (await fetch(`${address}/private`, { headers: alice })).text(), 'event: sse:open', 'this stream ends')
  const { ticket } = await (await fetch(`${address}/tickets`, { method: 'POST', headers: alice })).json() as { ticket: string }
  const withTicket = await opened(t, `${address}/events?ticket=${ticket}`)
  const again = next(withTicket, 'notification')
  await post(`${address}/notifications/alice`, { message: 'hi again' }, alice)
  t.match((await again).data, 'hi again')
  t.equal((await fetch(`${address}/events?ticket=${alice.cookie.split('=')[1]}`)).status, 401, 'a session is no ticket')
  t.equal((await fetch(`${address}/notifications`, { headers: { cookie: `session=${ticket}` } })).status, 401, 'a ticket is no session')
  const room = `${address}/rooms/lobby`
  t.equal((await fetch(room, { headers: await signIn('carol') })).status, 403)
  const bob = await signIn('bob')
  const [alices, bobs] = [await opened(t, room, alice), await opened(t, room, bob)]
  const closed = once(bobs, 'error')
  t.equal((await fetch(`${room}/members/bob`, { method: 'DELETE', headers: alice })).status, 204)
  await closed
  t.equal((await fetch(room, { headers: bob })).status, 403)
  t.equal(alices.readyState, EventSource.OPEN)
  const lost = once(source, 'error')
  t.equal((await fetch(`${address}/session`, { method: 'DELETE', headers: alice })).status, 204)
  await lost
})

t.test('a stream has the headers of CORS and the cookies', async t => {
  t.equal(await run(t, `${APP}${STREAMS}
${blockWith('credentials: true })\nawait app.register(cookie)')}
const { headers } = await open('/events', { origin: 'https://app.example' })
console.log(headers['access-control-allow-origin'], headers['access-control-allow-credentials'], headers['set-cookie'].join(), headers['x-instance'], headers['content-type'])
await app.close()`), 'https://app.example true visited=yes; SameSite=Lax a text/event-stream\n')
})

t.test('errors on the server are answered, logged or thrown', async t => {
  t.equal(await run(t, `${BARE}${STREAMS}
await app.register(sse, { maxClients: 1 })
let prepare = async () => { throw new Error('no such year') }
${blockWith("error.code === 'SSE_ERR_TOO_MANY_CLIENTS'")}
console.log((await app.inject('/report')).body.includes('sse:open'))
prepare = async () => {}
await open('/report')
const refused = await app.inject('/report')
console.log(refused.statusCode, refused.json().message)
await app.close()`), 'SSE_ERR_INVALID_DATA\ntrue\n503 Too many streams are open\n')
})

t.test('errors are told by their classes, and a publish in doubt is repeated with its key', async t => {
  t.equal(await run(t, `${BARE}
const published = []
const broker = {
  start () {},
  publish ({ name, data }, key) {
    published.push([name, data, key])
    return published.length === 2 ? Promise.reject(new SSE_ERR_BROKER_UNAVAILABLE('no answer', true)) : { id: 'epoch-1', recipients: 0 }
  },
  head: () => 'epoch-0',
  position: () => -1,
  close () {}
}
await app.register(sse, { broker })
const report = 'x'.repeat(2 ** 20)
${blockWith("url: '/reports/7'")}
${blockWith('const idempotencyKey = randomUUID()')}
const [[, data], [, , first], [, , second]] = published
console.log(published.length, data, first === second, first.length)
await app.close()`), '3 {"url":"/reports/7"} true 36\n')
})

t.test('the answer to a refused stream is as it stands there', async t => {
  const app = await buildApp(t, { maxClients: 0 })
  app.get('/', (_request, reply) => { reply.sse() })
  t.same((await app.inject('/')).json(), JSON.parse(blockWith('"error": "Service Unavailable"').replace('All 100', 'All 0')))
})

t.test('options of each kind are taken', async t => {
  t.equal(await run(t, `${blockWith('// options of one event')}${STREAMS}
const stream = await open('/orders/7')
await app.sse.send('news', 'not for a private stream')
console.log((await app.inject({ method: 'POST', url: '/orders/7/paid' })).json().recipients, (await read(stream, '{"paid":true}')).includes('news'))
console.log((await app.sse.state('order-7', 'status')).length)
await app.close()`), '1 false\n1\n')
})

t.test('the hub is listened to', async t => {
  t.match(await run(t, `${APP}${STREAMS}
${blockWith('[...client.channels].join()')}
await open('/news')
await app.close()`), /^event \S+ was for 0 of 0 clients\n~\S+ is in news\ndisconnected: shutdown\n$/)
})

t.test('the limits are taken', async t => {
  t.equal(await run(t, `${BARE}${STREAMS}
${blockWith('maxClientsPerKey: 20,').replace('maxClientsPerKey: 20', 'maxClientsPerKey: 1')}
app.get('/', (request, reply) => { reply.sse() })
await open('/')
console.log((await app.inject('/')).json().code)
await app.close()`), 'SSE_ERR_TOO_MANY_CLIENTS_PER_KEY\n')
})

t.test('what was made for a client ends with it', async t => {
  t.match(await run(t, `${APP}${STREAMS}
${blockWith("client.send('tick'")}
const stream = await open('/clock')
console.log(await read(stream, 'event: tick'))
stream.destroy()
await new Promise(resolve => app.sse.once('disconnect', resolve))
await app.close()`), /"time":\d+[^]*\S+ is gone: client\n$/)
})

const SIGNALS = blockWith('process.once(signal, () => app.close())')

t.test('a signal shuts the server down', async t => {
  t.equal(await run(t, `${APP}${STREAMS}
${SIGNALS}
app.get('/', (request, reply) => { reply.sse() })
app.sse.on('disconnect', (_client, reason) => console.log(reason))
await open('/')
process.kill(process.pid, 'SIGTERM')`), 'shutdown\n')
})

t.test('a task that publishes ends with the app, also while it waits', async t => {
  t.equal(await run(t, `${BARE.replace('Fastify()', 'Fastify({ logger: { level: \'error\' } })')}
const nextPrice = signal => new Promise((resolve, reject) => {
  signal.addEventListener('abort', () => reject(signal.reason))
  setImmediate(resolve, 1)
})
${blockWith('async function publishPrices')}
await app.sse.toChannel('prices', 'first', 1)
while (app.sse.stats().published < 10) await new Promise(setImmediate)
await app.close()
await new Promise(setImmediate)
console.log('closed')`), 'closed\n')
})

t.test('streams are compressed where they are to be', async t => {
  t.equal(await run(t, `${BARE}${STREAMS}
${blockWith('compress: { threshold: 256')}
for (const url of ['/news', '/account']) console.log(url, (await open(url, { 'accept-encoding': 'gzip' })).headers['content-encoding'])
await app.close()`), '/news gzip\n/account undefined\n')
})

t.test('the typed events run', async t => {
  t.equal(await run(t, `${blockWith('interface SSERegister')}
console.log(app.sse.stats().published)
await app.close()`), '1\n')
})

t.test('the described routes run, and their document shows both', async t => {
  const output = await run(t, blockWith('sseResponse('))
  t.same([...output.matchAll(/^ {2}(\/\S+):$/gm)].map(match => match[1]), ['/events', '/jobs/{id}'])
  t.equal(output.match(/text\/event-stream:/g)!.length, 2)
  t.same([...output.matchAll(/- title: (\S+)$/gm)].map(match => match[1]), ['notification', 'progress', 'sse:open', 'sse:gap', 'progress', 'sse:open', 'sse:gap'])
})

const PAGES = {
  'the quick start': blockWith("new EventSource('/chat/lobby')"),
  'an EventSource': blockWith("console.log('refused: the browser does not reconnect')"),
  'connect()': blockWith('// typed and parsed'),
  'connect() with all that it can': blockWith('maxWait: 30_000')
}

t.test('the code for pages runs in a browser', { skip: withoutBrowser }, async t => {
  const app = await buildApp(t, { heartbeatInterval: 100, heartbeatEvent: 'heartbeat' })
  app.get('/*', (_request, reply) => { reply.sse() })
  app.get('/page', async (_request, reply) => reply.type('text/html').send(''))
  app.get('/busy', async (_request, reply) => reply.code(503).send())
  const address = `http://127.0.0.1:${await listen(app)}`
  const visitors = await Visitors.come(t)
  const shown = async (code: string, until: string): Promise<string[]> => {
    const { outputFiles } = await build({
      stdin: { contents: code, loader: 'ts', resolveDir: root },
      absWorkingDir: root,
      bundle: true,
      format: 'iife',
      write: false
    })
    const page = await visitors.page()
    await page.addInitScript('lines = []; console.log = (...values) => lines.push(values.map(value => JSON.stringify(value)).join(" "))')
    await page.goto(`${address}/page`)
    await page.addScriptTag({ content: outputFiles[0]!.text })
    const published = setInterval(() => {
      app.sse.send('message', { text: 'hi' }, { transient: true })
      app.sse.send('notification', { type: 'info', message: 'hi' }, { transient: true })
    }, 50)
    let lines: string[] = []
    try {
      await waitFor(async () => {
        lines = await page.evaluate<string[]>('lines')
        return lines.includes(until)
      })
    } finally {
      clearInterval(published)
    }
    await page.context().close()
    return lines
  }
  const fresh = '"a first visit, or something is missing: load the state"'
  t.equal((await shown(PAGES['the quick start'], '{"text":"hi"}'))[0], fresh)
  t.equal((await shown(PAGES['an EventSource'], '"hi"'))[0], '"hi"')
  await shown(PAGES['an EventSource'].replace("'/events'", "'/busy'"), '"refused: the browser does not reconnect"')
  t.same((await shown(PAGES['connect()'], '"info" "hi"')).slice(0, 3), ['"connecting"', '"open"', fresh])
  t.same((await shown(PAGES['connect() with all that it can'], '{"text":"hi"}')).slice(0, 3), ['"connecting" ""', '"open" ""', '"load the state"'])
})

const REACT = blockWith('setNotifications([])')
const VUE = blockWith('notifications.value = []')

t.test('the client code for pages compiles, with the types of the schemas, in React and in Vue too', async t => {
  const component = parse(blockWith('<script setup>'), { filename: 'Notifications.vue' })
  t.same(component.errors, [])
  const folder = await appFolder(t, {
    'page.ts': PAGES['connect()'],
    'react.tsx': REACT,
    'use-notifications.ts': VUE,
    // A component is compiled to JavaScript, so its types are not checked.
    'component.ts': `// @ts-nocheck\n${compileScript(component.descriptor, { id: 'notifications', inlineTemplate: true }).content}`,
    'events.ts': blockWith('interface SSERegister').replace('const events', 'export const events'),
    'tsconfig.json': JSON.stringify({
      extends: '../tsconfig.json',
      compilerOptions: { noUnusedLocals: false },
      files: ['page.ts', 'react.tsx', 'use-notifications.ts', 'component.ts'],
      include: []
    })
  })
  const { stdout, code } = await ended(spawnProgram(t, `${root}node_modules/typescript/bin/tsc`, { args: ['-p', folder] }))
  t.equal(code, 0, stdout)
})

/** Ways to show the list of notifications, each of which renders it into the page. */
const LISTS = {
  React: `${REACT}
import { createRoot } from 'react-dom/client'
import { createElement } from 'react'
createRoot(document.querySelector('main')).render(createElement(Notifications, { room: 'lobby' }))`,
  Vue: `${VUE}
import { createApp, h } from 'vue'
createApp({ setup () {
  const notifications = useNotifications('lobby')
  return () => h('ul', notifications.value.map(({ message }) => h('li', message)))
} }).mount('main')`,
  'the hook for React': `
import { createElement, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { useEventSource } from './examples/react/use-event-source.js'
function List () {
  const [notifications, setNotifications] = useState([])
  useEventSource('/notifications/lobby', {
    onStart: () => setNotifications([]),
    on: { notification: ({ message }) => setNotifications(known => [...known, message]) }
  })
  return createElement('ul', null, notifications.map((message, index) => createElement('li', { key: index }, message)))
}
createRoot(document.querySelector('main')).render(createElement(List))`,
  'the composable for Vue': `
import { createApp, h, ref } from 'vue'
import { useEventSource } from './examples/vue/use-event-source.js'
createApp({ setup () {
  const notifications = ref([])
  useEventSource('/notifications/lobby', {
    onStart: () => { notifications.value = [] },
    on: { notification: ({ message }) => { notifications.value.push(message) } }
  })
  return () => h('ul', notifications.value.map(message => h('li', message)))
} }).mount('main')`
}

t.test('a list whose only source is the stream has all kept events after a loss', { skip: withoutBrowser }, async t => {
  const visitors = await Visitors.come(t)
  for (const [name, contents] of Object.entries(LISTS)) {
    await t.test(`with ${name}`, async t => {
      const app = await buildApp(t, { historySize: 3, retry: 10 }, { forceCloseConnections: true })
      const publish = (...numbers: number[]): void => {
        for (const number of numbers) app.sse.toChannel('lobby', 'notification', { type: 'info', message: String(number) })
      }
      const { outputFiles } = await build({
        jsx: 'automatic',
        stdin: { contents, loader: 'tsx', resolveDir: root },
        absWorkingDir: root,
        bundle: true,
        format: 'iife',
        define: { 'process.env.NODE_ENV': '"production"' },
        write: false
      })
      app.get('/notifications/lobby', (_request, reply) => { reply.sse('lobby') })
      app.get('/', async (_request, reply) => reply.type('text/html').send('<!doctype html><main></main>'))
      const page = await visitors.page()
      await page.goto(`http://127.0.0.1:${await listen(app)}`)
      publish(1, 2, 3)
      await page.addScriptTag({ content: outputFiles[0]!.text })
      const shows = async (...list: string[]): Promise<void> => await waitFor(async () => {
        const shown = await page.locator('li').allTextContents()
        return shown.join() === list.join()
      })
      await shows('1', '2', '3')
      for (const client of app.sse.clients()) client.close()
      // The page can't come back before this turn ends.
      // Broadcasts are missing, and nothing of the channel: with its id, the page would get only broadcasts.
      for (const number of [4, 5, 6, 7]) app.sse.send('notification', { type: 'info', message: String(number) })
      await shows('1', '2', '3', '5', '6', '7')
      publish(8)
      await shows('1', '2', '3', '5', '6', '7', '8')
      await page.context().close()
    })
  }
})

t.test('the client code for Node runs, with its header', async t => {
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

t.test('the autoloaded plugin is loaded', async t => {
  const folder = await appFolder(t, { 'plugins/sse.mjs': blockWith('// plugins/sse.mjs') })
  const app = Fastify()
  await app.register(autoload, { dir: `${folder}/plugins` })
  t.ok(app.hasPlugin('fastify-sse-hub'))
  await app.close()
})

t.test('the Nest application runs', async t => {
  const { address } = await startServer(t, await program(t, `${blockWith('// main.ts')}\nconsole.log(await app.getUrl())\n`))
  const source = new EventSource(`${address}/chat/lobby`)
  t.teardown(() => source.close())
  await new Promise(resolve => source.addEventListener('sse:open', resolve, { once: true }))
  const message = new Promise<MessageEvent>(resolve => source.addEventListener('message', resolve, { once: true }))
  const response = await fetch(`${address}/chat/lobby`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"text":"hi"}' })
  const { data, lastEventId } = await message
  t.same(await response.json(), { id: lastEventId, recipients: 1 })
  t.equal(data, '{"text":"hi"}')
})

t.test('the metrics are scraped', async t => {
  const output = await run(t, `${blockWith('new Registry()')}
await app.sse.send('message', 'hi')
console.log((await app.inject('/metrics')).body)
await app.close()`)
  t.match(output, '# TYPE sse_published_total counter\nsse_published_total 1\n')
})

t.test('the metrics of all workers of a cluster are added up', async t => {
  const port = await freePort()
  await startServer(t, await program(t, `${blockWith('new AggregatorRegistry()').replace('9100', String(port))}
if (cluster.isWorker) {
  await app.sse.send('message', 'hi')
  console.log(app.listeningOrigin)
}`))
  const scrape = async (): Promise<string> => await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  await waitFor(async () => (await scrape().catch(() => '')).includes(`sse_published_total ${availableParallelism()}\n`))
})

t.test('the diagnostics are told', async t => {
  t.equal(await run(t, `${APP}
${blockWith("subscribe('fastify-sse-hub.publish'")}
await app.sse.toChannel('lobby', 'message', 'hi')
await app.close()`), "message [ 'lobby' ] 0\n")
})

const REDIS = { app: blockWith('redisBroker({ client'), rights: blockWith('ACL SETUSER') }

t.test('the broker over Redis runs, with the rights that stand there', { skip: withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const rights = /^ACL SETUSER sse on >secret (.*)$/m.exec(REDIS.rights)![1]!.split(' ')
  await redis.connect(t).call('ACL', 'SETUSER', 'sse', 'on', '>secret', ...rights)
  const output = await run(t, `${REDIS.app}
app.sse.on('join', (_who, channel) => console.log('join', channel))
app.get('/', (_request, reply) => { reply.sse('room') })
app.inject({ url: '/', payloadAsStream: true })
console.log((await app.sse.toChannel('room', 'message', 'hi', { idempotencyKey: 'k' })).recipients)
console.log(await app.sse.presence('room').then(present => present.length), app.sse.stats().broker.state)
await app.close()
`, { REDIS_URL: `redis://sse:secret@127.0.0.1:${redis.port}` })
  t.match(output, /^join room\n1\n1 ready\n/)
})

t.test('the workers of a cluster share a hub over Redis, are replaced when they die, and close on a signal to the primary', { skip: withoutRedis }, async t => {
  const folder = await appFolder(t, {
    'cluster.mjs': blockWith('// cluster.mjs'),
    'server.mjs': `${REDIS.app.replace('Fastify()', 'Fastify({ forceCloseConnections: true })')}
${SIGNALS}
app.addHook('onClose', async () => console.log('closed', process.pid))
app.get('/', (_request, reply) => { reply.header('x-worker', process.pid).sse() })
app.post('/', () => app.sse.send('message', 'hi'))
console.log('ready', process.pid, await app.listen({ port: 0, host: '127.0.0.1' }))`
  })
  const child = spawnProgram(t, `${folder}/cluster.mjs`, { env: { REDIS_URL: (await redisDatabase(t)).url } })
  let output = ''
  child.stdout.on('data', text => { output += text })
  // Workers that listen on port 0 share one port.
  const ready = (): Array<{ pid: string, address: string }> =>
    [...output.matchAll(/^ready (\d+) (\S+)$/gm)].map(([, pid, address]) => ({ pid: pid!, address: address! }))
  await waitFor(() => ready().length === availableParallelism())
  const [{ pid: killed, address }] = ready() as [{ pid: string, address: string }]
  const workers = new Set<string | null>()
  const sources = await Promise.all(Array.from({ length: 2 * availableParallelism() }, async () => {
    const source = new EventSource(address, {
      fetch: async (url, init) => {
        const response = await fetch(url, init)
        workers.add(response.headers.get('x-worker'))
        return response
      }
    })
    t.teardown(() => source.close())
    await next(source, 'sse:open')
    return source
  }))
  t.ok(workers.size > 1 || availableParallelism() === 1)
  const messages = sources.map(source => next(source, 'message'))
  const { recipients } = await (await fetch(address, { method: 'POST' })).json() as { recipients: number }
  t.ok(recipients < sources.length || workers.size === 1, 'each worker counts its own clients')
  t.same((await Promise.all(messages)).map(({ data }) => data), sources.map(() => '"hi"'))
  for (const source of sources) source.close()
  process.kill(Number(killed), 'SIGKILL')
  await waitFor(() => ready().length === availableParallelism() + 1)
  // Not by fetch(), which may use a connection that the killed worker never took.
  const streams = await Promise.all(sources.map(async () =>
    (await once(get(ready().at(-1)!.address, { agent: false }), 'response') as [IncomingMessage])[0]))
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  for (const stream of streams) t.match(await text(stream), /^retry: 3000\n[^]*\nretry: \d+\n\n$/)
  t.same(await exited, [0, null])
  t.same([...output.matchAll(/^closed (\d+)$/gm)].map(([, pid]) => pid).sort(), ready().slice(1).map(({ pid }) => pid).sort())
})

t.test('two instances show who is there, limit the streams of a user, and close those of a removed member', { skip: withoutRedis }, async t => {
  const [library, ...closing] = blockWith("subscribe('member-removed')").split('\n')
  t.equal(await run(t, `
${library}
import { get } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import Fastify from 'fastify'
import sse from 'fastify-sse-hub'
import { redisBroker } from 'fastify-sse-hub/redis'
const signedIn = async request => { request.user = { name: request.headers.user } }
async function instance () {
  const app = Fastify()
  await app.register(sse, { broker: redisBroker({ url: process.env.REDIS_URL }) })
  ${blockWith('async function sendUsers').replace("'/rooms/:room'", "'/users/:room'")}
  ${blockWith('const streamsPerUser')}
  ${MEMBERS.slice(0, MEMBERS.indexOf('app.delete'))}
  ${closing.join('\n')}
  app.delete('/rooms/:room/members/:user', async ({ params: { room, user } }) => { await removed(room, user) })
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const open = async (url, user) => await new Promise(resolve => get(address + url, { headers: { user }, agent: false }, resolve))
  return { app, open }
}
${READ}
const [first, second] = [await instance(), await instance()]
const alice = await first.open('/users/lobby?user=alice', '')
const bob = await second.open('/users/lobby?user=bob', '')
for (const stream of [alice, bob]) await read(stream, 'data: ["alice","bob"]')
bob.destroy()
await read(alice, 'data: ["alice"]')
for (let i = 0; i < 10; i++) await (i % 2 === 0 ? first : second).open('/notifications', 'alice')
for (const { app } of [first, second]) while ((await app.sse.presence('user-alice')).length < 10) await setTimeout(5)
for (const { open } of [first, second]) console.log((await open('/notifications', 'alice')).statusCode, (await open('/notifications', 'bob')).statusCode)
const member = await second.open('/rooms/lobby', 'bob')
console.log(member.statusCode, (await second.open('/rooms/lobby', 'carol')).statusCode)
await first.app.inject({ method: 'DELETE', url: '/rooms/lobby/members/bob' })
await member.resume().toArray()
console.log('closed')
await Promise.all([first.app.close(), second.app.close()])
process.exit()`, { REDIS_URL: (await redisDatabase(t)).url }), '429 200\n429 200\n200 403\nclosed\n')
})

t.test('PM2 leaves an app the time that it may take to close', t => {
  const module: { exports?: { apps: Array<{ script: string, kill_timeout: number }> } } = {}
  runInNewContext(blockWith('kill_timeout: '), { module })
  const [app] = module.exports!.apps
  t.equal(app!.script, 'server.mjs')
  t.ok(app!.kill_timeout > hubOptions({}).closeTimeout + 2000)
  t.end()
})

t.test('the configurations of the proxies are those of the example files, which are tested', t => {
  const settings = (text: string): string[] => text.split('\n').map(line => line.trim()).filter(line => line !== '' && !line.startsWith('#'))
  for (const [proxy, part] of [['nginx', 'proxy_pass'], ['haproxy', 'option http-no-delay'], ['caddy', 'reverse_proxy']] as const) {
    t.same(settings(blockWith(part)), settings(exampleFile(proxy)), proxy)
  }
  t.end()
})

t.test('a hub with a broker of one\'s own publishes, and resumes its clients', async t => {
  t.equal(await run(t, `${blockWith('class OwnBroker implements Broker')}${STREAMS}
app.get('/', (request, reply) => { reply.sse('room') })
const first = await app.sse.toChannel('room', 'message', 'one')
await app.sse.toChannel('room', 'message', 'two')
for (const id of [first.id, first.id + 'x', 'other:1', first.id.replace(/1$/, '')]) {
  const text = await read(await open('/', { 'last-event-id': id }), '"two"')
  console.log(JSON.parse(/sse:open\\ndata: (.*)/.exec(text)[1]).recovered, text.includes('"one"'))
}
await app.close()`), 'true false\nfalse true\nfalse true\nfalse true\n')
})

t.test('binary data arrives as it was', async t => {
  t.equal(await run(t, `${APP}
import { EventSource } from 'eventsource'
app.get('/events', (request, reply) => { reply.sse() })
const source = new EventSource(await app.listen({ port: 0, host: '127.0.0.1' }) + '/events')
${blockWith('atob(bytes)')}
await new Promise(resolve => source.addEventListener('sse:open', resolve, { once: true }))
${blockWith("Buffer.from('89504e47', 'hex')")}
source.addEventListener('thumbnail', () => process.exit())`), 'cat.png Uint8Array(4) [ 137, 80, 78, 71 ]\n')
})

t.test('a route that streams is tested as it stands there', async t => {
  t.match(await run(t, `${APP}
app.get('/events', (request, reply) => { reply.sse() })
${blockWith('payloadAsStream: true')}`), /^text\/event-stream\n[^]*event: message\ndata: "hi"\n/)
})

t.test('the test with a real port passes as it stands there', async t => {
  t.match(await run(t, blockWith('// events.test.mjs')), /pass 1\n/)
})

t.test('a stream looks as it does on the wire', async t => {
  const app = await buildApp(t, { heartbeatInterval: 50 })
  app.get('/', (_request, reply) => { reply.sse('lobby') })
  await app.sse.toChannel('elsewhere', 'message', 'before')
  const stream = (await app.inject({ url: '/', payloadAsStream: true })).stream()
  const opaque = (text: string): string => text.replaceAll(/"clientId":"~[\w-]{22}"/g, 'CLIENT').replaceAll(/^id: [\w-]+-\d+$/gm, 'ID')
  const block = opaque(blockWith('retry: 3000\nevent: sse:open'))
  await app.sse.toChannel('lobby', 'message', { user: 'alice', text: 'hi' })
  let text = ''
  stream.on('data', part => { text += part })
  const parts = (text: string): string[] => opaque(text).trimEnd().split('\n\n')
  const [greeting, message, heartbeat] = parts(block)
  // A heartbeat may also come before the message.
  await waitFor(() => text.includes('alice') && parts(text).at(-1) === heartbeat).catch(error => {
    t.comment(JSON.stringify({ came: text.slice(0, 500), last: parts(text).at(-1), streams: app.sse.clientCount(), ended: stream.readableEnded }))
    throw error
  })
  t.same(parts(text).filter(part => !part.startsWith(':')).slice(0, 2), [greeting, message])
})

t.test('every code block of the documentation is in one of these tests', async t => {
  t.same(blocks.filter(block => !used.has(block)).map(({ code }) => code), [])
})
