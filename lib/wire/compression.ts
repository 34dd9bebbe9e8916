// Compresses events once for all clients that get the same ones: each list of waiting events becomes blocks that fit into the
// gzip stream of any client. It must not know of clients or sockets.
import type { SSECompressOptions } from '../../types/index.js'
import { Batch, type Frame } from './batch.js'
import type { EncodableText, Encoding } from './encoding.js'
import { GzipChunk, type Allocate } from './gzip.js'
import type { Chunk } from './chunk.js'

/**
 * A list that fewer clients hold is made of the blocks of its single events. Example: 100 groups of 3 clients each wait for
 * another mix of the same 10 events. That costs 10 deflates, not 100.
 */
const SHARED = 8

type CompressionSettings = Required<SSECompressOptions>

/** The same text for the same settings. */
export function settingsKey ({ threshold, level }: CompressionSettings): string {
  return `gzip ${level} ${threshold}`
}

export class Compression implements Encoding {
  readonly key: string
  readonly empty: Batch = new GzipBatch(this, null, null)
  readonly #threshold: number
  readonly #level: number
  /** What the hub itself sends to many clients, e.g. heartbeats. */
  readonly #stored = new WeakMap<Chunk, GzipChunk>()

  constructor (settings: CompressionSettings) {
    this.#threshold = settings.threshold
    this.#level = settings.level
    this.key = settingsKey(settings)
  }

  encode (chunk: Chunk): GzipChunk {
    let stored = this.#stored.get(chunk)
    if (stored === undefined) this.#stored.set(chunk, stored = GzipChunk.stored(chunk.payload(), Buffer.allocUnsafe))
    return stored
  }

  /** The blocks of the single events. Each is made once for all clients. */
  join (frames: readonly Frame[]): GzipChunk {
    return GzipChunk.concat(frames.map(frame => this.#blockOf(frame)), Buffer.allocUnsafe)
  }

  /**
   * The events deflated together. An event that must not be compressed is stored apart. Example: of the events a, b, c and d
   * only c must not be compressed. That makes 3 parts: a with b deflated, c stored, d deflated.
   */
  together (frames: readonly Frame[]): GzipChunk {
    if (frames.length === 1) return this.#blockOf(frames[0]!)
    return this.#runs(frames, frame => frame.chunk().payload(), Buffer.allocUnsafe)
  }

  lasting (events: readonly EncodableText[]): GzipChunk {
    return this.#runs(events, ({ text }) => Buffer.from(text), Buffer.allocUnsafeSlow)
  }

  #runs<Event extends { readonly compress: boolean }> (events: readonly Event[], bytes: (event: Event) => Buffer, allocate: Allocate): GzipChunk {
    const chunks: GzipChunk[] = []
    for (let from = 0, to = 0; from < events.length; from = to) {
      const { compress } = events[from]!
      while (to < events.length && events[to]!.compress === compress) to++
      const plain = Buffer.concat(events.slice(from, to).map(bytes))
      chunks.push(compress ? this.#pack(plain, allocate) : GzipChunk.stored(plain, allocate))
    }
    return GzipChunk.concat(chunks, allocate)
  }

  #blockOf (frame: Frame): GzipChunk {
    frame.encoded ??= new Map()
    let block = frame.encoded.get(this) as GzipChunk | undefined
    if (block === undefined) {
      const plain = frame.chunk().payload()
      block = frame.compress ? this.#pack(plain, Buffer.allocUnsafe) : GzipChunk.stored(plain, Buffer.allocUnsafe)
      frame.encoded.set(this, block)
    }
    return block
  }

  #pack (plain: Buffer, allocate: Allocate): GzipChunk {
    return plain.length < this.#threshold ? GzipChunk.stored(plain, allocate) : GzipChunk.deflated(plain, this.#level, allocate)
  }
}

/** A list for clients that get the stream compressed. */
class GzipBatch extends Batch {
  readonly #compression: Compression
  #previous: GzipBatch | null
  #frame: Frame | null
  /** All events of the list, once its blocks are made. A longer list deflates them again, together with its own event. */
  #frames: readonly Frame[] | null = null
  #chunk: GzipChunk | null = null

  constructor (compression: Compression, previous: GzipBatch | null, frame: Frame | null) {
    super(previous, frame)
    this.#compression = compression
    this.#previous = previous
    this.#frame = frame
  }

  with (frame: Frame): GzipBatch {
    return new GzipBatch(this.#compression, this.count === 0 ? null : this, frame)
  }

  chunk (): GzipChunk {
    if (this.#chunk === null) {
      const frames = this.#collect()
      this.#chunk = this.holders < SHARED ? this.#compression.join(frames) : this.#compression.together(frames)
      this.#frames = frames
      this.#previous = this.#frame = null
    }
    return this.#chunk
  }

  /** All events of the list, oldest first. A list that has its blocks holds these events, but no older list. */
  #collect (): Frame[] {
    const frames: Frame[] = []
    let batch: GzipBatch | null = this
    while (batch !== null && batch.#frames === null) {
      frames.push(batch.#frame!)
      batch = batch.#previous
    }
    frames.reverse()
    return batch === null ? frames : [...batch.#frames!, ...frames]
  }
}
