// A real Prometheus scrapes the real example. The dashboard's queries are sent as Grafana would send them.
import { readFile } from 'node:fs/promises'
import { Registry } from 'prom-client'
import t from 'tap'
import { buildApp } from '../support/app.js'
import { opener } from '../support/open.js'
import { lint, Prometheus, withoutPrometheus } from '../support/prometheus.js'
import { RedisServer, withoutRedis } from '../support/redis-server.js'
import { root } from '../support/root.js'
import { startServer } from '../support/server-process.js'
import { StreamClient } from '../support/stream-client.js'

interface Variable {
  readonly name: string
  readonly type: string
  readonly definition: string
  readonly allValue?: string
}

interface Panel {
  readonly title: string
  readonly type: string
  readonly targets?: ReadonlyArray<{ readonly expr: string }>
  readonly gridPos: { readonly x: number, readonly y: number, readonly w: number, readonly h: number }
}

const { templating: { list: variables }, panels } = JSON.parse(await readFile(`${root}examples/metrics/dashboard.json`, 'utf8')) as { templating: { list: Variable[] }, panels: Panel[] }

const finite = (value: string): boolean => Number.isFinite(Number(value))

t.test('the example\'s dashboard with a real Prometheus that scrapes the example', { skip: withoutPrometheus || withoutRedis }, async t => {
  const redis = await RedisServer.start(t)
  const { address } = await startServer(t, 'examples/metrics/server.ts', { REDIS_URL: redis.url })
  const port = Number(new URL(address).port)
  const prometheus = await Prometheus.start(t, port)
  const clients = [1, 2, 3].map(() => new StreamClient({ port }, '/events'))
  t.teardown(() => { for (const client of clients) client.destroy() })
  for (const client of clients) await client.until(() => client.own.length > 0)

  const values: Record<string, string> = { __rate_interval: '5s' }
  const filled = (query: string): string => query.replaceAll(/\$(\w+)/g, (_, name: string) => {
    if (!(name in values)) throw new Error(`no variable $${name}`)
    return values[name]!
  })

  await t.test('its variables find the job and the instance', async t => {
    await prometheus.until('sse_clients == 3', samples => samples.length > 0)
    for (const { name, type, definition, allValue } of variables.filter(({ type }) => type !== 'datasource')) {
      t.equal(type, 'query')
      const [, selector, label] = /^label_values\((.*), (\w+)\)$/.exec(definition)!
      const found = await prometheus.labelValues(label!, filled(selector!))
      t.same(found, [{ job: 'app', instance: `127.0.0.1:${port}` }[name]])
      values[name] = allValue ?? found[0]!
    }
    t.same(Object.keys(values), ['__rate_interval', 'job', 'instance'])
  })

  await t.test('its queries use every metric of the hub, and no metric that does not exist', async t => {
    const names = [...(await (await fetch(`${address}/metrics`)).text()).matchAll(/^# TYPE (\w+)/gm)].map(match => match[1]!)
    const asked = new Set(panels.flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => [...expr.matchAll(/\b(\w+)\{/g)].map(match => match[1]!.replace(/_(bucket|sum|count)$/, '')))))
    t.same([...asked].filter(name => !names.includes(name)), [])
    t.same(names.filter(name => name.startsWith('sse_') && !asked.has(name)), [])
  })

  await t.test('each of its queries returns data', async t => {
    const queries = panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, query: filled(expr) })))
    t.ok(queries.length > 25)
    // Rates need several scrapes, and quotients need some events. So a query is repeated until it has a figure, or until tap
    // ends the test.
    await Promise.all(queries.map(async ({ title, query }) => {
      const samples = await prometheus.until(query, samples => samples.length > 0 && samples.every(({ value: [, value] }) => finite(value)))
      t.ok(samples.length > 0, `${title}: ${query} is ${samples[0]!.value[1]}`)
    }))
  })

  await t.test('its panels do not overlap', t => {
    const taken = new Set<string>()
    for (const { title, gridPos: { x, y, w, h } } of panels) {
      t.ok(x + w <= 24, title)
      for (let i = 0; i < w * h; i++) {
        const cell = `${x + i % w} ${y + Math.floor(i / w)}`
        if (taken.has(cell)) t.fail(`${title} lies over another one`)
        taken.add(cell)
      }
    }
    t.end()
  })

  await t.test('Prometheus sees events, connects and disconnects', async t => {
    const events = async (): Promise<number> => Number((await prometheus.query('sse_published_total'))[0]!.value[1])
    const before = await events()
    await prometheus.until('sse_published_total', samples => Number(samples[0]!.value[1]) > before)
    t.ok(await events() > before)
    clients.pop()!.destroy()
    await prometheus.until('sse_clients == 2', samples => samples.length > 0)
    const [opened] = await prometheus.query('sse_connections_total')
    t.equal(opened!.value[1], '3')
  })

  await t.test('Prometheus sees that the broker is away', async t => {
    await redis.kill()
    t.match(await prometheus.until('sse_broker_up == 0', samples => samples.length > 0), [{ metric: { job: 'app' } }])
    await redis.run()
    await prometheus.until('sse_broker_up == 1', samples => samples.length > 0)
    await prometheus.until('sse_broker_reconnects_total > 0', samples => samples.length > 0)
  })
})

t.test('Prometheus\'s own tool finds no fault in the metrics', { skip: withoutPrometheus }, async t => {
  const register = new Registry()
  const app = await buildApp(t, { metrics: { register } })
  const open = await opener(t, app)
  await open('room')
  t.equal(lint(await register.metrics()), '')
  t.not(lint('# TYPE x counter\nx 1\n'), '', 'though it would')
})
