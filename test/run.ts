// Runs the tests by tap, once `npm run build` and `npm run build:tests` have run:
//   node build/test/run.js [whole | daily | quick | smoke] [tap's options ...]
// A process costs more than most tests: Node, tap and Fastify start in it. So the files of a folder run in one process, one
// after the other. test/files.ts names the exceptions. One Redis and one browser are started for all files, which find
// them by the environment. A file that runs without this program starts its own.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { all, BROWSER, groupOf, KINDS, programOf, REDIS } from './files.js'
import { startSharedBrowser } from './support/chromium.js'
import { startSharedRedis } from './support/redis-server.js'
import { root } from './support/root.js'

/** The processes that begin first, in this order, so that no long one is left alone at the end. The others follow by name. */
const FIRST = [
  'guide/code-blocks', 'showcases', 'redis-faults', 'transports/proxies', 'streams/properties', 'streams/soak', 'slow-clients/vanish', 'streams/drain', 'brokers/redis/clients',
  'brokers/redis/restart', 'brokers/redis/loss', 'security/wire-fuzz', 'browser/showcase-connections', 'browser/showcase-cluster', 'brokers/redis/order',
  'brokers/redis/presence', 'brokers/redis', 'api'
]

const [first, ...others] = process.argv.slice(2)
const named = first !== undefined && Object.hasOwn(KINDS, first)
const kind = named ? first : 'whole'
const options = named || first === undefined ? others : [first, ...others]

const names = all.filter(KINDS[kind]!)

const groups = new Map<string, string[]>()
for (const name of names) {
  const group = groupOf(name)
  groups.set(group, [...groups.get(group) ?? [], name])
}
const begin = [...FIRST.filter(group => groups.has(group)), ...[...groups.keys()].filter(group => !FIRST.includes(group))]

// tap runs files in the order of their names.
const folder = 'build/run'
rmSync(`${root}${folder}`, { recursive: true, force: true })
mkdirSync(`${root}${folder}`, { recursive: true })
const files = begin.map((group, index) => {
  const file = `${folder}/${String(index + 1).padStart(2, '0')}-${group.replaceAll('/', '-')}.js`
  writeFileSync(`${root}${file}`, programOf(groups.get(group)!))
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
