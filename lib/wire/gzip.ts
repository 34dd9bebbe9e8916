// The bytes of a gzip stream (RFC 1952), made of blocks (RFC 1951) that any client's stream can take in any order: each ends at
// a whole byte and refers to nothing before it. It must not know of events or clients.
import { constants, crc32, deflateRawSync } from 'node:zlib'
import { Chunk } from './chunk.js'

/** The bytes that a stored block takes beside its content, and the most content that it holds (RFC 1951 3.2.4). */
const STORED_OVERHEAD = 5
const MAX_STORED = 65535

/** Blocks, with the size and the CRC-32 of the plain bytes that they stand for. The end of a gzip stream needs both. */
export class GzipChunk extends Chunk {
  /** How many plain bytes the blocks stand for. */
  readonly plainSize: number
  /** The CRC-32 of the plain bytes. */
  readonly crc: number
  #operator = 0
  #gzipPieces: readonly Chunk[] | null = null

  private constructor (size: number, plainSize: number, crc: number, allocate: Allocate) {
    super(size, allocate)
    this.plainSize = plainSize
    this.crc = crc
  }

  /**
   * Deflates bytes without what came before them, up to a sync flush. Stores them where that is not longer.
   * @param level 1 (fast) to 9 (small)
   */
  static deflated (plain: Buffer, level: number, allocate: Allocate): GzipChunk {
    // With an output buffer of the right size zlib does not allocate its own of 16 KiB.
    const blocks = deflateRawSync(plain, { level, finishFlush: constants.Z_SYNC_FLUSH, chunkSize: plain.length + 64 })
    if (blocks.length >= storedSize(plain.length)) return GzipChunk.stored(plain, allocate)
    const chunk = new GzipChunk(blocks.length, plain.length, crc32(plain), allocate)
    blocks.copy(chunk.payload())
    return chunk
  }

  /** Stores bytes as they are. */
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

  /** Puts blocks one after the other. */
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

  /** The CRC-32 of a stream with these bytes at its end. `crc` is that of the stream before them. */
  behind (crc: number): number {
    // Made once, by the first of many clients that need it.
    if (this.#operator === 0) this.#operator = shift(this.plainSize)
    return (multiply(this.#operator, crc) ^ this.crc) | 0
  }

  /**
   * The first piece stands for the plain bytes of all pieces, because a stream that has begun one chunk writes all of it before
   * it ends. Example: a chunk of 100,000 bytes has pieces of 65,536 and 34,464 bytes. The first one has the CRC of the whole.
   */
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

/** The header: deflate, no flags, no time, no extra flags, unknown system (RFC 1952 2.3). */
const HEADER = Chunk.fromBytes(Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]))
/** An empty last block, in fixed codes (RFC 1951 3.2.6). */
const LAST_BLOCK = [3, 0]

/** One client's gzip stream: it adds what comes before and after the blocks that clients share. */
export class GzipStream {
  #begun = false
  #crc = 0
  #size = 0

  /** What is written for these chunks. For the first chunk of the stream it begins with the header. */
  take (chunks: readonly Chunk[]): readonly Chunk[] {
    for (const chunk of chunks) {
      // Any other chunk is a later piece. Its first piece stood for it.
      if (!(chunk instanceof GzipChunk)) continue
      this.#crc = chunk.behind(this.#crc)
      this.#size = (this.#size + chunk.plainSize) >>> 0
    }
    if (this.#begun) return chunks
    this.#begun = true
    return [HEADER, ...chunks]
  }

  /** The same for the last chunks, with the end of the stream (RFC 1952 2.3.1). */
  end (chunks: readonly Chunk[]): readonly Chunk[] {
    const taken = this.take(chunks)
    const end = Buffer.from([...LAST_BLOCK, 0, 0, 0, 0, 0, 0, 0, 0])
    end.writeInt32LE(this.#crc, 2)
    end.writeUInt32LE(this.#size, 6)
    return [...taken, Chunk.fromBytes(end)]
  }
}

// A CRC-32 is a polynomial over GF(2), with the lowest power in the highest bit. The CRC of "ab" follows from those of "a" and
// "b": shift that of "a" by the length of "b", and add that of "b" (as zlib's `crc32_combine_op` does).

const POLYNOMIAL = 0xedb88320
const ONE = 0x80000000

/**
 * a · b modulo the polynomial. It runs at every write to every client. It has no branches, because the processor could not
 * predict them.
 */
function multiply (a: number, b: number): number {
  let product = 0
  for (let rest = a | 0; rest !== 0; rest <<= 1) {
    product ^= b & (rest >> 31)
    b = (b >>> 1) ^ (POLYNOMIAL & -(b & 1))
  }
  return product
}

/** Item n is x to the power 2^n. Item 32 would be x again. */
const POWERS = [ONE >>> 1 | 0]
while (POWERS.length < 32) POWERS.push(multiply(POWERS.at(-1)!, POWERS.at(-1)!))

/** x to the power 8 · bytes: a byte has 8 bits. For 2 bytes it is x to the power 16, which is item 4 of `POWERS`. */
function shift (bytes: number): number {
  let product = ONE | 0
  for (let rest = bytes, power = 3; rest > 0; rest = Math.floor(rest / 2), power++) {
    if (rest % 2 === 1) product = multiply(POWERS[power % 32]!, product)
  }
  return product
}
