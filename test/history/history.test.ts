// Which events the history keeps: by number, by age and by bytes.
import assert from 'node:assert/strict'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { History, type KeptEvent } from '../../lib/history/history.js'
import { buildApp } from '../support/app.js'
import { keptEvent } from '../support/kept-event.js'
import { ModelHistory } from '../support/model-history.js'
import { opener, receivedNames } from '../support/open.js'
import { Random } from '../support/random.js'
import { ended, spawnProgram } from '../support/spawn-program.js'

const MIB = 1024 * 1024

async function publish (app: FastifyInstance, channel: string, ...names: string[]): Promise<void> {
  for (const name of names) await app.sse.toChannel(channel, name, null)
}

t.test('the newest events of each channel are kept, as many as historySize says', async t => {
  const app = await buildApp(t, { historySize: 3 })
  const open = await opener(t, app)
  await publish(app, 'a', 'a1', 'a2', 'a3', 'a4', 'a5')
  await publish(app, 'b', 'b1', 'b2')
  t.strictSame(await receivedNames(await open('a')), ['a3', 'a4', 'a5'])
  t.strictSame(await receivedNames(await open('b')), ['b1', 'b2'])
  t.strictSame(await receivedNames(await open(['a', 'b'])), ['a3', 'a4', 'a5', 'b1', 'b2'])
})

t.test('by default, 50 events of each channel are kept', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const names = Array.from({ length: 60 }, (_, i) => `event-${i}`)
  await publish(app, 'a', ...names)
  t.strictSame(await receivedNames(await open('a')), names.slice(-50))
})

t.test('broadcasts are kept like a channel of their own', async t => {
  const app = await buildApp(t, { historySize: 2 })
  const open = await opener(t, app)
  await publish(app, 'a', 'a1', 'a2')
  for (const name of ['all1', 'all2', 'all3']) await app.sse.send(name, null)
  await publish(app, 'a', 'a3')
  t.strictSame(await receivedNames(await open('a')), ['a2', 'all2', 'all3', 'a3'])
  t.strictSame(await receivedNames(await open()), ['all2', 'all3'])
})

t.test('events of a busy channel do not remove those of a quiet channel', async t => {
  const app = await buildApp(t, { historySize: 5 })
  const open = await opener(t, app)
  await publish(app, 'quiet', 'kept')
  await publish(app, 'busy', ...Array.from({ length: 1000 }, (_, i) => `busy-${i}`))
  t.strictSame(await receivedNames(await open('quiet')), ['kept'])
})

t.test('an event for several channels is kept until the last of them removes it', async t => {
  const app = await buildApp(t, { historySize: 2 })
  const open = await opener(t, app)
  await app.sse.toChannels(['a', 'b'], 'both', null)
  await publish(app, 'a', 'a1', 'a2')
  t.equal(app.sse.stats().historyEvents, 3)
  t.strictSame(await receivedNames(await open('a')), ['a1', 'a2'])
  t.strictSame(await receivedNames(await open('b')), ['both'])
  await publish(app, 'b', 'b1', 'b2')
  t.equal(app.sse.stats().historyEvents, 4)
  t.strictSame(await receivedNames(await open('b')), ['b1', 'b2'])
})

t.test('with a historySize of 0 nothing is kept, and connected clients get everything', async t => {
  const app = await buildApp(t, { historySize: 0 })
  const open = await opener(t, app)
  const present = await open('a')
  await publish(app, 'a', 'a1', 'a2')
  await app.sse.send('all', null)
  t.strictSame(await receivedNames(present), ['a1', 'a2', 'all'])
  t.strictSame(await receivedNames(await open('a')), [])
  const { historyEvents, historyBytes } = app.sse.stats()
  t.strictSame({ historyEvents, historyBytes }, { historyEvents: 0, historyBytes: 0 })
})

