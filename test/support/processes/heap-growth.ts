// A program for `--expose-gc` and tsx. It publishes far more into a history than the history's cap. For each kind of event in
// its arguments, it prints a line of JSON that says by how many bytes the process has grown.
import Fastify, { type FastifyInstance } from 'fastify'
import sse, { type SSEHub } from '../../../lib/index.js'
import { Plain } from '../../../lib/wire/encoding.js'
import { History } from '../../../lib/history/history.js'
import { Replays, type Replay } from '../../../lib/history/replay.js'
import { keptEvent } from '../kept-event.js'

const CAP = 16 * 1024 * 1024

const KINDS: Record<string, (hub: SSEHub, n: number) => Promise<unknown>> = {
  'small events': (hub, n) => hub.toChannel('a', 'tick', { n }),
  'large events': (hub, n) => hub.toChannel('a', 'tick', ('x'.repeat(50_000) + n)),
  'small non-Latin-1 events': (hub, n) => hub.toChannel('a', 'tick', ('日本' + n)),
  'large non-Latin-1 events': (hub, n) => hub.toChannel('a', 'tick', ('日'.repeat(30_000) + n)),
  'a channel for each event': (hub, n) => hub.toChannel(`channel-${n}`, 'tick', { n }),
  'many channels': (hub, n) => hub.toChannel(`channel-${n % 1000}`, 'tick', { n }),
  'long channel names': (hub, n) => hub.toChannel('c'.repeat(240) + n % 10, 'tick', { n }),
  'long non-Latin-1 channel names': (hub, n) => hub.toChannel('道'.repeat(240) + n, 'tick', { n }),
  'long event names': (hub, n) => hub.toChannel('a', ('e'.repeat(240) + n), { n }),
  'long excepted ids': (hub, n) => hub.toChannel('a', 'tick', { n }, { except: 'x'.repeat(240) + n }),
  states: (hub, n) => hub.toChannel('a', 'tick', { n }, { key: `key-${n}` }),
  'states with long non-Latin-1 keys': (hub, n) => hub.toChannel('a', 'tick', { n }, { key: '鍵'.repeat(240) + n }),
  'states of many channels': (hub, n) => hub.toChannels(Array.from({ length: 50 }, (_, i) => `channel-${i + n % 100}`), 'tick', { n }, { key: `key-${n}` }),
  removals: (hub, n) => hub.toChannel('a', 'tick', null, { key: `key-${n}`, remove: true }),
  'events for many channels': (hub, n) => hub.toChannels(Array.from({ length: 50 }, (_, i) => `channel-${i + n % 100}`), 'tick', { n })
}

for (const kind of process.argv.slice(2)) {
  const growth = kind === 'shared replays' ? growthOfReplays() : await growthOfHistory(KINDS[kind]!)
  console.log(JSON.stringify({ kind, ...growth }))
}

async function growthOfHistory (publish: (hub: SSEHub, n: number) => Promise<unknown>): Promise<{ cap: number, growth: number, counted: number }> {
  const app = Fastify() as unknown as FastifyInstance
  await app.register(sse, { historySize: 1_000_000, historyMaxBytes: CAP })
  const stats = (): ReturnType<SSEHub['stats']> => app.sse.stats()
  let published = 0
  const publishSome = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) await publish(app.sse, published++)
  }
  await publishSome(20)
  // The app of the kind before has work left for these turns, and holds its history until then. If that memory were freed
  // later, the growth would be measured too small.
  for (let turn = 0; turn < 3; turn++) await new Promise(resolve => setImmediate(resolve))
  const before = used()
  for (let bytes = 0; bytes < stats().historyBytes;) {
    bytes = stats().historyBytes
    await publishSome(20)
  }
  await publishSome(published / 8)
  const growth = used() - before
  const counted = stats().historyBytes
  await app.close()
  return { cap: CAP, growth, counted }
}

/**
 * How many bytes the blocks of replays take: blocks of one small event among other buffers, and blocks of large events
 * that were sent in pieces.
 */
function growthOfReplays (): { cap: number, growth: number, counted: number } {
  const history = new History({ size: 1_000_000, maxAge: Infinity, maxBytes: Infinity })
  const replays = new Replays(history, 4 * CAP, CAP)
  const replayOf = (target: string, end: number): Replay =>
    ({ targets: [target], names: null, clientId: 'client', encoding, fresh: true, end, cursor: 0, told: -1 })
  const encoding = new Plain()
  let position = 0
  const add = (target: string, text: string): void => {
    // As in the hub, this flattens the text into one string. If that happened later, it would count as growth.
    history.add(keptEvent(++position, text), [target])
  }
  for (let n = 0; n < 12_800; n++) add(`channel-${n}`, 'data: small\n\n')
  for (let n = 0; n < 640; n++) add('large', 'data: ' + 'x'.repeat(99_000) + n + '\n\n')
  const before = used()
  for (let n = 0; n < 12_800; n++) {
    replays.page(replayOf(`channel-${n}`, position))
    Buffer.allocUnsafe(3000)
  }
  const replay = replayOf('large', position)
  // These blocks get half of the cap.
  for (let n = 0; n < 80; n++) for (const chunk of replays.page(replay).chunks) chunk.pieces()
  const growth = used() - before
  return { cap: CAP, growth, counted: replays.bytes }
}

/** Bytes in use after garbage collection. It collects until nothing more is freed, because one collection may not free all. */
function used (): number {
  let before = Infinity
  for (;;) {
    globalThis.gc!()
    const { heapUsed, external } = process.memoryUsage()
    if (heapUsed + external > before - 65_536) return heapUsed + external
    before = heapUsed + external
  }
}
