// Reads an event stream that comes as gzip, and checks its events: fast where many clients are given the same bytes.
import { constants, gunzipSync, inflateRawSync } from 'node:zlib'
import { EventReader } from './event-reader.js'

/** The header without optional fields (RFC 1952 2.3). */
const HEADER_BYTES = 10
const HEADER = Buffer.from([0x1f, 0x8b, 8, 0])
/** What a sync flush ends with (RFC 1951 3.2.4), and a last block with nothing in it. */
const FLUSHED = Buffer.from([0, 0, 0xff, 0xff])
const LAST_BLOCK = Buffer.from([3, 0])
/** How far back a block may refer. */
const WINDOW = 32768
/** What is remembered of blocks that others may be given as well. */
const MOST_KNOWN = 2000

interface Event {
  readonly number: number
  readonly time: number
}

/** How a server compresses: in blocks that refer to nothing before their chunk, or in one stream a client. */
export type Compressed = 'blocks' | 'stream'

/** The events of blocks that stand alone, by the blocks' bytes. */
const known = new Map<string, readonly Event[]>()

export class GzipReader extends EventReader {
  readonly #compressed: Compressed
  /** What it has got of blocks whose end has not come. */
  #waiting: Buffer | null = null
  #begun = false
  /** What its next blocks may refer to, where they may. */
  #window: Buffer | undefined
  /** All that came, where it is to be looked at as a whole. */
  readonly #all: Buffer[] | null
  readonly #create: () => Text

  /** @param whole whether `check` decodes all that came once more, as any receiver would */
  constructor (size: number, first: number, steps: Uint8Array, compressed: Compressed, whole: boolean) {
    super(size, first, steps)
    this.#compressed = compressed
    this.#all = whole ? [] : null
    this.#create = () => new Text(size, first, steps)
  }

  /** @throws where the stream as a whole is no gzip, or holds other events than its blocks did */
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

  /** Each different chunk is decoded once, by itself, whoever gets it. That it can be shows that it fits anybody's stream. */
  #decodedOnce (blocks: Buffer): readonly Event[] {
    const key = blocks.toString('latin1')
    let events = known.get(key)
    if (events === undefined) {
      // With the last block behind it, the decoder is content only if it ends where a block ends, and on a byte.
      const whole = Buffer.concat([blocks, LAST_BLOCK])
      // The type of the synchronous functions does not know the option `info`.
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
    // A flush that fills zlib's buffer to the last byte is followed by one of nothing.
    if (text.length === 0) return []
    this.#window = this.#window === undefined ? text : Buffer.concat([this.#window, text]).subarray(-WINDOW)
    return this.#create().eventsOf(text)
  }
}

/** Reads what was decoded. */
class Text extends EventReader {
  readAll (text: Buffer): void {
    this.readBody(text, 0, text.length, true)
  }

  /** Whole events alone; whether they are the ones that should come is for others to say. */
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
