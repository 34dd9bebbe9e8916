// Real proxies in front of a real app: with the example files, with default settings, and with compression.
import t from 'tap'
import { buildApp, listen } from '../support/app.js'
import { nextDisconnect } from '../support/disconnects.js'
import { without } from '../support/programs.js'
import { exampleFile, startProxy, type ProxyName } from '../support/proxy.js'
import { StreamClient } from '../support/stream-client.js'

interface Setting {
  readonly title: string
  readonly proxy: ProxyName
  readonly configuration: string
  readonly compresses?: true
}

/** How long the proxies allow a connection to be idle in these tests. */
const IDLE = '2s'
const HEARTBEAT = 200
/** It is longer than the minimum size for compression in proxies. */
const LONG = 'long enough '.repeat(100)
/** The headers of a browser's EventSource. */
const HEADERS = { accept: 'text/event-stream', 'accept-encoding': 'gzip, deflate, br' }

const nginx = exampleFile('nginx').replace('90s', IDLE)
const haproxy = exampleFile('haproxy').replaceAll('90s', IDLE)
const COMPRESS_ALL = 'encode {\n gzip\n minimum_length 1\n match header Content-Type *\n }'

const settings: readonly Setting[] = [
  { title: 'nginx', proxy: 'nginx', configuration: nginx },
  { title: 'nginx with its defaults', proxy: 'nginx', configuration: 'server { listen 8080; location / { proxy_pass http://127.0.0.1:3000; } }' },
  {
    title: 'nginx that buffers and compresses',
    proxy: 'nginx',
    configuration: nginx.replace('location / {', 'proxy_buffering on; gzip on; gzip_proxied any; gzip_types text/event-stream; $&'),
    compresses: true
  },
  { title: 'HAProxy', proxy: 'haproxy', configuration: haproxy },
  // It does not compress, because the stream has no-transform.
  { title: 'HAProxy that may compress', proxy: 'haproxy', configuration: haproxy.replace('backend app\n', '$&  compression algo gzip\n  compression type text/event-stream\n') },
  { title: 'Caddy', proxy: 'caddy', configuration: exampleFile('caddy') }
]

const compressing: readonly Setting[] = [
  ...settings,
  // It holds back streams that it compresses itself, but passes on compressed ones.
  { title: 'Caddy that compresses all', proxy: 'caddy', configuration: exampleFile('caddy').replace('encode @other gzip', COMPRESS_ALL) }
]

for (const { title, proxy, configuration, compresses } of settings) {
  t.test(`behind ${title}`, { skip: without(proxy) }, async t => {
    const app = await buildApp(t, { heartbeatInterval: HEARTBEAT, historySize: 100 })
    app.get('/', (_request, reply) => { reply.sse('room') })
    const port = await startProxy(t, proxy, configuration, await listen(app))
    await app.sse.toChannel('room', 'n', LONG)
    const client = new StreamClient({ port }, '/', HEADERS)
    t.teardown(() => client.destroy())
    await client.until(() => client.own.length === 1)

    await t.test('each event comes when it is sent, and not with the next one', async t => {
      t.equal(client.header('content-encoding'), compresses && 'gzip')
      let slowest = 0
      for (let n = 1; n <= 20; n++) {
        const sentAt = performance.now()
        await app.sse.toChannel('room', 'n', n)
        await client.until(() => client.own.length === 1 + n)
        slowest = Math.max(slowest, performance.now() - sentAt)
      }
      t.comment(`${Math.round(slowest)} ms at most`)
      t.same(client.own.slice(1).map(({ data }) => Number(data)), Array.from({ length: 20 }, (_, i) => i + 1))
    })

    await t.test('heartbeats keep an idle stream open beyond the limit', async t => {
      const { comments } = client
      await client.until(() => client.comments >= comments + 12)
      await app.sse.toChannel('room', 'n', 21)
      await client.until(() => client.own.length === 22)
      t.notOk(client.closed)
    })

    await t.test('the hub notices a client that leaves, and the client resumes', async t => {
      const gone = nextDisconnect(app)
      client.destroy()
      t.equal((await gone).reason, 'client')
      await app.sse.toChannel('room', 'n', 22)
      const back = new StreamClient({ port }, '/', { ...HEADERS, 'last-event-id': client.lastEventId! })
      t.teardown(() => back.destroy())
      await back.until(() => back.own.length === 1)
      t.equal(back.greeting!.recovered, true)
      t.same(back.own.map(({ data }) => data), ['22'])
    })
  })
}

for (const { title, proxy, configuration } of compressing) {
  t.test(`behind ${title}, compressed events come when they are sent, and are compressed only by the hub`, { skip: without(proxy) }, async t => {
    const app = await buildApp(t, { heartbeatInterval: HEARTBEAT, compress: true })
    app.get('/', (_request, reply) => { reply.sse('room') })
    const port = await startProxy(t, proxy, configuration, await listen(app))
    const client = new StreamClient({ port }, '/', HEADERS)
    t.teardown(() => client.destroy())
    await client.until(() => client.greeting !== undefined)
    t.equal(client.header('content-encoding'), 'gzip')
    t.match(client.header('vary'), /accept-encoding/i)
    for (let n = 1; n <= 20; n++) {
      await app.sse.toChannel('room', 'n', `${n} ${n % 3 === 0 ? LONG : ''}`)
      await client.until(() => client.own.length === n)
    }
    const { comments } = client
    await client.until(() => client.comments >= comments + 2)
    app.sse.toChannel('room', 'n', LONG.repeat(100))
    app.sse.clients()[0]!.close()
    await client.untilClosed()
    t.equal(client.own.length, 21)
    t.ok(client.whole, 'the end comes as one')
  })
}

for (const [title, proxy, configuration] of [['nginx', 'nginx', nginx], ['HAProxy', 'haproxy', haproxy]] as const) {
  t.test(`${title} cuts an idle stream that has no heartbeats`, { skip: without(proxy) }, async t => {
    const app = await buildApp(t, { heartbeatInterval: 0 })
    app.get('/', (_request, reply) => { reply.sse('room') })
    const client = new StreamClient({ port: await startProxy(t, proxy, configuration, await listen(app)) }, '/')
    await client.until(() => client.greeting !== undefined)
    await client.untilClosed()
    t.equal(client.own.length, 0)
  })
}
