// Which test files there are, and which of them may share a process. The names have no folder `test/` and no `.test.ts`.
import { readdirSync } from 'node:fs'
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

export const BROWSER = /^browser\/(?:showcase|clients)|^guide\/code-blocks$/
export const REDIS = /^brokers\/redis\/(?!publishing$)|^api\/prometheus$|^browser\/showcase-cluster$|^guide\/code-blocks$|^streams\/(?:clock|drain)$/

export const KINDS: Record<string, (name: string) => boolean> = {
  whole: () => true,
  // `npm test`: all but the storms.
  daily: name => !STORMS.has(name),
  // Without browsers, Redis and the built package.
  local: name => !BROWSER.test(name) && !REDIS.test(name) && !/^(?:browser|guide)\//.test(name),
  // For daily work.
  quick: name => KINDS.local!(name) && !LONG.has(name),
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

/** All test files, by name. */
export const all = readdirSync(`${root}test`, { recursive: true, encoding: 'utf8' })
  .filter(file => file.endsWith('.test.ts') && !file.includes('node_modules'))
  .map(file => file.slice(0, -'.test.ts'.length))
  .sort()
const gone = [...ALONE, ...LONG, ...STORMS, ...Object.values(TOGETHER).flat()].filter(name => !all.includes(name))
if (gone.length > 0) throw new Error(`test/files.ts names tests that are not there: ${gone.join(', ')}`)

/** The process that a file runs in: of its own, of some named files, or of its folder. */
export function groupOf (name: string): string {
  if (ALONE.has(name)) return name
  const together = Object.entries(TOGETHER).find(([, files]) => files.includes(name))
  return together?.[0] ?? name.slice(0, name.lastIndexOf('/'))
}

/** A program for tap that runs these files in one process, one after the other. It is in a folder of `build/`. */
export function programOf (names: Iterable<string>): string {
  const lines = Array.from(names, name => `t.comment('${name}')\nawait import('../test/${name}.test.js')\n`)
  return `import t from 'tap'\n${lines.join('')}`
}
