// Reads an event stream that comes as gzip, and checks its events. It is fast where many clients get the same bytes.
import { constants, gunzipSync, inflateRawSync } from 'node:zlib'
import { EventReader } from './event-reader.js'

/** The header without optional fields (RFC 1952 2.3). */
const HEADER_BYTES = 10
const HEADER = Buffer.from([0x1f, 0x8b, 8, 0])
/** The end of a sync flush (RFC 1951 3.2.4), and a last block that is empty. */
const FLUSHED = Buffer.from([0, 0, 0xff, 0xff])
const LAST_BLOCK = Buffer.from([3, 0])
/** How many bytes back a block may refer. */
const WINDOW = 32768
/** How many blocks are remembered, because other clients may get them as well. */
const MOST_KNOWN = 2000

interface Event {
  readonly number: number
  readonly time: number
}

/** How a server compresses: in blocks that refer to nothing before their chunk, or in one stream for each client. */
export type Compressed = 'blocks' | 'stream'

/** The events of blocks that stand alone. The key is the bytes of the blocks. */
const known = new Map<string, readonly Event[]>()

export class GzipReader extends EventReader {
  readonly #compressed: Compressed
  /** Bytes of blocks whose end has not come. */
  #waiting: Buffer | null = null
  #begun = false
  /** What the next blocks may refer to, in a stream whose blocks do not stand alone. */
  #window: Buffer | undefined
  /** All bytes that came, if `check` looks at the whole stream. */
  readonly #all: Buffer[] | null
  readonly #create: () => Text

  /** @param whole whether `check` decodes the whole stream again, as any receiver would */
  constructor (size: number, first: number, steps: Uint8Array, compressed: Compressed, whole: boolean) {
    super(size, first, steps)
    this.#compressed = compressed
    this.#all = whole ? [] : null
    this.#create = () => new Text(size, first, steps)
  }

  /** @throws if the whole stream is not gzip, or if it has other events than its blocks had */
  check (): void {
    if (this.#all === null) return
    const text = this.#create()
    text.readAll(gunzipSync(Buffer.concat(this.#all), { finishFlush: constants.Z_SYNC_FLUSH }))
    if (text.next !== this.next) throw new Error(`the whole stream has events up to ${text.next} where its blocks had up to ${this.next}`)
  }

  protected override readBody (bytes: Buffer, at: number, end: number, last: boolean): void {
    const part = bytes.subarray(at, end)
    const blocks = this.#waiting === null ? part : Buffer.concat([this.#waiting, part])
    const ended = last && (!this.#begun || this.#compressed === 'blocks' || blocks.subarray(-FLUSHED.length).equals(FLUSHED))
    this.#waiting = ended ? null : this.#waiting === null ? Buffer.from(part) : blocks
    if (!ended) return
    this.#all?.push(Buffer.from(blocks))
    if (this.#begun) return this.#read(blocks)
    if (!blocks.subarray(0, HEADER.length).equals(HEADER)) throw new Error('no gzip')
    this.#begun = true
    if (blocks.length > HEADER_BYTES) this.#read(blocks.subarray(HEADER_BYTES))
  }

  #read (blocks: Buffer): void {
    const events = this.#compressed === 'blocks' ? this.#decodedOnce(blocks) : this.#decodedInOrder(blocks)
    for (const { number, time } of events) this.take(number, time)
  }

  /** Each different chunk is decoded once and alone, for all clients. This shows that it fits into any client's stream. */
  #decodedOnce (blocks: Buffer): readonly Event[] {
    const key = blocks.toString('latin1')
    let events = known.get(key)
    if (events === undefined) {
      // With an empty last block after it, the decoder accepts the chunk only if it ends at a block's end, on a whole byte.
      const whole = Buffer.concat([blocks, LAST_BLOCK])
      // The types of the synchronous functions do not have the option `info`.
      const { buffer, engine } = inflateRawSync(whole, { info: true }) as unknown as { buffer: Buffer, engine: { bytesWritten: number } }
      if (engine.bytesWritten !== whole.length) throw new Error('a stream ends within a chunk')
      events = this.#create().eventsOf(buffer)
      if (known.size === MOST_KNOWN) known.clear()
      known.set(key, events)
    }
    return events
  }

  #decodedInOrder (blocks: Buffer): readonly Event[] {
    const text = inflateRawSync(blocks, { dictionary: this.#window, finishFlush: constants.Z_SYNC_FLUSH })
    // If a flush fills zlib's buffer to the last byte, an empty flush follows.
    if (text.length === 0) return []
    this.#window = this.#window === undefined ? text : Buffer.concat([this.#window, text]).subarray(-WINDOW)
    return this.#create().eventsOf(text)
  }
}

/** Reads text that was decoded. */
class Text extends EventReader {
  readAll (text: Buffer): void {
    this.readBody(text, 0, text.length, true)
  }

  /** Throws unless all events are whole. The caller checks whether they are the expected events. */
  eventsOf (text: Buffer): readonly Event[] {
    if (!text.subarray(-2).equals(Buffer.from('\n\n'))) throw new Error('blocks end within an event')
    const events: Event[] = []
    let came = 0
    this.onNumber = number => { came = number }
    this.onTime = time => events.push({ number: came, time })
    this.readAll(text)
    return events
  }
}
