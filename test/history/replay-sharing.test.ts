// Replays share their bytes. These tests check which of them share, and that sharing never changes what a client gets.
import assert from 'node:assert/strict'
import t from 'tap'
import { Compression } from '../../lib/wire/compression.js'
import { Plain } from '../../lib/wire/encoding.js'
import { GzipStream } from '../../lib/wire/gzip.js'
import { History, type HistoryLimits } from '../../lib/history/history.js'
import { Replays, type Page, type Replay } from '../../lib/history/replay.js'
import { MAX_WRITE, type Chunk } from '../../lib/wire/chunk.js'
import { buildApp } from '../support/app.js'
import { gunzipWhole } from '../support/gunzip.js'
import { keptEvent } from '../support/kept-event.js'
import { Random } from '../support/random.js'
import { StreamClient } from '../support/stream-client.js'
import { unixSocket } from '../support/unix-socket.js'
import { ended, spawnProgram } from '../support/spawn-program.js'

/** Positions in a block: see BLOCK in lib/history/replay.ts. */
const BLOCK = 256

/** A history with its replays, and the few calls that a hub makes. */
class Past {
  readonly history: History
  readonly replays: Replays
  position = 0

  readonly encoding = new Plain()

  constructor (limits: Partial<HistoryLimits> = {}) {
    const { maxBytes = Infinity } = limits
    this.history = new History({ size: 10_000, maxAge: Infinity, maxBytes, ...limits })
    this.replays = new Replays(this.history, maxBytes, MAX_WRITE)
  }

  /** Adds one event. */
  add (targets: string | readonly string[] = 'a', { name = 'tick', except = '', padding = 0 } = {}): void {
    const position = ++this.position
    const text = `event: ${name}\ndata: ${position} ${'x'.repeat(padding)}\n\n`
    this.history.add(keptEvent(position, text, { name, except }), typeof targets === 'string' ? [targets] : targets)
  }

  addMany (count: number, ...event: Parameters<Past['add']>): void {
    for (let i = 0; i < count; i++) this.add(...event)
  }

  /** A client that connects now. */
  replay (settings: Partial<Replay> = {}): Replay {
    return { targets: ['a'], names: null, clientId: 'client', encoding: this.encoding, fresh: true, end: this.position, cursor: 0, told: -1, ...settings }
  }

  pages (replay = this.replay()): Page[] {
    const pages = []
    while (replay.cursor < replay.end) pages.push(this.replays.page(replay))
    return pages
  }

  chunks (settings?: Partial<Replay>): Chunk[] {
    return this.pages(this.replay(settings)).flatMap(({ chunks }) => chunks)
  }

  text (settings?: Partial<Replay>): string {
    return textOf(this.chunks(settings))
  }
}

function textOf (chunks: readonly Chunk[]): string {
  return Buffer.concat(chunks.map(chunk => chunk.payload())).toString()
}

/** For each chunk of one replay, whether another replay has the same object. */
function shared (one: readonly Chunk[], other: readonly Chunk[]): boolean[] {
  return one.map((chunk, index) => chunk === other[index])
}

t.test('equal replays share their bytes, and those of the last block until something is published', async t => {
  const past = new Past()
  past.addMany(2 * BLOCK + 10)
  const first = past.chunks()
  t.strictSame(shared(first, past.chunks()), [true, true, true])
  t.equal(textOf(first), past.text())
  past.addMany(BLOCK)
  const second = past.chunks()
  t.strictSame(shared(first, second), [true, true, false], 'what the present cut off has grown')
  t.match(textOf(second), `data: ${3 * BLOCK + 10} `)
  t.strictSame(shared(second, past.chunks()), [true, true, true, true])
  t.strictSame(past.text({ end: 2 * BLOCK + 10 }), textOf(first), 'a client that came before gets what there was when it came')
})

t.test('a replay that begins inside a block shares larger and larger parts of it, and then whole blocks', async t => {
  const past = new Past()
  past.addMany(3 * BLOCK)
  const whole = past.chunks()
  const one = past.chunks({ cursor: 10 })
  t.strictSame(shared(one.slice(-2), whole.slice(-2)), [true, true])
  t.equal(one.length, 5, 'to 64, 128, 256, 512 and 768')
  t.strictSame(shared(one, past.chunks({ cursor: 20 })), [false, true, true, true, true])
  t.strictSame(shared(one, past.chunks({ cursor: 10 })), [true, true, true, true, true], 'all of it with those who begin there too')
  t.strictSame(shared(past.chunks({ cursor: BLOCK }), whole.slice(1)), [true, true])
  t.equal(textOf(one), textOf(whole).slice(textOf(whole).indexOf('event: tick\ndata: 11 ')))
})

