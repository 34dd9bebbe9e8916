// Batches: lists of waiting events that clients share, and the chunks of bytes that are made of them.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Client } from '../../lib/client/client.js'
import { Outbox } from '../../lib/client/outbox.js'
import { Batches, Frame, type Batch } from '../../lib/wire/batch.js'
import { Plain } from '../../lib/wire/encoding.js'
import { coreOf } from '../../lib/hub/hub.js'
import { Chunk, MAX_WRITE } from '../../lib/wire/chunk.js'
import { buildApp } from '../support/app.js'
import { dechunk } from '../support/raw-client.js'
import { opener, receivedNames } from '../support/open.js'
import { Random } from '../support/random.js'

function frame (text: string): Frame {
  return new Frame(text, Buffer.byteLength(text))
}

t.test('clients with the same waiting events have the same list, whichever way it was made', async t => {
  const batches = new Batches()
  const { empty } = new Plain()
  let one = empty
  let other = empty
  for (const text of ['a', 'b', 'c']) {
    const event = frame(text)
    // In one publish, each client gets the event through another channel.
    one = batches.add(one, event)
    other = batches.add(other, event)
    batches.forgetMemos()
    t.equal(one, other)
  }
  t.equal(one.count, 3)
  t.equal(one.size, 3)
  const alone = batches.add(empty, frame('d'))
  t.not(alone, one)
  t.equal(one.chunk(), other.chunk())
})

t.test('a list does not change when an event is added to it', async t => {
  const batches = new Batches()
  const { empty } = new Plain()
  const first = batches.add(empty, frame('a'))
  batches.forgetMemos()
  const second = batches.add(first, frame('b'))
  batches.forgetMemos()
  t.equal(second.chunk().payload().toString(), 'ab')
  t.equal(first.chunk().payload().toString(), 'a')
  t.equal(empty.count, 0)
})

t.test('the memos of a publish are removed after it', async t => {
  const batches = new Batches()
  const { empty } = new Plain()
  const event = frame('a')
  const before = batches.add(empty, event)
  const behind = batches.add(before, frame('b'))
  batches.forgetMemos()
  t.equal(empty.next, null)
  t.equal(before.next, null)
  t.not(batches.add(empty, event), before)
  t.not(batches.add(before, frame('b')), behind)
})

t.test('where a publish breaks off in the middle, no client of another channel gets its event', async t => {
  const app = await buildApp(t, { historySize: 0 })
  const open = await opener(t, app)
  const [first, second, stranger] = [await open('room'), await open('room'), await open('other')]
  const { push } = Outbox.prototype
  t.teardown(() => { Outbox.prototype.push = push })
  Outbox.prototype.push = function (frame) {
    if (this as unknown === second.client) throw new Error('broken off')
    push.call(this, frame)
  }
  const publishes = [app.sse.toChannel('room', 'secret', 1), app.sse.toChannel('other', 'open', 2)]
  t.same((await Promise.allSettled(publishes)).map(({ status }) => status), ['rejected', 'fulfilled'])
  Outbox.prototype.push = push
  t.same(await receivedNames(stranger), ['open'])
  t.same(await receivedNames(first), ['secret'])
})

t.test('the bytes of a list are those of its events in order, joined once, even if parts were joined before', async t => {
  const random = new Random()
  t.comment(`seed ${random.seed}`)
  for (let run = 0; run < 200; run++) {
    const batches = new Batches()
    const { empty } = new Plain()
    let list = empty
    let expected = ''
    for (let n = 1 + random.below(20); n > 0; n--) {
      const text = random.pick(['a', 'ä', '€', '𝄞', 'data: x\n\n', 'x'.repeat(5000)]) + n
      expected += text
      list = batches.add(list, frame(text))
      batches.forgetMemos()
      if (random.chance(0.3)) list.chunk()
    }
    const chunk = list.chunk()
    if (chunk.payload().toString() !== expected) t.fail('other bytes')
    if (list.chunk() !== chunk) t.fail('joined twice')
    if (list.size !== Buffer.byteLength(expected)) t.fail('another size')
  }
})

t.test('a list takes events up to the size of one write, or a single larger event', async t => {
  const batches = new Batches()
  const { empty } = new Plain()
  const large = frame('x'.repeat(MAX_WRITE + 1))
  t.ok(empty.admits(large))
  const single = batches.add(empty, large)
  batches.forgetMemos()
  t.notOk(single.admits(frame('x')))
  const some = batches.add(empty, frame('x'.repeat(1000)))
  t.ok(some.admits(frame('x'.repeat(MAX_WRITE - 1000))))
  t.notOk(some.admits(frame('x'.repeat(MAX_WRITE - 999))))
})

