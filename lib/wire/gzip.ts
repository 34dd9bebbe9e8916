// The bytes of a gzip stream (RFC 1952) made of blocks (RFC 1951) that fit behind one another in anybody's: each ends on a
// byte and refers to nothing before it. It must not know of events or clients.
import { constants, crc32, deflateRawSync } from 'node:zlib'
import { Chunk } from './chunk.js'

/** What a stored block takes beside its bytes, and how many it holds at most. */
const STORED_OVERHEAD = 5
const MAX_STORED = 65535

/** Bytes of stream as blocks, with what a gzip stream has to know of the bytes that they stand for. */
export class GzipChunk extends Chunk {
  /** How many bytes they stand for. */
  readonly plainSize: number
  /** Their CRC-32. */
  readonly crc: number
  #operator = 0
  #gzipPieces: readonly Chunk[] | null = null

  private constructor (size: number, plainSize: number, crc: number, allocate: Allocate) {
    super(size, allocate)
    this.plainSize = plainSize
    this.crc = crc
  }

  /**
   * Deflated by themselves, up to a sync flush; stored where that is no longer.
   * @param level 1 (fast) to 9 (small)
   */
  static deflated (plain: Buffer, level: number, allocate: Allocate): GzipChunk {
    // One output buffer of the right size spares zlib's own, of 16 KiB.
    const blocks = deflateRawSync(plain, { level, finishFlush: constants.Z_SYNC_FLUSH, chunkSize: plain.length + 64 })
    if (blocks.length >= storedSize(plain.length)) return GzipChunk.stored(plain, allocate)
    const chunk = new GzipChunk(blocks.length, plain.length, crc32(plain), allocate)
    blocks.copy(chunk.payload())
    return chunk
  }

  /** As they are. */
  static stored (plain: Buffer, allocate: Allocate): GzipChunk {
    const chunk = new GzipChunk(storedSize(plain.length), plain.length, crc32(plain), allocate)
    const target = chunk.payload()
    let at = 0
    for (let from = 0; from < plain.length; from += MAX_STORED) {
      const length = Math.min(MAX_STORED, plain.length - from)
      target[at] = 0
      target.writeUInt16LE(length, at + 1)
      target.writeUInt16LE(length ^ 0xffff, at + 3)
      plain.copy(target, at + STORED_OVERHEAD, from, from + length)
      at += STORED_OVERHEAD + length
    }
    return chunk
  }

  /** One behind the other. */
  static concat (chunks: readonly GzipChunk[], allocate: Allocate): GzipChunk {
    if (chunks.length === 1) return chunks[0]!
    let size = 0
    let plainSize = 0
    let crc = 0
    for (const chunk of chunks) {
      size += chunk.size
      plainSize += chunk.plainSize
      crc = chunk.behind(crc)
    }
    return new GzipChunk(size, plainSize, crc, allocate).fillFrom(chunks)
  }

  /** The CRC-32 of a stream with these bytes at its end, of which it was `crc` without them. */
  behind (crc: number): number {
    // Made by the first of many clients that need it.
    if (this.#operator === 0) this.#operator = shift(this.plainSize)
    return (multiply(this.#operator, crc) ^ this.crc) | 0
  }

  /** The first of them says what all of them stand for: a stream that has begun them has them all before it ends. */
  override pieces (): readonly Chunk[] {
    if (this.#gzipPieces === null) {
      const [first, ...rest] = super.pieces()
      this.#gzipPieces = rest.length === 0 ? [this] : [this.#standsFor(first!), ...rest]
    }
    return this.#gzipPieces
  }

  #standsFor (piece: Chunk): GzipChunk {
    const first = new GzipChunk(piece.size, this.plainSize, this.crc, Buffer.allocUnsafe)
    piece.payload().copy(first.payload())
    return first
  }
}

export type Allocate = (size: number) => Buffer

function storedSize (plainSize: number): number {
  return plainSize + STORED_OVERHEAD * Math.ceil(plainSize / MAX_STORED)
}

/** Deflate, no flags, no time, no extra flags, system unknown (RFC 1952 2.3). */
const HEADER = Chunk.fromBytes(Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]))
/** A last block with nothing in it, in fixed codes (RFC 1951 3.2.6). */
const LAST_BLOCK = [3, 0]

/** One client's gzip stream: what comes before and behind the blocks that it shares with others. */
export class GzipStream {
  #begun = false
  #crc = 0
  #size = 0

  /** What is to be written for these chunks, the header before the first of all included. */
  take (chunks: readonly Chunk[]): readonly Chunk[] {
    for (const chunk of chunks) {
      // Others are the rest of one that was taken before.
      if (!(chunk instanceof GzipChunk)) continue
      this.#crc = chunk.behind(this.#crc)
      this.#size = (this.#size + chunk.plainSize) >>> 0
    }
    if (this.#begun) return chunks
    this.#begun = true
    return [HEADER, ...chunks]
  }

  /** The same for the last ones of all, with the end of the stream. */
  end (chunks: readonly Chunk[]): readonly Chunk[] {
    const taken = this.take(chunks)
    const end = Buffer.from([...LAST_BLOCK, 0, 0, 0, 0, 0, 0, 0, 0])
    end.writeInt32LE(this.#crc, 2)
    end.writeUInt32LE(this.#size, 6)
    return [...taken, Chunk.fromBytes(end)]
  }
}

// CRC-32 as polynomials over GF(2), the lowest power in the highest bit: that of two texts in a row is that of the first
// one, shifted by the length of the second, plus that of the second (zlib's `crc32_combine_op`).

const POLYNOMIAL = 0xedb88320
const ONE = 0x80000000

/** a · b modulo the polynomial. For every client and write, and so without branches, which nothing could predict. */
function multiply (a: number, b: number): number {
  let product = 0
  for (let rest = a | 0; rest !== 0; rest <<= 1) {
    product ^= b & (rest >> 31)
    b = (b >>> 1) ^ (POLYNOMIAL & -(b & 1))
  }
  return product
}

/** x to the powers 1, 2, 4, 8 …; the 32nd is x again. */
const POWERS = [ONE >>> 1 | 0]
while (POWERS.length < 32) POWERS.push(multiply(POWERS.at(-1)!, POWERS.at(-1)!))

/** x to the power of a number of bytes' bits. */
function shift (bytes: number): number {
  let product = ONE | 0
  for (let rest = bytes, power = 3; rest > 0; rest = Math.floor(rest / 2), power++) {
    if (rest % 2 === 1) product = multiply(POWERS[power % 32]!, product)
  }
  return product
}