t.test('events older than historyMaxAge are not replayed, and a client that missed them is told so', async t => {
  const app = await buildApp(t, { historyMaxAge: 30_000 })
  const open = await opener(t, app)
  const { id: first } = await app.sse.toChannel('a', 'old1', null)
  const { id: last } = await app.sse.toChannel('a', 'old2', null)
  // The clock jumps.
  const { now } = performance
  t.teardown(() => { performance.now = now })
  performance.now = () => now.call(performance) + 40_000
  await publish(app, 'b', 'new')
  const opened = async (lastEventId: string): Promise<unknown> => JSON.parse((await (await open('a', { lastEventId })).raw.untilEvents(1))[0]!.data)
  t.strictSame(await receivedNames(await open(['a', 'b'])), ['new'])
  t.match(await opened(first), { recovered: false })
  t.match(await opened(last), { recovered: true })
})

t.test('events older than historyMaxAge are removed from memory even if nobody publishes or connects', async t => {
  const app = await buildApp(t, { historyMaxAge: 20, heartbeatInterval: 40 })
  await app.ready()
  await publish(app, 'a', 'a1', 'a2')
  // The hub emits no event for this, so the test looks again and again.
  while (app.sse.stats().historyEvents > 0) await new Promise(resolve => setTimeout(resolve, 10))
  t.equal(app.sse.stats().historyBytes, 0)
})

t.test('above historyMaxBytes, the oldest events of all channels are removed first', async t => {
  const app = await buildApp(t, { historyMaxBytes: 50_000 })
  const open = await opener(t, app)
  const large = async (channel: string, name: string): Promise<void> => {
    await app.sse.toChannel(channel, name, 'x'.repeat(10_000))
    t.ok(app.sse.stats().historyBytes <= 50_000)
  }
  await large('a', 'a1')
  await large('b', 'b1')
  for (const name of ['c1', 'c2', 'c3']) await large('c', name)
  t.strictSame(await receivedNames(await open(['a', 'b', 'c'])), ['b1', 'c1', 'c2', 'c3'])
  await large('a', 'a2')
  t.strictSame(await receivedNames(await open(['a', 'b', 'c'])), ['c1', 'c2', 'c3', 'a2'])
  await app.sse.toChannel('a', 'larger than all', 'x'.repeat(60_000))
  t.strictSame(await receivedNames(await open(['a', 'b', 'c'])), [])
  t.equal(app.sse.stats().historyBytes, 0)
})

t.test('stats() counts kept events, each once even if it has several channels, until they are removed', async t => {
  const app = await buildApp(t, { historySize: 2, historyMaxBytes: 100_000 })
  const kept = (): number => app.sse.stats().historyEvents
  const bytes = (): number => app.sse.stats().historyBytes
  t.equal(bytes(), 0)
  await app.sse.toChannels(['a', 'b', 'c'], 'one', null)
  t.equal(kept(), 1)
  await publish(app, 'a', 'two')
  t.equal(kept(), 2)
  const small = bytes()
  await app.sse.toChannel('a', 'wide', '日'.repeat(1000))
  t.ok(bytes() >= small + 2000, 'two bytes for each character that is not Latin-1')
  await publish(app, 'a', 'three', 'four')
  await app.sse.send('gone at once', 'x'.repeat(200_000))
  t.strictSame([kept(), bytes()], [0, 0])
})

/** Runs a program that measures its own heap with some kinds of events. */
async function heapGrowth (t: Test, ...kinds: string[]): Promise<void> {
  const { code, stdout, stderr } = await ended(spawnProgram(t, 'test/support/processes/heap-growth.ts', { nodeArgs: ['--expose-gc'], args: kinds }))
  t.equal(code, 0, stderr)
  const lines = stdout.trim().split('\n').map(line => JSON.parse(line) as { kind: string, cap: number, growth: number, counted: number })
  t.strictSame(lines.map(({ kind }) => kind), kinds)
  for (const { kind, cap, growth, counted } of lines) {
    t.ok(counted <= cap, `${kind}: what stats() counts is within the cap`)
    t.ok(growth <= 1.3 * cap, `${kind}: the process grew by ${(growth / MIB).toFixed(1)} MiB with a cap of ${cap / MIB} MiB`)
    t.ok(growth >= 0.3 * cap, `${kind}: the cap is made use of (${(growth / MIB).toFixed(1)} MiB)`)
  }
}