t.test('a chunk, its parts and their joins have the same bytes, framed as RFC 9112 7.1 says', async t => {
  const random = new Random()
  t.comment(`seed ${random.seed}`)
  for (let run = 0; run < 50; run++) {
    const texts = Array.from({ length: 1 + random.below(5) }, () =>
      random.pick(['', 'é', '日本']) + 'x'.repeat(random.pick([1, 15, 16, 255, 256, 4096, MAX_WRITE - 1, MAX_WRITE, MAX_WRITE + 1, 200_000])))
    const bytes = Buffer.from(texts.join(''))
    const chunks = texts.map(text => Chunk.fromText(text, Buffer.byteLength(text)))
    const joined = Chunk.join(chunks, bytes.length)
    if (joined.size !== bytes.length || !joined.payload().equals(bytes)) t.fail('the join holds other bytes')
    if (!dechunk(joined.framed).body.equals(bytes)) t.fail('the frame of the join holds other bytes')
    const pieces = joined.pieces()
    if (pieces !== joined.pieces() && pieces.length > 1) t.fail('cut twice')
    if (pieces.some(({ size }) => size === 0 || size > MAX_WRITE)) t.fail('a piece of the wrong size')
    if (!Buffer.concat(pieces.map(piece => piece.payload())).equals(bytes)) t.fail('the pieces hold other bytes')
    if (!dechunk(Buffer.concat(pieces.map(piece => piece.framed))).body.equals(bytes)) t.fail('the frames of the pieces hold other bytes')
    if (!chunks[0]!.payload().equals(Buffer.from(texts[0]!))) t.fail('a part was changed')
  }
})

t.test('without an id to tell, an event has no id line, because an empty one makes a browser forget its place', async t => {
  const text = 'event: x\ndata: 1\nid: e-7\n\n'
  const event = new Frame(text, text.length, false, { position: 7, id: 'e-7', before: '', targets: null, states: null })
  t.notMatch(event.withId('').chunk().payload().toString(), /^id/m)
  t.match(event.withId('e-3').chunk().payload().toString(), /^id: e-3$/m)
})

t.test('a join of one chunk is the same chunk', async t => {
  const chunk = Chunk.fromText('x', 1)
  t.equal(Chunk.join([chunk], 1), chunk)
})

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Watches the lists that a hub makes. The function that it returns tells how many of them are still in memory. */
function watchLists (app: FastifyInstance): () => Promise<number> {
  const { delivery: { batches } } = coreOf(app.sse)
  const lists = new Set<WeakRef<Batch>>()
  const add = batches.add.bind(batches)
  batches.add = (batch, frame) => {
    const list = add(batch, frame)
    lists.add(new WeakRef(list))
    return list
  }
  return async () => {
    // A WeakRef keeps its target until the end of the turn in which it was made or read.
    await new Promise(resolve => setImmediate(resolve))
    collectGarbage()
    return new Set(Array.from(lists, list => list.deref()).filter(list => list !== undefined)).size
  }
}

t.test('an idle hub keeps no list after its delivery', async t => {
  const app = await buildApp(t, { historySize: 0 })
  const open = await opener(t, app)
  const held = watchLists(app)
  const streams = [await open('a'), await open('b'), await open(['a', 'b'])]
  for (let n = 0; n < 300; n++) {
    app.sse.toChannel('a', 'message', n)
    app.sse.toChannel('b', 'message', n)
    if (n % 50 === 0) await app.sse.send('message', 'x'.repeat(70_000))
  }
  await app.sse.send('last', null)
  await Promise.all(streams.map(({ raw }) => raw.until(() => raw.text.includes('event: last\ndata: null\n'))))
  t.equal(await held(), 0)
})

t.test('a client for which one event waits keeps only that event', async t => {
  const app = await buildApp(t, { historySize: 0 })
  const open = await opener(t, app)
  const held = watchLists(app)
  const other = await open('other')
  const { raw: late, client } = await open('late')
  await late.untilEvents(1)
  late.socket.pause()
  // Then its socket refuses bytes, and the hub holds none of them.
  while (!(client as unknown as Client).blocked) await app.sse.toChannel('late', 'filling', 'x'.repeat(60_000), { raw: true })
  await app.sse.toChannels(['late', 'other'], 'message', 'both')
  for (let n = 0; n < 1000; n++) await app.sse.toChannel('other', 'message', n)
  await other.raw.until(() => other.raw.text.includes('data: 999\n'))
  t.equal(await held(), 1)
  late.socket.resume()
  await late.until(() => late.text.includes('event: message\n'))
  t.match(late.events.at(-1), { data: '"both"' })
})
