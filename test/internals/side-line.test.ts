// The side line: the events that wait for one client alone. Of each state only the newest event waits.
import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { Frame, type Place } from '../../lib/wire/batch.js'
import { SideLine } from '../../lib/client/side-line.js'
import { formatEvent, readEvent } from '../../lib/wire/format.js'
import { Random } from '../support/random.js'

const SIZE = frameOf(1, ['a'], 10).size

/** An event with a position in the hub's order. */
function frameOf (position: number, states: readonly string[] | null, pad = 10, { id = `id-${position}`, before = `id-${position - 1}` }: Partial<Place> = {}): Frame {
  const text = formatEvent(id, 'n', JSON.stringify({ position: String(position).padStart(6), pad: 'x'.repeat(pad) }), -1)
  return new Frame(text, Buffer.byteLength(text), false, { position, id, before, targets: null, states })
}

/** An event for this client alone. */
function direct (data: string): Frame {
  const text = formatEvent(null, 'direct', data, -1)
  return new Frame(text, Buffer.byteLength(text))
}

function push (line: SideLine, ...frames: Frame[]): number {
  return frames.reduce((sum, frame) => sum + line.push(frame, frame.place.states), 0)
}

function told (frame: Frame): string {
  return readEvent(frame.chunk().payload().toString()).id
}

function positions (frames: readonly Frame[]): number[] {
  return frames.map(({ place }) => place.position)
}

t.test('the newest event of each state waits, in the place of the oldest', async t => {
  const line = new SideLine()
  t.equal(push(line, frameOf(1, ['a']), frameOf(2, ['b']), frameOf(3, null), frameOf(4, ['b']), frameOf(5, ['a']), frameOf(6, ['c'])), 2)
  t.equal(line.places, 4)
  t.equal(line.size, 4 * SIZE)
  t.same(positions(line.take(Infinity)), [5, 4, 3, 6])
  t.equal(line.places, 0)
  t.equal(line.size, 0)
})

t.test('a state that was taken waits at the end of the line again', async t => {
  const line = new SideLine()
  push(line, frameOf(1, ['a']), frameOf(2, ['b']), frameOf(3, ['c']))
  t.same(positions(line.take(SIZE)), [1])
  push(line, frameOf(4, ['a']), frameOf(5, ['c']), frameOf(6, ['a']))
  t.same(positions(line.take(Infinity)), [2, 5, 6])
})

t.test('until the last event, each has the newest id below everything that still waits', async t => {
  const line = new SideLine()
  push(line, frameOf(1, ['a']), frameOf(2, ['b']), frameOf(3, ['c']), frameOf(4, ['b']), frameOf(5, ['a']))
  const first = line.take(2 * SIZE)
  t.same(positions(first), [5, 4])
  t.same(first.map(told), ['id-2', 'id-2'])
  t.same(line.take(SIZE).map(told), ['id-5'], 'the last one with the newest of all')
})

t.test('events that wait in the hub\'s order keep their ids, and are the same objects', async t => {
  const line = new SideLine()
  const frames = [frameOf(1, ['a']), frameOf(2, null), direct('x'), frameOf(3, ['b'])]
  push(line, ...frames)
  t.strictSame(line.take(Infinity), frames)
})

t.test('an event has no id if there is no id below everything that waits', async t => {
  const line = new SideLine()
  push(line, frameOf(1, ['a'], 10, { before: '' }), frameOf(2, ['b']), frameOf(3, ['c']), frameOf(4, ['a']))
  push(line, frameOf(5, ['d']))
  t.same(line.take(SIZE).map(told), ['id-1'])
  const other = new SideLine()
  push(other, frameOf(1, ['a'], 10, { before: '' }), frameOf(2, ['b'], 10, { before: '' }), frameOf(3, ['a']))
  t.same(other.take(SIZE).map(told), [''])
})

t.test('an event of several states waits until there are newer events for all of them', async t => {
  const line = new SideLine()
  t.equal(push(line, frameOf(1, ['a', 'b']), frameOf(2, ['a'])), 0)
  t.equal(line.places, 2)
  t.equal(push(line, frameOf(3, ['b'])), 1)
  t.same(positions(line.take(Infinity)), [3, 2])
})

t.test('an event of several states waits after all older events of these states', async t => {
  const line = new SideLine()
  t.equal(push(line, frameOf(1, ['a']), frameOf(2, ['b', 'c']), frameOf(3, null), frameOf(4, ['a', 'b'])), 1)
  t.same(positions(line.take(Infinity)), [2, 3, 4])
  t.equal(push(line, frameOf(5, ['a']), frameOf(6, null), frameOf(7, ['b']), frameOf(8, ['a', 'b'])), 2)
  t.same(positions(line.take(Infinity)), [6, 8])
})

t.test('a newer event replaces an older one if it has all its states that concern the client', async t => {
  const line = new SideLine()
  line.push(frameOf(1, ['mine', 'theirs 1']), ['mine'])
  t.equal(line.push(frameOf(2, ['mine', 'theirs 2']), ['mine']), 1)
  t.same(positions(line.take(Infinity)), [2])
})

