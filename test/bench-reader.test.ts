// What the benchmarks' load client would notice: it must not take a run that lost, doubled or spoilt an event for a figure.
import t from 'tap'
import { EventReader } from './bench/event-reader.js'
import { payloadOf } from './bench/payload.js'
import { Random } from './support/random.js'

const SIZE = 100
const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n'
const EVERY = Uint8Array.of(1)

/** Some servers begin with the id, others end with it. */
function eventOf (number: number, size = SIZE, idFirst = false): string {
  const event = `event: message\ndata: ${JSON.stringify(payloadOf(number, size).data)}\n`
  return idFirst ? `id: ${number}\n${event}\n` : `${event}id: ${number}\n\n`
}

function chunkOf (text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`
}

/** Reads a response that comes in pieces of these sizes, over and over. */
function read (reader: EventReader, text: string, sizes: readonly number[] = [text.length]): EventReader {
  const bytes = Buffer.from(text)
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

t.test('however a stream is cut into chunks and reads, every event is counted once', async t => {
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

t.test('a lost event, a doubled one and one out of its turn are errors', async t => {
  const stream = (...numbers: number[]): string => HEAD + chunkOf(numbers.map(number => eventOf(number)).join(''))
  t.throws(() => read(everything(), stream(1, 2, 4)), { message: 'event 4 came where 3 should have' })
  t.throws(() => read(everything(), stream(1, 2, 2)), { message: 'event 2 came where 3 should have' })
  t.throws(() => read(everything(), stream(2, 1)), { message: 'event 2 came where 1 should have' })
})

t.test('a client of some channels is given the events of those, and no others', async t => {
  // Of four channels it is in that of 1, 5, 9 … and in that of 2, 6, 10 …
  const steps = Uint8Array.of(1, 1, 3, 2)
  const stream = (...numbers: number[]): string => HEAD + chunkOf(numbers.map(number => eventOf(number)).join(''))
  t.equal(read(new EventReader(SIZE, 1, steps), stream(1, 2, 5, 6, 9)).next, 10)
  t.throws(() => read(new EventReader(SIZE, 1, steps), stream(1, 2, 3)), { message: 'event 3 came where 5 should have' })
})

t.test('where several publishers take turns, whoever is given the numbers checks them, and says what comes next', async t => {
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

t.test('an event of another size is no numbered event, and so one that is missing', async t => {
  const reader = read(everything(), HEAD + chunkOf(eventOf(1) + eventOf(2, SIZE + 1)))
  t.equal(reader.events, 1)
  t.equal(reader.next, 2)
})

t.test('an answer that is no stream, a broken chunk and the end are told', async t => {
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