t.test('historyMaxBytes limits the real memory of the process', { jobs: 2 }, async t => {
  t.test('with small events, and long names', async t => {
    await heapGrowth(t, 'small events', 'small non-Latin-1 events', 'long event names', 'long excepted ids')
  })
  t.test('with many channels, and large events', async t => {
    await heapGrowth(t, 'a channel for each event', 'many channels', 'long channel names', 'long non-Latin-1 channel names',
      'events for many channels', 'large events', 'large non-Latin-1 events')
  })
  t.test('with states, and their removals', async t => {
    await heapGrowth(t, 'states', 'states with long non-Latin-1 keys', 'states of many channels', 'removals')
  })
  await t.end()
})

const TARGETS = ['', 'a', 'b', 'c', '\0id']

function essence ({ position, name, key, remove, text }: KeptEvent): Partial<KeptEvent> {
  return { position, name, key, remove, text }
}

t.test('History does the same as a simple model', async t => {
  const random = new Random()
  try {
    for (let round = 0; round < 60; round++) {
      // If only the number is limited, no target is ever forgotten, so the floors are exact.
      const maxBytes = random.pick([Infinity, Infinity, 1500, 6000])
      const size = random.pick([1, 3, 40, 1000])
      const history = new History({ size, maxAge: Infinity, maxBytes })
      const model = new ModelHistory(size)
      const ticks = [{ tick: -1, change: -1 }]
      let position = 0
      for (let step = 0; step < 120; step++) {
        position += 1 + random.below(3)
        const text = 'x'.repeat(random.below(300)) + random.pick(['', 'é', '日'])
        const targets = random.some(TARGETS, 0.3)
        // The model can't know which removals are dropped because of the bytes, so there are none with a limit of bytes.
        const key = random.pick(['', '', 'k', 'l', `k${random.below(60)}`])
        const remove = key !== '' && maxBytes === Infinity && random.chance(0.3)
        const event = keptEvent(position, text, { name: random.pick(['m', 'n']), except: random.pick(['', 'id']), key, remove })
        if (targets.length === 0) targets.push(random.pick(TARGETS))
        history.add(event, targets)
        model.add(event, targets)
        if (maxBytes !== Infinity) model.evict(history.count)
        ticks.push({ tick: history.tick, change: model.changes })

        assert.equal(history.count, model.count)
        assert.ok(history.bytes <= maxBytes)
        const asked = random.some(TARGETS)
        const after = random.below(position + 2)
        const to = random.chance(0.5) ? position : random.below(position + 2)
        const fresh = random.chance(0.5)
        const expected = model.range(asked, after, to, fresh)
        assert.deepEqual([...history.range(asked, after, to, fresh)].map(essence), expected.map(essence))
        assert.equal(history.first(asked, after, to, fresh), expected[0]?.position ?? 0)
        for (const target of TARGETS) assert.equal(history.has(target, after, to, fresh), model.range([target], after, to, fresh).length > 0)
        for (const target of TARGETS) assert.deepEqual([...history.states(target, 'm')].map(essence), model.states(target, 'm').map(essence))
        const { tick, change } = random.pick(ticks)
        const lost = history.lost(asked, after, tick)
        if (maxBytes === Infinity) assert.equal(lost, model.lost(asked, after, change), `lost(${asked}, ${after}, ${tick})`)
        else if (model.lost(asked, after, change)) assert.ok(lost, 'a loss is known')
        else if (!model.lost(null, after, change)) assert.ok(!lost, 'where nothing went, nothing is lost')
      }
    }
    t.pass('in 7,200 steps')
  } catch (error) {
    t.comment(`SEED=${random.seed}`)
    throw error
  }
})

