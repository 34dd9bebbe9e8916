// Compressed blocks that fit into any gzip stream, and the streams that are made of them.
import assert from 'node:assert/strict'
import { constants, crc32, inflateRawSync } from 'node:zlib'
import t from 'tap'
import { GzipChunk, GzipStream } from '../../lib/wire/gzip.js'
import { MAX_WRITE, type Chunk } from '../../lib/wire/chunk.js'
import { gunzipSoFar, gunzipWhole } from '../support/gunzip.js'
import { Random } from '../support/random.js'

const MAX_STORED = 65535

const random = new Random()
t.comment(`seed ${random.seed}`)

/** Bytes that can be compressed. */
function words (length: number): Buffer {
  let text = ''
  while (text.length < length) text += random.pick(['data: ', 'event: tick\n', 'price ', 'ä€', String(random.below(1e6)), '\n\n'])
  return Buffer.from(text).subarray(0, length)
}

/** Bytes that can't be compressed. */
function noise (length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, () => random.below(256)))
}

function deflated (plain: Buffer, level = 3): GzipChunk {
  return GzipChunk.deflated(plain, level, Buffer.allocUnsafe)
}

function stored (plain: Buffer): GzipChunk {
  return GzipChunk.stored(plain, Buffer.allocUnsafe)
}

function bytesOf (chunks: readonly Chunk[]): Buffer {
  return Buffer.concat(chunks.map(chunk => chunk.payload()))
}

/** Decompresses blocks alone, with nothing before them. */
function alone (chunk: GzipChunk): Buffer {
  return inflateRawSync(chunk.payload(), { finishFlush: constants.Z_SYNC_FLUSH })
}

/** Blocks of any kind and size, and their bytes before compression. */
function anyBlocks (): { chunk: GzipChunk, plain: Buffer } {
  const length = 1 + random.below(random.pick([10, 1000, 70_000, 300_000]))
  const plain = random.chance(0.7) ? words(length) : noise(length)
  const kind = random.pick(['deflated', 'stored', 'several'])
  if (kind === 'stored') return { chunk: stored(plain), plain }
  if (kind === 'deflated') return { chunk: deflated(plain, 1 + random.below(9)), plain }
  const parts = Array.from({ length: 1 + random.below(4) }, () => words(1 + random.below(5000)))
  const chunks = parts.map(part => random.chance(0.5) ? stored(part) : deflated(part))
  return { chunk: GzipChunk.concat(chunks, Buffer.allocUnsafe), plain: Buffer.concat(parts) }
}

t.test('any blocks in a row are one gzip stream, and each write can be decompressed completely', async t => {
  for (let run = 0; run < 60; run++) {
    const stream = new GzipStream()
    const written: Buffer[] = []
    const plain: Buffer[] = []
    for (let n = random.below(8); n > 0; n--) {
      const group = Array.from({ length: 1 + random.below(3) }, anyBlocks)
      written.push(bytesOf(stream.take(group.map(({ chunk }) => chunk))))
      plain.push(...group.map(({ plain }) => plain))
      assert.ok(gunzipSoFar(Buffer.concat(written)).equals(Buffer.concat(plain)))
    }
    const last = Array.from({ length: random.below(2) }, anyBlocks)
    written.push(bytesOf(stream.end(last.map(({ chunk }) => chunk))))
    plain.push(...last.map(({ plain }) => plain))
    assert.ok(gunzipWhole(Buffer.concat(written)).equals(Buffer.concat(plain)))
  }
  t.pass('60 streams')
})

t.test('the checksum of two texts together is made of their two checksums, whatever their lengths', async t => {
  const lengths = [0, 1, 2, 3, 255, 256, 65_535, 65_536, 1_000_000, ...Array.from({ length: 200 }, () => random.below(20_000))]
  for (const length of lengths) {
    const before = noise(random.below(100))
    const plain = words(length)
    const chunk = stored(plain)
    assert.equal(chunk.crc, crc32(plain))
    assert.equal(chunk.behind(crc32(before)) >>> 0, crc32(Buffer.concat([before, plain])), `${before.length} bytes and ${length}`)
  }
  t.pass(`${lengths.length} lengths`)
})

