// The load client of the benchmarks must fail if an event was lost, sent twice or damaged. Otherwise its figures would be wrong.
import { constants, deflateRawSync } from 'node:zlib'
import t from 'tap'
import { EventReader } from '../bench/event-reader.js'
import { GzipReader, type Compressed } from '../bench/gzip-reader.js'
import { payloadOf } from '../bench/payload.js'
import { Random } from '../support/random.js'

const SIZE = 100
const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n'
const EVERY = Uint8Array.of(1)

/** Some servers begin an event with the id, others end it with the id. */
function eventOf (number: number, size = SIZE, idFirst = false): string {
  const event = `event: message\ndata: ${JSON.stringify(payloadOf(number, size).data)}\n`
  return idFirst ? `id: ${number}\n${event}\n` : `${event}id: ${number}\n\n`
}

function chunkOf (text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`
}

/** Reads a response in pieces of these sizes, again and again. */
function read (reader: EventReader, text: string | Buffer, sizes: readonly number[] = [text.length]): EventReader {
  const bytes = Buffer.from(text as string)
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const piece = bytes.subarray(at, at + sizes[turn % sizes.length]!)
    reader.read(piece, piece.length)
    at += piece.length
  }
  return reader
}

function everything (): EventReader {
  return new EventReader(SIZE, 1, EVERY)
}

t.test('every event is counted once, however a stream is cut into chunks and reads', async t => {
  const random = new Random()
  t.comment(`seed ${random.seed}`)
  for (let round = 0; round < 200; round++) {
    const count = 1 + random.below(40)
    const idFirst = random.chance(0.5)
    let stream = random.chance(0.5) ? 'retry: 3000\nevent: sse:open\ndata: {"clientId":"x","recovered":false}\n\n' : ':\n\n'
    for (let number = 1; number <= count; number++) {
      stream += eventOf(number, SIZE, idFirst)
      if (random.chance(0.2)) stream += ':\n\n'
    }
    let body = ''
    for (let at = 0; at < stream.length;) {
      const length = 1 + random.below(random.pick([3, 100, 1000]))
      body += chunkOf(stream.slice(at, at + length))
      at += length
    }
    const sizes = Array.from({ length: 5 }, () => 1 + random.below(random.pick([2, 50, 5000])))
    const reader = read(everything(), HEAD + body, sizes)
    t.equal(reader.events, count)
    t.equal(reader.next, count + 1)
    t.equal(reader.bytes, stream.length)
  }
})

t.test('a lost event, an event that comes twice and an event in the wrong order are errors', async t => {
  const stream = (...numbers: number[]): string => HEAD + chunkOf(numbers.map(number => eventOf(number)).join(''))
  t.throws(() => read(everything(), stream(1, 2, 4)), { message: 'event 4 came where 3 should have' })
  t.throws(() => read(everything(), stream(1, 2, 2)), { message: 'event 2 came where 3 should have' })
  t.throws(() => read(everything(), stream(2, 1)), { message: 'event 2 came where 1 should have' })
})

t.test('a client of some channels gets the events of these channels and no others', async t => {
  // There are four channels. The client is in the channel of events 1, 5, 9 … and in the channel of 2, 6, 10 …
  const steps = Uint8Array.of(1, 1, 3, 2)
  const stream = (...numbers: number[]): string => HEAD + chunkOf(numbers.map(number => eventOf(number)).join(''))
  t.equal(read(new EventReader(SIZE, 1, steps), stream(1, 2, 5, 6, 9)).next, 10)
  t.throws(() => read(new EventReader(SIZE, 1, steps), stream(1, 2, 3)), { message: 'event 3 came where 5 should have' })
})

t.test('if several publishers take turns, onNumber gets the numbers, checks them and sets the next one', async t => {
  const reader = everything()
  const numbers: number[] = []
  reader.onNumber = number => {
    numbers.push(number)
    reader.next++
  }
  read(reader, HEAD + chunkOf([2, 1, 4, 3].map(number => eventOf(number)).join('')))
  t.same(numbers, [2, 1, 4, 3])
  t.equal(reader.next, 5)
})

t.test('an event of another size does not count as a numbered event', async t => {
  const reader = read(everything(), HEAD + chunkOf(eventOf(1) + eventOf(2, SIZE + 1)))
  t.equal(reader.events, 1)
  t.equal(reader.next, 2)
})

t.test('an answer that is not a stream and a broken chunk are errors, and the end is noticed', async t => {
  t.throws(() => read(everything(), 'HTTP/1.1 503 Service Unavailable\r\n\r\n'), { message: 'answered with HTTP/1.1 503 Service Unavailable' })
  t.throws(() => read(everything(), 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n'), { message: 'not chunked' })
  t.throws(() => read(everything(), `${HEAD}zz\r\n`), { message: 'malformed chunk size' })
  t.throws(() => read(everything(), `${HEAD}3\r\n:\n\n!!`), { message: 'malformed chunk' })
  t.equal(read(everything(), HEAD + chunkOf(':\n\n')).ended, false)
  t.equal(read(everything(), HEAD + chunkOf(':\n\n') + '0\r\n\r\n').ended, true)
})

t.test('the time at which an event was published is read from it', async t => {
  const reader = everything()
  const times: number[] = []
  reader.onTime = time => times.push(time)
  const text = eventOf(1)
  read(reader, HEAD + chunkOf(text))
  t.same(times, [Number(/"at":"(\d+)"/.exec(text)![1])])
})

/** A gzip stream in pieces. The header is the first piece. Then each text is one, and ends with a flush. */
function gzipped (texts: readonly string[], window: boolean): Buffer[] {
  let before = Buffer.alloc(0)
  const blocks = texts.map(text => {
    const dictionary = window && before.length > 0 ? before : undefined
    before = Buffer.concat([before, Buffer.from(text)])
    return deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH, dictionary })
  })
  return [Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]), ...blocks]
}

function chunksOf (pieces: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from(HEAD), ...pieces.flatMap(piece => [Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')])])
}

const TEXTS = [':\n\n', eventOf(1), eventOf(2) + eventOf(3), eventOf(4)]

function compressed (kind: Compressed): GzipReader {
  return new GzipReader(SIZE, 1, EVERY, kind, true)
}

t.test('compressed streams are checked event by event, whether each client has its own or blocks are shared', async t => {
  for (const kind of ['blocks', 'stream'] as const) {
    for (const sizes of [[1], [7, 300], [100_000]]) {
      const reader = read(compressed(kind), chunksOf(gzipped(TEXTS, kind === 'stream')), sizes) as GzipReader
      t.equal(reader.events, 4)
      t.equal(reader.next, 5)
      reader.check()
    }
    const lost = chunksOf(gzipped([eventOf(1), eventOf(3)], kind === 'stream'))
    t.throws(() => read(compressed(kind), lost), { message: 'event 3 came where 2 should have' })
    t.throws(() => read(compressed(kind), HEAD + chunkOf(eventOf(1))), { message: 'no gzip' })
  }
})

t.test('if there are more chunks than flushes, events are read when their flush has come', async t => {
  const [header, ...blocks] = gzipped(TEXTS, true)
  const halves = blocks.flatMap(block => [block.subarray(0, 3), block.subarray(3)])
  const nothing = deflateRawSync('', { finishFlush: constants.Z_SYNC_FLUSH })
  const reader = read(compressed('stream'), chunksOf([header!, ...halves, nothing])) as GzipReader
  t.equal(reader.next, 5)
  reader.check()
})

t.test('a shared block that refers to an earlier one, or that does not end on a whole byte, is an error', async t => {
  const [header, , second] = gzipped([eventOf(1), eventOf(2)], true)
  t.throws(() => read(compressed('blocks'), chunksOf([header!, second!])), { code: 'Z_DATA_ERROR' })
  // The time is fixed here. With some other times, the block would end on a whole byte by chance.
  const timeless = eventOf(1).replace(/"at":"\d+"/, '"at":"000000000000001"')
  const open = deflateRawSync(timeless, { finishFlush: constants.Z_BLOCK })
  t.throws(() => read(compressed('blocks'), chunksOf([header!, open])))
  const ended = deflateRawSync(eventOf(1))
  t.throws(() => read(compressed('blocks'), chunksOf([header!, ended])), { message: 'a stream ends within a chunk' })
})