t.test('clients with different ids share, as long as nothing is kept for their ids', async t => {
  const past = new Past()
  past.addMany(BLOCK)
  const [block] = past.chunks({ targets: ['a', '\0alice'], clientId: 'alice' })
  t.equal(past.chunks({ targets: ['\0bob', 'a'], clientId: 'bob' })[0], block)
  past.add('\0alice')
  t.not(past.chunks({ targets: ['a', '\0alice'], clientId: 'alice' })[0], block)
  t.equal(past.chunks({ targets: ['a', '\0bob'], clientId: 'bob' })[0], block)
})

t.test('the order of channels and event names does not matter for sharing', async t => {
  const past = new Past()
  past.addMany(BLOCK, ['a', 'b'])
  t.equal(past.chunks({ targets: ['a', 'b'] })[0], past.chunks({ targets: ['b', 'a'] })[0])
  t.equal(past.chunks({ names: new Set(['tick', 'tock']) })[0], past.chunks({ names: new Set(['tock', 'tick']) })[0])
})

t.test('replays of different channels or event names do not share', async t => {
  const past = new Past()
  for (let i = 0; i < BLOCK; i++) past.add(['', 'a', 'b', 'c'][i % 4], { name: i % 3 === 0 ? 'tick' : 'tock' })
  const settings: Array<Partial<Replay>> = []
  for (const targets of [['a'], ['b'], ['a', 'b'], [''], ['', 'a'], ['', 'a', 'b', 'c']]) {
    for (const names of [null, new Set<string>(), new Set(['tick']), new Set(['tock']), new Set(['tick', 'tock'])]) settings.push({ targets, names })
  }
  // Each text is made without any shared blocks first, and then with the blocks of all others.
  const alone = settings.map(each => {
    const fresh = new Replays(past.history, Infinity, MAX_WRITE)
    return textOf(fresh.page(past.replay(each)).chunks)
  })
  for (const turn of [1, 2]) t.strictSame(settings.map(each => past.text(each)), alone, `turn ${turn}`)
})

t.test('compressed replays share compressed bytes, but only with replays of the same settings', async t => {
  const past = new Past()
  past.addMany(BLOCK + 10)
  const encoding = new Compression({ threshold: 256, level: 3 })
  const first = past.chunks({ encoding })
  t.strictSame(shared(first, past.chunks({ encoding })), [true, true])
  t.strictSame(shared(first, past.chunks({ encoding: new Compression({ threshold: 256, level: 9 }) })), [false, false])
  t.strictSame(shared(first, past.chunks()), [false, false])
  t.equal(gunzipWhole(Buffer.concat(new GzipStream().end(first).map(chunk => chunk.payload()))).toString(), past.text())
  t.ok(first.every(({ framed }) => framed.length === framed.buffer.byteLength), 'what is kept is in memory of its own')
})

t.test('a page of a compressed replay takes no longer to make than one without compression', async t => {
  const past = new Past()
  past.addMany(200, 'a', { padding: 20_000 })
  const encoding = new Compression({ threshold: 256, level: 3 })
  const [plain, compressed] = [past.pages(), past.pages(past.replay({ encoding }))]
  t.ok(compressed.reduce((bytes, { chunks }) => bytes + chunks[0]!.size, 0) < MAX_WRITE, 'though all of it would fit into one')
  t.strictSame(compressed.map(({ count }) => count), plain.map(({ count }) => count))
})

t.test('a client that wants no events gets none after a replay of another client, and does not change later replays', async t => {
  const past = new Past()
  past.addMany(BLOCK)
  t.equal(past.text({ names: new Set() }), '')
  const whole = past.text()
  t.match(whole, /data: 1 \n/)
  t.equal(past.text({ names: new Set() }), '')
})