t.test('blocks refer to nothing before them, so that they fit into any stream in any order', async t => {
  const plain = words(20_000)
  const [first, second] = [deflated(plain), deflated(plain)]
  t.ok(first.size < 15_000)
  t.ok(first.payload().equals(second.payload()))
  t.ok(alone(first).equals(plain))
  const [one, other] = [new GzipStream(), new GzipStream()]
  const short = deflated(words(500))
  t.ok(gunzipWhole(bytesOf([...one.take([short]), ...one.end([first])])).equals(Buffer.concat([alone(short), plain])))
  t.ok(gunzipWhole(bytesOf([...other.take([first]), ...other.end([short])])).equals(Buffer.concat([plain, alone(short)])))
})

t.test('bytes that deflating does not make smaller are stored', async t => {
  for (const length of [1, 5, 300, MAX_STORED, MAX_STORED + 1, 1_000_000]) {
    const plain = noise(length)
    const chunk = deflated(plain, 9)
    t.ok(chunk.payload().equals(stored(plain).payload()), `${length} bytes`)
    t.ok(alone(chunk).equals(plain))
  }
})

t.test('stored bytes take five more bytes for each 65,535', async t => {
  for (const [length, blocks] of [[1, 1], [MAX_STORED, 1], [MAX_STORED + 1, 2], [2 * MAX_STORED, 2], [2 * MAX_STORED + 1, 3], [1_000_000, 16]] as const) {
    const plain = words(length)
    const chunk = stored(plain)
    t.equal(chunk.size, length + 5 * blocks)
    t.equal(chunk.plainSize, length)
    t.ok(alone(chunk).equals(plain), `${length} bytes`)
  }
})

t.test('a higher level makes the same bytes smaller', async t => {
  const plain = words(60_000)
  t.ok(deflated(plain, 9).size < deflated(plain, 1).size)
})

t.test('blocks larger than one write are sent in pieces, and the stream counts them once', async t => {
  for (const whole of [stored(words(200_000)), deflated(noise(MAX_WRITE)), deflated(words(1_000_000))]) {
    const pieces = whole.pieces()
    t.ok(pieces.length > 1)
    t.ok(pieces.every(({ size }) => size <= MAX_WRITE))
    t.ok(bytesOf(pieces).equals(whole.payload()))
    t.equal(whole.pieces(), pieces, 'they are made once')
    const before = deflated(words(1000))
    const behind = stored(words(10))
    const stream = new GzipStream()
    const written = [...stream.take([before]), ...pieces.flatMap(piece => stream.take([piece])), ...stream.end([behind])]
    t.ok(gunzipWhole(bytesOf(written)).equals(Buffer.concat([before, whole, behind].map(alone))))
  }
  const small = deflated(words(1000))
  t.same(small.pieces(), [small], 'one that fits is its only piece')
})

t.test('a stream without bytes is complete', async t => {
  t.equal(gunzipWhole(bytesOf(new GzipStream().end([]))).length, 0)
})

t.test('the header is written once, before the first bytes', async t => {
  const stream = new GzipStream()
  t.equal(stream.take([stored(words(10))]).length, 2)
  t.equal(stream.take([stored(words(10))]).length, 1)
  t.equal(stream.end([]).length, 1)
})

t.test('a stream of more than 4 GiB has its length modulo 2^32 in the trailer', async t => {
  const zeros = Buffer.alloc(64 * 1024 * 1024)
  const chunk = deflated(zeros, 1)
  t.equal(chunk.behind(crc32('before')) >>> 0, crc32(zeros, crc32('before')))
  const stream = new GzipStream()
  let crc = 0
  for (let n = 0; n < 64; n++) {
    stream.take([chunk])
    crc = chunk.behind(crc)
  }
  const end = bytesOf(stream.end([stored(Buffer.from('more'))]))
  t.equal(end.readUInt32LE(end.length - 4), 4)
  t.equal(end.readUInt32LE(end.length - 8), crc32('more', crc >>> 0))
})