t.test('an event that is not kept holds back the ids of the events that it has replaced', async t => {
  const line = new SideLine()
  push(line, frameOf(1, null), frameOf(2, ['a']), frameOf(3, null), frameOf(4, ['b']), frameOf(5, ['a'], 10, { id: null }))
  const first = line.take(SIZE)
  t.same(first.map(told), ['id-1'])
  t.same(positions(line.take(SIZE)), [5])
  t.same(line.take(Infinity).map(told), ['id-3', 'id-4'])
  push(line, frameOf(6, ['a', 'b']), frameOf(7, null), frameOf(8, ['a'], 10, { id: null }), frameOf(9, ['b']))
  // With a newer id, the client would not get event 6 after a reconnect. That is the newest kept state of "a".
  t.same(line.take(2 * SIZE).map(told), ['id-5', 'id-5'])
  t.same(positions(line.take(Infinity)), [8])
})

t.test('the oldest events are dropped first, however many were replaced', async t => {
  const line = new SideLine()
  push(line, frameOf(1, ['a']), frameOf(2, ['b']), frameOf(3, null), frameOf(4, ['a']))
  t.equal(line.drop(0), 0)
  t.equal(line.drop(SIZE + 1), 2)
  t.equal(line.places, 1)
  t.equal(push(line, frameOf(5, ['a'])), 0, 'what was given up is not replaced')
  t.same(positions(line.take(Infinity)), [3, 5])
  t.equal(line.drop(1), 0)
})

t.test('at least one event is taken, however large it is', async t => {
  const line = new SideLine()
  push(line, frameOf(1, ['a'], 1000), frameOf(2, ['b'], 1000))
  t.same(positions(line.take(1)), [1])
  t.same(positions(line.take(1)), [2])
  t.same(line.take(1), [])
})

/** The simplest model of a side line: its events, each with those of its states for which there is no newer event. */
class Model {
  readonly line: Array<{ frame: Frame, says: Set<string> }> = []

  push (frame: Frame): number {
    const states = frame.place.states ?? []
    const older = this.line.filter(({ says }) => states.some(state => says.has(state)))
    for (const { says } of older) for (const state of states) says.delete(state)
    const slot = { frame, says: new Set(states) }
    const gone = older.filter(({ says }) => says.size === 0)
    const last = older.at(-1)
    if (last !== undefined && gone.includes(last)) this.line[this.line.indexOf(last)] = slot
    else this.line.push(slot)
    for (const one of gone) if (this.line.includes(one)) this.line.splice(this.line.indexOf(one), 1)
    return gone.length
  }

  get size (): number {
    return this.line.reduce((sum, { frame }) => sum + frame.size, 0)
  }

  take (limit: number): Frame[] {
    let count = 0
    let size = 0
    for (const { frame } of this.line) {
      if (count > 0 && size + frame.size > limit) break
      size += frame.size
      count++
    }
    return this.line.splice(0, count).map(({ frame }) => frame)
  }

  drop (bytes: number): Frame[] {
    const dropped: Frame[] = []
    for (let size = 0; size < bytes && this.line.length > 0; size += dropped.at(-1)!.size) dropped.push(this.line.shift()!.frame)
    return dropped
  }
}

const STATES = ['a', 'b', 'c', 'd']

/** The life of one side line, and what its client has seen. */
class Run {
  readonly #random: Random
  readonly #transient: boolean
  readonly #line = new SideLine()
  readonly #model = new Model()
  /** All events that were put into the line. */
  readonly #pushed: Frame[] = []
  readonly #delivered: Frame[] = []
  readonly #dropped: Frame[] = []
  readonly #ids = new Map<string, number>([['id-0', 0]])
  #position = 0
  #newestId = 'id-0'
  /** The id from which the client would resume. */
  #told = 'id-0'

  constructor (random: Random) {
    this.#random = random
    this.#transient = random.chance(0.5)
  }

  step (): void {
    const random = this.#random
    switch (random.below(10)) {
      case 0: return this.#take(random.pick([1, 3 * SIZE, 1000]))
      case 1: return this.#take(SIZE)
      case 2: {
        if (!random.chance(0.2)) return
        const bytes = random.below(4 * SIZE)
        const dropped = this.#model.drop(bytes)
        assert.equal(this.#line.drop(bytes), dropped.length)
        this.#dropped.push(...dropped)
        return this.#checkLine()
      }
      case 3:
        // An event for other clients only. Its id may still be sent to this one.
        this.#next(false)
        return
      default: return this.#push()
    }
  }

  #next (transient: boolean): Place {
    const position = ++this.#position
    const before = this.#newestId
    const id = transient ? null : `id-${position}`
    if (id !== null) {
      this.#ids.set(id, position)
      this.#newestId = id
    }
    return { position, id, before, targets: null, states: null }
  }