t.test('a block that has an event with except is not shared', async t => {
  const past = new Past()
  past.addMany(BLOCK)
  past.addMany(5)
  past.add('a', { except: 'alice' })
  past.addMany(2 * BLOCK - 6)
  const bob = past.chunks({ clientId: 'bob' })
  t.strictSame(shared(bob, past.chunks({ clientId: 'bob' })), [true, false, true])
  const alice = past.chunks({ clientId: 'alice' })
  t.strictSame(shared(bob, alice), [true, false, true])
  t.match(textOf(bob), `data: ${BLOCK + 6} `)
  t.notMatch(textOf(alice), `data: ${BLOCK + 6} `)
})

t.test('all replays split blocks larger than one write at the same places', async t => {
  const past = new Past()
  past.addMany(2 * BLOCK, 'a', { padding: 5000 })
  const pages = past.pages()
  for (const { chunks } of pages) t.ok(chunks.reduce((sum, { size }) => sum + size, 0) <= MAX_WRITE)
  t.equal(pages.reduce((sum, { count }) => sum + count, 0), 2 * BLOCK)
  t.notOk(shared(pages.flatMap(({ chunks }) => chunks), past.chunks()).includes(false))
})

t.test('small blocks are joined into pages of one write, and a larger event has its own page', async t => {
  const past = new Past()
  past.addMany(5 * BLOCK)
  t.equal(past.pages().length, 1)
  past.add('a', { padding: 200_000 })
  past.addMany(BLOCK)
  t.strictSame(past.pages().map(({ count }) => count), [5 * BLOCK, 1, BLOCK])
})

t.test('a block is built anew after one of its events was removed', async t => {
  const past = new Past({ size: 2 * BLOCK })
  past.addMany(2 * BLOCK)
  const before = past.chunks()
  past.addMany(10)
  const after = past.chunks()
  t.strictSame(shared(before, after), [false, true])
  t.notMatch(textOf(after), /data: 10 /)
  t.match(textOf(after), /data: 11 /)
})

t.test('replays give what the history has, whatever is published, removed and replayed meanwhile', async t => {
  const random = new Random()
  const targets = ['', 'a', 'b', '\0alice']
  try {
    for (let round = 0; round < 60; round++) {
      const maxBytes = random.pick([Infinity, 60_000, 400_000])
      const past = new Past({ size: random.pick([10, 100, 10_000]), maxBytes })
      const ongoing: Replay[] = []
      for (let step = 0; step < 60; step++) {
        const dense = random.chance(0.5)
        for (let count = random.below(80); count > 0; count--) {
          const where = random.some(targets, dense ? 0.7 : 0.2)
          if (where.length === 0) where.push('b')
          past.add(where, {
            name: random.pick(['tick', 'tock']),
            except: random.chance(0.02) ? random.pick(['alice', 'bob']) : '',
            padding: random.chance(0.02) ? random.below(90_000) : random.below(100)
          })
        }
        const clientId = random.pick(['alice', 'bob'])
        ongoing.push(past.replay({
          targets: random.some(targets),
          names: random.pick([null, null, new Set(['tick']), new Set<string>()]),
          clientId,
          cursor: random.chance(0.5) ? 0 : random.below(past.position + 1)
        }))
        const replay = random.pick(ongoing)
        // `page` removes targets without later events from the replay, so they are read before.
        const { cursor, targets: asked } = replay
        const { chunks, count } = past.replays.page(replay)
        const expected = [...past.history.range(asked, cursor, replay.cursor)]
          .filter(({ name, except }) => except !== replay.clientId && (replay.names === null || replay.names.has(name)))
        assert.equal(textOf(chunks), expected.map(({ text }) => text).join(''))
        assert.equal(count, expected.length)
        assert.ok(replay.cursor > cursor || cursor === replay.end)
        assert.ok(past.replays.bytes <= maxBytes / 4)
        if (replay.cursor === replay.end) ongoing.splice(ongoing.indexOf(replay), 1)
      }
    }
    t.pass('in 3,600 pages')
  } catch (error) {
    t.comment(`SEED=${random.seed}`)
    throw error
  }
})

t.test('the shared blocks take at most a quarter of historyMaxBytes, and the least recently used are removed first', async t => {
  const maxBytes = 1_000_000
  const past = new Past({ maxBytes })
  // Each channel has a block of about 16 KB, so 15 of them fit.
  const names = Array.from({ length: 30 }, (_, i) => `channel-${i}`)
  for (let i = 0; i < BLOCK; i++) past.add(names, { padding: 40 })
  past.addMany(1)
  const block = (target: string): Chunk => past.chunks({ targets: [target] })[0]!
  const first = block(names[0]!)
  const second = block(names[1]!)
  for (const name of names.slice(2)) {
    block(name)
    t.ok(past.replays.bytes <= maxBytes / 4)
    t.equal(block(names[0]!), first, 'what is used stays')
  }
  t.ok(past.replays.bytes > maxBytes / 4 - 20_000, 'all of it is made use of')
  t.not(block(names[1]!), second)
})