t.test('History that a broker fills later has the same as one that was there from the beginning', async t => {
  const random = new Random()
  try {
    for (let round = 0; round < 300; round++) {
      const size = random.pick([1, 3, 10, 1000])
      const history = new History({ size, maxAge: Infinity, maxBytes: Infinity })
      const broker = new ModelHistory(size)
      let position = 0
      const publish = (): [KeptEvent, string[]] => {
        position += 1 + random.below(3)
        const key = random.pick(['', '', 'k', 'l', `k${random.below(12)}`])
        const event = keptEvent(position, 'x', { key, remove: key !== '' && random.chance(0.3) })
        const targets = random.some(TARGETS, 0.3)
        if (targets.length === 0) targets.push(random.pick(TARGETS))
        broker.add(event, targets)
        return [event, targets]
      }
      for (let count = random.below(40); count > 0; count--) publish()
      history.skipTo(position)
      const filled = new Set<string>()
      for (let step = 0; step < 60; step++) {
        if (random.chance(0.8)) {
          history.add(...publish())
        } else {
          const target = random.pick(TARGETS)
          if (filled.has(target)) continue
          filled.add(target)
          history.fill(target, broker.range([target], 0, position, false).map(event => ({ ...event, age: 0 })), broker.floor(target), position)
        }
        const asked = [...filled]
        const after = random.below(position + 2)
        const fresh = random.chance(0.5)
        assert.deepEqual([...history.range(asked, after, position, fresh)].map(essence), broker.range(asked, after, position, fresh).map(essence))
        for (const target of filled) {
          assert.equal(history.lost([target], after, -1), broker.lost([target], after, -1), `lost(${target}, ${after})`)
          assert.deepEqual([...history.states(target, 'n')].map(essence), broker.states(target, 'n').map(essence))
        }
        assert.ok(!history.lost(asked, 0, history.tick))
      }
    }
    t.pass('in 18,000 steps')
  } catch (error) {
    t.comment(`SEED=${random.seed}`)
    throw error
  }
})

t.test('states that were filled in are all there where newer ones of their key had gone', async t => {
  const history = new History({ size: 10, maxAge: Infinity, maxBytes: Infinity })
  history.skipTo(10)
  for (const position of [11, 12, 13]) history.add(keptEvent(position, 'x', { key: 'a' }), ['t'])
  history.fill('t', [{ ...keptEvent(5, 'x', { key: 'b' }), age: 0 }], 0, 13)
  t.strictSame([...history.range(['t'], 0, 13)].map(({ position }) => position), [5, 13])
  for (let position = 14; position < 100; position++) history.add(keptEvent(position, 'x', { key: position % 3 === 0 ? 'c' : 'a' }), ['t'])
  t.strictSame([...history.range(['t'], 0, 100)].map(({ position }) => position), [5, 98, 99])
})

t.test('a state is replaced among 100,000 others, in whatever order they change', async t => {
  const random = new Random()
  const history = new History({ size: 100_000, maxAge: Infinity, maxBytes: Infinity })
  const newest = new Map<string, number>()
  let position = 0
  const set = (key: string): void => {
    // Most steps are small, and some are large: no place can be found by counting positions.
    position += random.chance(0.001) ? 1_000_000 : 1 + random.below(2)
    newest.delete(key)
    newest.set(key, position)
    history.add(keptEvent(position, 'x', { key }), ['t'])
  }
  for (let key = 0; key < 100_000; key++) set(`k${key}`)
  for (let count = 0; count < 150_000; count++) set(`k${random.chance(0.5) ? random.below(100_000) : random.below(100)}`)
  for (let key = 99_999; key > 50_000; key--) set(`k${key}`)
  t.comment(`SEED=${random.seed}`)
  const expected = [...newest.values()]
  t.ok([...history.range(['t'], 0, position)].every((event, index) => event.position === expected[index]))
  t.equal(history.count, 100_000)
  for (const after of [0, 1, expected[500]!, expected[99_998]!, position]) {
    t.equal(history.first(['t'], after, position), expected.find(each => each > after) ?? 0)
  }
})

