// Replays share their bytes. These tests check which of them share, and that sharing never changes what a client gets.
import assert from 'node:assert/strict'
import t from 'tap'
import { Compression } from '../../lib/wire/compression.js'
import { Plain } from '../../lib/wire/encoding.js'
import { GzipStream } from '../../lib/wire/gzip.js'
import { History, type HistoryLimits } from '../../lib/history/history.js'
import type { PastEvent } from '../../lib/history/target-history.js'
import { Replays, type Page, type Replay } from '../../lib/history/replay.js'
import { MAX_WRITE, type Chunk } from '../../lib/wire/chunk.js'
import { buildApp } from '../support/app.js'
import { gunzipWhole } from '../support/gunzip.js'
import { keptEvent } from '../support/kept-event.js'
import { Random } from '../support/random.js'
import { StreamClient } from '../support/stream-client.js'
import { unixSocket } from '../support/unix-socket.js'
import { ended, spawnProgram } from '../support/spawn-program.js'

/** Positions in a block: see BLOCK in lib/history/grid.ts. */
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
  add (targets: string | readonly string[] = 'a', { name = 'tick', except = '', padding = 0, key = '', remove = false } = {}): void {
    const position = ++this.position
    const text = `event: ${name}\ndata: ${position} ${'x'.repeat(padding)}\n\n`
    this.history.add(keptEvent(position, text, { name, except, key, remove }), typeof targets === 'string' ? [targets] : targets)
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

/** What the broker kept of an event. */
function pastEvent (random: Random, position: number): PastEvent {
  const key = random.pick(['', '', `k${random.below(40)}`])
  return { ...keptEvent(position, `data: past ${position}\n\n`, { except: random.pick(['', 'alice']), key, remove: key !== '' && random.chance(0.2) }), age: 0 }
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

t.test('only the clients that an event of a block excepts have a block of their own', async t => {
  const past = new Past()
  past.addMany(BLOCK)
  past.addMany(5)
  past.add('a', { except: 'alice' })
  past.add('a', { except: 'carol' })
  past.addMany(2 * BLOCK - 7)
  const bob = past.chunks({ clientId: 'bob' })
  t.strictSame(shared(bob, past.chunks({ clientId: 'dave' })), [true, true, true])
  t.match(textOf(bob), `data: ${BLOCK + 6} \n`)
  t.match(textOf(bob), `data: ${BLOCK + 7} \n`)
  for (const [clientId, at] of [['alice', 6], ['carol', 7]] as const) {
    for (const turn of [1, 2]) {
      const own = past.chunks({ clientId })
      t.strictSame(shared(bob, own), [true, false, true], `${clientId}, turn ${turn}`)
      t.equal(textOf(own), textOf(bob).replace(`event: tick\ndata: ${BLOCK + at} \n\n`, ''))
    }
  }
  t.strictSame(shared(bob, past.chunks({ clientId: 'bob' })), [true, true, true], 'theirs are not given to others')
})

t.test('a client that is excepted shares the blocks after its own, also where others split them by their size', async t => {
  const past = new Past()
  for (let i = 0; i < BLOCK; i++) past.add('a', { padding: 5000, except: i < 20 && i % 2 === 0 ? 'alice' : '' })
  const bob = past.chunks({ clientId: 'bob' })
  const alice = past.chunks({ clientId: 'alice' })
  t.equal(alice.length, bob.length)
  t.strictSame(shared(bob, alice), bob.map((_chunk, index) => index > 1))
})

t.test('a client that wants some event names shares with others that want them, whoever the other events except', async t => {
  const past = new Past()
  past.addMany(BLOCK, 'a', { name: 'tick' })
  past.add('a', { name: 'tock', except: 'alice' })
  const names = new Set(['tick'])
  t.strictSame(shared(past.chunks({ names, clientId: 'bob' }), past.chunks({ names, clientId: 'alice' })), [true])
})

t.test('a room on a hub with 1,000 busy rooms has as few blocks as one that is alone', async t => {
  const past = new Past()
  for (let round = 0; round < 50; round++) for (let room = 0; room < 1000; room++) past.add(`room ${room}`)
  const first = past.chunks({ targets: ['room 7'] })
  t.equal(first.length, 1)
  for (let room = 8; room < 1000; room++) past.add(`room ${room}`)
  t.strictSame(shared(first, past.chunks({ targets: ['room 7'] })), [true], 'also after events of other rooms')
  past.add('room 7')
  t.strictSame(shared(first, past.chunks({ targets: ['room 7'] })), [false])
  const two = past.chunks({ targets: ['room 7', 'room 8'] })
  t.equal(two.length, 1)
  t.strictSame(shared(two, past.chunks({ targets: ['room 8', '\0bob', 'room 7'] })), [true])
})

t.test('clients of several channels that begin at different events come to the same blocks', async t => {
  const past = new Past()
  const targets = ['a', 'b', 'c', 'd']
  for (let round = 0; round < 4 * BLOCK; round++) for (const target of targets) past.add(target)
  const whole = past.chunks({ targets })
  const one = past.chunks({ targets, cursor: 100 })
  const other = past.chunks({ targets, cursor: 150 })
  t.ok(one.length < whole.length + 4)
  t.strictSame(shared(one.slice(-10), whole.slice(-10)), Array(10).fill(true))
  t.strictSame(shared(other.slice(-10), whole.slice(-10)), Array(10).fill(true))
  t.ok(textOf(whole).endsWith(textOf(one)))
})

t.test('a page looks at a limited number of events, and the replay goes on after it', async t => {
  const past = new Past({ size: 100_000 })
  const targets = Array.from({ length: 100 }, (_, index) => `channel ${index}`)
  for (let i = 0; i < 20_000; i++) past.add(targets[i % 100], { name: i % 7000 === 6999 ? 'rare' : 'tick' })
  const names = new Set(['rare'])
  for (const settings of [{ targets: targets.slice(0, 1) }, { targets }, { targets, names }, { targets, names: new Set<string>() }]) {
    // A new object has no blocks of others.
    const replays = new Replays(past.history, Infinity, MAX_WRITE)
    const replay = past.replay(settings)
    let text = ''
    while (replay.cursor < replay.end) {
      const { cursor } = replay
      text += textOf(replays.page(replay).chunks)
      t.ok([...past.history.range(settings.targets, cursor, replay.cursor)].length <= 4096)
    }
    const expected = [...past.history.range(settings.targets, 0, past.position)].filter(({ name }) => settings.names?.has(name) ?? true)
    t.equal(text, expected.map(event => event.text).join(''))
  }
})

t.test('a page looks at a limited number of events, also where those of many channels come after those of the longest', async t => {
  const past = new Past()
  const targets = Array.from({ length: 100 }, (_, index) => `channel ${index}`)
  past.addMany(300, targets[0])
  for (let i = 0; i < 20_000; i++) past.add(targets[1 + i % 99])
  const replay = past.replay({ targets, names: new Set<string>() })
  while (replay.cursor < replay.end) {
    const { cursor } = replay
    past.replays.page(replay)
    t.ok([...past.history.range(targets, cursor, replay.cursor)].length <= 4096)
  }
})

t.test('a client gets nothing after the end of its replay, though the block of others goes on', async t => {
  const past = new Past()
  past.addMany(30, 'a', { padding: 5000 })
  const whole = past.chunks()
  t.ok(whole.length > 2, 'the first block is full before its end')
  t.equal(textOf(whole), past.text())
  for (const end of [1, 5, 29]) t.equal(past.text({ end }), [...past.history.range(['a'], 0, end)].map(({ text }) => text).join(''))
  t.equal(past.chunks({ end: 29 })[0], past.chunks()[0])
})

t.test('a page of a compressed replay compresses little more than two writes', async t => {
  const past = new Past()
  past.addMany(5000, 'a', { padding: 100 })
  const replays = new Replays(past.history, Infinity, 100 * MAX_WRITE)
  const replay = past.replay({ encoding: new Compression({ threshold: 256, level: 3 }) })
  const { cursor } = replay
  replays.page(replay)
  const bytes = [...past.history.range(['a'], cursor, replay.cursor)].reduce((sum, { size }) => sum + size, 0)
  t.ok(bytes > MAX_WRITE && bytes < 3 * MAX_WRITE, `${bytes} bytes`)
})

t.test('a block of states is made anew after one of them was replaced or removed', async t => {
  const past = new Past()
  const state = (key: string, remove = false): void => {
    const position = ++past.position
    past.history.add(keptEvent(position, `data: ${key} ${position}\n\n`, { key, remove }), ['a'])
  }
  for (let i = 0; i < 300; i++) state(`k${i}`)
  const texts = (): string[] => past.text().split('\n\n').slice(0, -1).map(text => text.split(' ')[1]!)
  t.equal(texts().length, 300)
  t.strictSame(shared(past.chunks(), past.chunks()), [true, true])
  state('k7')
  t.strictSame(texts().slice(-2), ['k299', 'k7'])
  t.equal(texts().length, 300)
  state('k7', true)
  t.equal(texts().length, 299)
  for (let i = 0; i < 290; i++) state(`k${i}`)
  t.strictSame(texts(), [...Array.from({ length: 10 }, (_, i) => `k${290 + i}`), ...Array.from({ length: 290 }, (_, i) => `k${i}`)])
})

t.test('no block is served of positions that were skipped, even if they come again', async t => {
  const past = new Past()
  past.addMany(10)
  t.match(past.text(), /data: 10 /)
  past.history.skipTo(0)
  past.history.add(keptEvent(1, 'another\n\n'), ['a'])
  past.history.add(keptEvent(10, 'and one more\n\n'), ['a'])
  t.equal(past.text(), 'another\n\nand one more\n\n')
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
      const excepts = random.pick([0, 0.02, 0.3])
      const keyed = random.pick([0, 0, 0.3])
      const unfilled = new Set(targets)
      // The broker knows events from before this instance began, some for several targets.
      const known = Array.from({ length: 100 }, (_, i) => pastEvent(random, 10 * i + 1))
      past.position = 1000
      past.history.skipTo(1000)
      for (let step = 0; step < 60; step++) {
        const dense = random.chance(0.5)
        for (let count = random.below(80); count > 0; count--) {
          const where = random.some(targets, dense ? 0.7 : 0.2)
          if (where.length === 0) where.push('b')
          const key = random.chance(keyed) ? `k${random.below(40)}` : ''
          past.add(where, {
            key,
            remove: key !== '' && random.chance(0.2),
            name: random.pick(['tick', 'tock']),
            except: random.chance(excepts) ? random.pick(['alice', 'bob']) : '',
            padding: random.chance(0.02) ? random.below(90_000) : random.below(100)
          })
        }
        const clientId = random.pick(['alice', 'bob'])
        ongoing.push(past.replay({
          targets: random.some(targets),
          names: random.pick([null, null, new Set(['tick']), new Set<string>()]),
          clientId,
          fresh: random.chance(0.5),
          cursor: random.chance(0.5) ? 0 : random.below(past.position + 1)
        }))
        if (random.chance(0.1)) {
          const target = random.pick(targets)
          if (unfilled.delete(target)) past.history.fill(target, random.some(known, 0.7), 0, 1000)
        }
        const replay = random.pick(ongoing)
        // `page` removes targets without later events from the replay, so they are read before.
        const { cursor, targets: asked } = replay
        const { chunks, count } = past.replays.page(replay)
        const expected = [...past.history.range(asked, cursor, replay.cursor, replay.fresh)]
          .filter(({ name, except, key }) => (except !== replay.clientId || (replay.fresh && key !== '')) && (replay.names === null || replay.names.has(name)))
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