t.test('the shared blocks take at most 16 MiB', async t => {
  const past = new Past({ maxBytes: 1024 ** 3 })
  past.addMany(200, 'a', { padding: 130_000 })
  past.chunks()
  t.ok(past.replays.bytes <= 16 * 1024 * 1024)
  t.ok(past.replays.bytes > 15 * 1024 * 1024)
})

t.test('a shared block is not a part of a larger buffer, which it would keep in memory', async t => {
  const past = new Past()
  past.add()
  past.addMany(BLOCK, 'b')
  const [chunk] = past.chunks()
  t.equal(chunk, past.chunks()[0])
  t.ok(chunk!.framed.buffer.byteLength < 1000, `a block of ${chunk!.size} bytes holds a buffer of ${chunk!.framed.buffer.byteLength}`)
})

t.test('the real memory of the shared blocks is within their limit', async t => {
  const { stdout } = await ended(spawnProgram(t, 'test/support/processes/heap-growth.ts', { nodeArgs: ['--expose-gc'], args: ['shared replays'] }))
  const { cap, growth, counted } = JSON.parse(stdout)
  t.ok(counted <= cap)
  t.ok(growth <= 1.3 * cap, `the process grew by ${growth} with a cap of ${cap}`)
  t.ok(growth >= 0.5 * cap, 'the cap is made use of')
})

t.test('a client gets sse:gap if its next events were removed, and then the kept events', async t => {
  const app = await buildApp(t, { historySize: 1000, historyMaxBytes: 2_000_000, slowClient: 'drop', maxBufferedBytes: 10_000_000 })
  app.get('/', (_request, reply) => { reply.sse('a') })
  app.get('/last', (_request, reply) => { reply.sse('a') })
  const socketPath = unixSocket(t)
  await app.listen({ path: socketPath })
  const data = 'x'.repeat(10_000)
  const publish = async (count: number): Promise<void> => {
    for (; count > 0; count--) await app.sse.toChannel('a', 'tick', data, { raw: true })
  }
  await publish(150)
  const client = new StreamClient({ socketPath }, '/')
  t.teardown(() => client.destroy())
  await client.until(() => client.events.length > 0)
  client.pause()
  // The socket is now full, in the middle of the replay.
  let replayed = -1
  for (let turns = 0; turns < 100; turns++) {
    await new Promise(resolve => setImmediate(resolve))
    const now = app.sse.stats()
    if (now.bufferedBytes === 0 || now.replayed !== replayed) turns = 0
    replayed = now.replayed
  }
  t.ok(replayed < 150)
  await publish(150)
  client.resume()
  await app.sse.send('end', null)
  await client.untilEvent('end')
  const names = client.events.map(({ event }) => event)
  t.equal(names.filter(name => name === 'sse:gap').length, 1)
  const gap = names.indexOf('sse:gap')
  t.equal(client.events[gap]!.data, '{"lost":null}')
  t.equal(gap, replayed + 1, 'it comes where something is missing')
  t.ok(names.length - gap > 150, 'what was published since the client came is complete')
  t.equal(client.greeting?.recovered, false)
})

t.test('a state that was replaced meanwhile is not shared any more, and removals are not shared with new clients', async t => {
  const past = new Past()
  const add = (key: string, data: string, remove = false): void => past.history.add(keptEvent(++past.position, `data: ${data}\n\n`, { key, remove }), ['a'])
  add('x', 'x1')
  add('y', 'y1')
  add('z', 'z1')
  add('z', 'z2', true)
  const [first, second, third] = [past.replay(), past.replay(), past.replay({ fresh: false })]
  t.equal(textOf(past.replays.page(first).chunks), 'data: x1\n\ndata: y1\n\n')
  t.equal(textOf(past.replays.page(third).chunks), 'data: x1\n\ndata: y1\n\ndata: z2\n\n')
  add('x', 'x2')
  t.equal(textOf(past.replays.page(second).chunks), 'data: y1\n\n')
})