const nothing = (history: History, name: string, count: number, known: number): void => {
  for (let index = 0; index < count; index++) history.fill(`${name} ${index}`, [], 0, known)
}

t.test('a loss that a replay has to be told of stays one while other targets are forgotten', async t => {
  const history = new History({ size: 10, maxAge: Infinity, maxBytes: 20_000 })
  history.skipTo(1)
  nothing(history, 'empty', 10_000, 1)
  history.add(keptEvent(2, 'x'), ['a'])
  const told = history.tick
  history.add(keptEvent(3, 'x'.repeat(30_000)), ['b'])
  t.ok(history.lost(['a'], 1, told))
  nothing(history, 'more', 1, 3)
  t.ok(history.lost(['a'], 1, told))
})

t.test('events that take exactly historyMaxBytes are kept, and one more removes the oldest', async t => {
  const keep = (maxBytes: number, count: number): History => {
    const history = new History({ size: 10, maxAge: Infinity, maxBytes })
    for (let position = 1; position <= count; position++) history.add(keptEvent(position, 'x'), ['a'])
    return history
  }
  const { bytes } = keep(Infinity, 3)
  t.equal(keep(bytes, 3).count, 3)
  t.equal(keep(bytes, 4).count, 3)
})

t.test('a broker is asked for a target that was forgotten among more than 10,000 empty ones', async t => {
  const history = new History({ size: 10, maxAge: Infinity, maxBytes: Infinity })
  history.skipTo(100)
  nothing(history, 'empty', 10_001, 100)
  t.strictSame(history.unfilled(['another', 'empty 0', 'empty 10000'], 50), ['another', 'empty 0'])
})

t.test('a target that was empty when it was filled is not forgotten once it has an event', async t => {
  const history = new History({ size: 10, maxAge: Infinity, maxBytes: Infinity })
  history.skipTo(100)
  history.fill('a', [], 0, 100)
  history.add(keptEvent(101, 'x'), ['a'])
  nothing(history, 'empty', 10_001, 101)
  t.strictSame([...history.range(['a'], 0, 101)].map(({ position }) => position), [101])
  t.notOk(history.lost(['a'], 0, -1))
})

t.test('targets that are known to be empty leave room for the events of a small history', async t => {
  const history = new History({ size: 10, maxAge: Infinity, maxBytes: 100_000 })
  history.skipTo(100)
  nothing(history, 'empty', 12_000, 100)
  for (let position = 101; position <= 110; position++) history.add(keptEvent(position, 'x'.repeat(1000)), ['a', 'empty 11999'])
  t.equal(history.count, 10)
  t.ok(history.bytes > 10_000 && history.bytes < 20_000)
  const { bytes } = history
  nothing(history, 'empty', 12_000, 100)
  t.equal(history.bytes, bytes)
  history.add(keptEvent(111, 'x'.repeat(200_000)), ['b'])
  t.strictSame([history.count, history.bytes], [0, 0])
})

t.test('History frees everything that it has counted', async t => {
  const history = new History({ size: 3, maxAge: 0, maxBytes: Infinity })
  for (let position = 1; position <= 100; position++) {
    const key = position % 3 === 0 ? '' : `key ${position % 11}`
    history.add(keptEvent(position, 'text', { key, remove: key !== '' && position % 4 === 0 }), [`target-${position % 7}`, 'all'])
  }
  const last = performance.now()
  while (performance.now() === last);
  history.expire()
  t.strictSame([history.count, history.bytes], [0, 0])
  t.ok(history.lost(['target-1'], 98, -1))
  t.ok(history.lost(['never used'], 99, -1), 'a forgotten target might have been any')
  t.notOk(history.lost(['all', 'never used'], 100, -1))
})