  #push (): void {
    const random = this.#random
    const kind = random.below(8)
    let frame = direct('x')
    if (kind > 0) {
      const place = this.#next(this.#transient && random.chance(0.15))
      const states = kind === 1 ? null : kind < 6 ? [random.pick(STATES)] : random.some(STATES)
      frame = frameOf(place.position, states?.length === 0 ? null : states, random.below(3) * 10, place)
    }
    this.#pushed.push(frame)
    assert.equal(this.#line.push(frame, frame.place.states), this.#model.push(frame), 'as many are replaced')
    this.#checkLine()
  }

  #checkLine (): void {
    assert.equal(this.#line.size, this.#model.size)
    assert.equal(this.#line.places > 0, this.#model.line.length > 0)
    assert.ok(this.#line.places >= this.#model.line.length)
  }

  #take (limit: number): void {
    const expected = this.#model.take(limit)
    const taken = this.#line.take(limit)
    assert.deepEqual(positions(taken), positions(expected))
    this.#checkLine()
    for (const [i, frame] of taken.entries()) {
      const { id, text } = { id: told(frame), text: frame.chunk().payload().toString() }
      assert.equal(frame.size, Buffer.byteLength(text))
      assert.equal(readEvent(text).data, readEvent(expected[i]!.chunk().payload().toString()).data)
      assert.ok(id === '' || this.#ids.has(id), `${id} was given`)
      if (expected[i]!.place.id === null) assert.equal(id, '', 'what is not kept has no id')
      if (id !== '') this.#told = id
      this.#delivered.push(expected[i]!)
      this.#checkResume()
    }
  }

  /** Checks what a client would have if it were disconnected now and resumed. The history gives it the rest. */
  #checkResume (): void {
    const from = this.#ids.get(this.#told)!
    const seen = new Set(this.#delivered)
    const lost = new Set(this.#dropped)
    const kept = this.#pushed.filter(({ place }) => place.id !== null)
    for (const frame of kept) {
      const { states, position } = frame.place
      if (states === null && !lost.has(frame)) assert.ok(seen.has(frame) || position > from, `${position} would be lost behind ${this.#told}`)
    }
    for (const state of STATES) {
      const saying = ({ place: { states } }: Frame): boolean => states?.includes(state) === true
      const newest = kept.findLast(saying)
      if (newest === undefined || this.#dropped.some(saying)) continue
      const last = this.#delivered.findLast(saying)
      assert.ok(newest.place.position > from || (last !== undefined && last.place.position >= newest.place.position),
        `"${state}" would stay at ${last?.place.position}, and not get ${newest.place.position} behind ${this.#told}`)
    }
  }

  finish (): void {
    while (this.#line.places > 0) this.#take(this.#random.pick([SIZE, 1000]))
    assert.deepEqual(this.#line.take(1), [])
    const has = (state: string) => ({ place: { states } }: Frame): boolean => states?.includes(state) === true
    for (const state of STATES) {
      const said = positions(this.#delivered.filter(has(state)))
      assert.deepEqual(said, said.toSorted((a, b) => a - b), `"${state}" goes backwards`)
      if (!this.#dropped.some(has(state))) assert.equal(said.at(-1), this.#pushed.findLast(has(state))?.place.position)
    }
    const plain = (frames: Frame[]): number[] => positions(frames.filter(({ place: { states, position } }) => states === null && position > 0))
    const dropped = new Set(this.#dropped)
    assert.deepEqual(plain(this.#delivered), plain(this.#pushed.filter(frame => !dropped.has(frame))), 'those without a key all come, in order')
    const newest = this.#pushed.findLast(({ place }) => place.id !== null)
    if (!this.#transient && newest !== undefined && this.#dropped.length === 0) assert.equal(this.#told, newest.place.id, 'in the end the newest id is told')
  }
}

t.test('SideLine does the same as a simple model, and a client can resume from every id that it gives', async t => {
  const random = new Random()
  try {
    for (let round = 0; round < 1500; round++) {
      const run = new Run(random)
      for (let step = random.below(60); step > 0; step--) run.step()
      run.finish()
    }
    t.pass('in 1,500 lines')
  } catch (error) {
    t.comment(`SEED=${random.seed}`)
    throw error
  }
})

t.test('nothing is left of replaced events, however long no event is taken', async t => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const line = new SideLine()
  const [both, one, other] = [frameOf(2, ['a', 'b']), frameOf(3, ['a']), frameOf(4, ['b'])]
  push(line, frameOf(1, null))
  const held = (): number => {
    gc()
    return process.memoryUsage().heapUsed
  }
  const before = held()
  for (let round = 0; round < 200_000; round++) push(line, both, one, other)
  const growth = held() - before
  t.ok(growth < 500_000, `grew by ${growth} bytes`)
  t.equal(line.size, 3 * SIZE)
  t.equal(line.take(Infinity).length, 3)
  t.equal(line.places, 0)
})
