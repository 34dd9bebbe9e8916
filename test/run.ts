// Runs the tests by tap, once `npm run build` and `npm run build:tests` have run:
//   node build/test/run.js [whole | daily | quick | smoke] [tap's options ...]
// A process costs more than most tests: Node, tap and Fastify start in it. So the files of a folder run in one process, one
// after the other. ALONE and TOGETHER name the exceptions. One Redis and one browser are started for all files, which find
// them by the environment. A file that runs without this program starts its own.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { startSharedBrowser } from './support/chromium.js'
import { startSharedRedis } from './support/redis-server.js'
import { root } from './support/root.js'

/** Files with a process of their own: long ones, and those that look at their whole process. */
const ALONE = new Set([
  'api/fault-injection', 'api/prometheus', 'browser/clients-browser', 'browser/showcase-cluster', 'browser/showcase-connections',
  'compression/compression-properties', 'guide/code-blocks', 'history/history', 'history/states-properties', 'history/seam',
  'internals/side-line', 'security/wire-fuzz', 'slow-clients/slow-clients', 'slow-clients/stalled-room', 'slow-clients/vanish', 'streams/clients-node', 'streams/close',
  'streams/connection-failures', 'streams/drain', 'streams/properties', 'streams/soak', 'transports/proxies',
  'brokers/redis/clients', 'brokers/redis/loss', 'brokers/redis/order', 'brokers/redis/presence', 'brokers/redis/restart'
])

/** Files that share a process, without the rest of their folder. They share a server, or wait more than they work. */
const TOGETHER: Record<string, readonly string[]> = {
  showcases: ['browser/showcase-chat', 'browser/showcase-notifications', 'browser/showcase-pages', 'browser/showcase-progress'],
  'redis-faults': ['brokers/redis/cuts', 'brokers/redis/crash', 'brokers/redis/freeze', 'brokers/redis/rolling-restart', 'brokers/redis/slow-instance']
}

/** The processes that begin first, in this order, so that no long one is left alone at the end. The others follow by name. */
const FIRST = [
  'guide/code-blocks', 'showcases', 'redis-faults', 'transports/proxies', 'streams/properties', 'streams/soak', 'slow-clients/vanish', 'streams/drain', 'brokers/redis/clients',
  'brokers/redis/restart', 'brokers/redis/loss', 'security/wire-fuzz', 'browser/showcase-connections', 'browser/showcase-cluster', 'brokers/redis/order',
  'brokers/redis/presence', 'brokers/redis', 'api'
]

const BROWSER = /^browser\/(?:showcase|clients)|^guide\/readme$/
const REDIS = /^brokers\/redis\/(?!publishing$)|^api\/prometheus$|^browser\/showcase-cluster$|^guide\/readme$|^streams\/(?:clock|drain)$/

const KINDS: Record<string, (name: string) => boolean> = {
  whole: () => true,
  // `npm test`: all but the storms.
  daily: name => !STORMS.has(name),
  // For daily work: without browsers, Redis, the built package, and long files.
  quick: name => !BROWSER.test(name) && !REDIS.test(name) && !/^(?:browser|guide)\//.test(name) && !LONG.has(name),
  // For a version of Node: whether it streams over every transport, and replays.
  smoke: name => /^(?:streams|transports|history)\//.test(name) && !REDIS.test(name) && !LONG.has(name)
}

/** Thousands of random programs, programs of the system, and whole deployments. `quick` and `smoke` leave them out. */
const LONG = new Set([
  'api/fastify-cli', 'api/fault-injection', 'compression/compression-properties', 'history/history', 'history/seam', 'history/states-properties', 'security/wire-fuzz',
  'slow-clients/slow-clients', 'slow-clients/stalled-room', 'slow-clients/vanish', 'streams/clients-node', 'streams/close-storm', 'streams/connection-failures',
  'streams/properties', 'streams/soak', 'transports/proxies'
])

/**
 * Whole deployments that are cut, frozen, killed and restarted for minutes. They take a third of the suite's time, so only CI and
 * `npm run test:whole` run them.
 */
const STORMS = new Set([
  'brokers/redis/clients', 'brokers/redis/crash', 'brokers/redis/cuts', 'brokers/redis/freeze', 'brokers/redis/loss', 'brokers/redis/order',
  'brokers/redis/restart', 'brokers/redis/rolling-restart', 'brokers/redis/slow-instance', 'slow-clients/vanish', 'streams/soak'
])

const [first, ...others] = process.argv.slice(2)
const named = first !== undefined && Object.hasOwn(KINDS, first)
const kind = named ? first : 'whole'
const options = named || first === undefined ? others : [first, ...others]

const all = readdirSync(`${root}test`, { recursive: true, encoding: 'utf8' })
  .filter(file => file.endsWith('.test.ts') && !file.includes('node_modules'))
  .map(file => file.slice(0, -'.test.ts'.length))
  .sort()
const gone = [...ALONE, ...LONG, ...STORMS, ...Object.values(TOGETHER).flat()].filter(name => !all.includes(name))
if (gone.length > 0) throw new Error(`test/run.ts names tests that are not there: ${gone.join(', ')}`)
const names = all.filter(KINDS[kind]!)

const groups = new Map<string, string[]>()
for (const name of names) {
  const together = Object.entries(TOGETHER).find(([, files]) => files.includes(name))
  const group = ALONE.has(name) ? name : together?.[0] ?? name.slice(0, name.lastIndexOf('/'))
  groups.set(group, [...groups.get(group) ?? [], name])
}
const begin = [...FIRST.filter(group => groups.has(group)), ...[...groups.keys()].filter(group => !FIRST.includes(group))]

// tap runs files in the order of their names.
const folder = 'build/run'
rmSync(`${root}${folder}`, { recursive: true, force: true })
mkdirSync(`${root}${folder}`, { recursive: true })
const files = begin.map((group, index) => {
  const file = `${folder}/${String(index + 1).padStart(2, '0')}-${group.replaceAll('/', '-')}.js`
  const lines = groups.get(group)!.map(name => `t.comment('${name}')\nawait import('../test/${name}.test.js')\n`)
  writeFileSync(`${root}${file}`, `import t from 'tap'\n${lines.join('')}`)
  return file
})

const ends: Array<() => Promise<void>> = []
const env: NodeJS.ProcessEnv = { ...process.env }
// In Node 22 and newer, a process uses code that an earlier one has compiled. With it, coverage would be less exact.
if (options.includes('--disable-coverage')) env['NODE_COMPILE_CACHE'] ??= `${root}build/compiled`
if (names.some(name => REDIS.test(name))) ends.push(await startSharedRedis(env))
if (names.some(name => BROWSER.test(name))) ends.push(await startSharedBrowser(env))
try {
  const tap = spawn(process.execPath, ['node_modules/.bin/tap', 'run', ...options, ...files], { cwd: root, env, stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => tap.kill(signal))
  const [code] = await once(tap, 'exit') as [number | null]
  process.exitCode = code ?? 1
} finally {
  await Promise.all(ends.map(end => end()))
}
