// What waits for clients, shared by all that wait for the same. It must not know of clients or sockets.
import { Chunk, MAX_WRITE } from './chunk.js'
import { withId } from './format.js'

/** Where an event stands in the hub's order, and what it says there. */
export interface Place {
  readonly position: number
  /** `null` where there is none to resume from: it is not kept, or not of the order. */
  readonly id: string | null
  /** The newest id before it. */
  readonly before: string
  /** What it says the newest of, each as `targetState` writes it; `null` where it has no key. */
  readonly states: readonly string[] | null
}

/** What an event says the newest of, for all of the hub. */
export function targetState (target: string, name: string, key: string): string {
  return `${target}\n${name}\n${key}`
}

/** The channel that a state is of: names hold no line break. */
export function channelOf (state: string): string {
  return state.slice(0, state.indexOf('\n'))
}

/** Of what is not in the order: for one client alone, or from the hub itself. */
const NOWHERE: Place = { position: 0, id: null, before: '', states: null }

/** An event on its way to sockets: its text, and its bytes once the first client needs them. */
export class Frame {
  /** Bytes of `text` in UTF-8. */
  readonly size: number
  /** Whether it may be compressed together with others; else what it holds is nobody's to guess from its length. */
  readonly compress: boolean
  readonly place: Place
  /** What encodings have made of it. */
  encoded: Map<object, Chunk> | null = null
  #text: string | null
  #chunk: Chunk | null = null

  constructor (text: string, size: number, compress = false, place = NOWHERE) {
    this.#text = text
    this.size = size
    this.compress = compress
    this.place = place
  }

  /** The same for one client that must not be told this id. */
  withId (id: string): Frame {
    if (id === this.place.id) return this
    const text = withId(this.chunk().payload().toString(), this.place.id!, id === '' ? null : id)
    return new Frame(text, Buffer.byteLength(text), this.compress, this.place)
  }

  chunk (): Chunk {
    if (this.#chunk === null) {
      this.#chunk = Chunk.fromText(this.#text!, this.size)
      this.#text = null
    }
    return this.#chunk
  }
}

/** An immutable list of waiting events: one event behind those of another list, for clients of one encoding. */
export abstract class Batch {
  /** Bytes of stream in the whole list, before any encoding. */
  readonly size: number
  /** Events in the whole list. */
  readonly count: number
  /** This list with the event that is being published: the memo that makes clients share lists. */
  next: Batch | null = null
  /** How many clients it waits for, those included that have written it. */
  holders = 0

  constructor (previous: Batch | null, frame: Frame | null) {
    this.size = (previous === null ? 0 : previous.size) + (frame === null ? 0 : frame.size)
    this.count = (previous === null ? 0 : previous.count) + (frame === null ? 0 : 1)
  }

  /** The list with one more event. */
  abstract with (frame: Frame): Batch
  /** The bytes of the whole list, made by the first client that needs them. */
  abstract chunk (): Chunk

  /** Whether an event fits: a list is at most one write long, or a single event. */
  admits (frame: Frame): boolean {
    return this.count === 0 || this.size + frame.size <= MAX_WRITE
  }
}

/** A list whose bytes go out as they are. */
export class PlainBatch extends Batch {
  #previous: PlainBatch | null
  #frame: Frame | null
  #chunk: Chunk | null = null

  constructor (previous: PlainBatch | null, frame: Frame | null) {
    super(previous, frame)
    this.#previous = previous
    this.#frame = frame
  }

  with (frame: Frame): PlainBatch {
    return new PlainBatch(this.count === 0 ? null : this, frame)
  }

  chunk (): Chunk {
    if (this.#chunk === null) {
      const chunks: Chunk[] = []
      let batch: PlainBatch | null = this
      while (batch !== null && batch.#chunk === null) {
        chunks.push(batch.#frame!.chunk())
        batch = batch.#previous
      }
      // From here back it was joined before; what it was joined from is let go of, there and here.
      if (batch !== null) chunks.push(batch.#chunk!)
      this.#chunk = Chunk.join(chunks.reverse(), this.size)
      this.#previous = this.#frame = null
    }
    return this.#chunk
  }
}

/** The memos of one hub's lists. */
export class Batches {
  readonly #touched: Batch[] = []

  /**
   * A list with one more event. Within one publish, the same list gives the same list: whatever channels brought
   * clients to it, those with the same waiting events hold the same object, and its bytes are made once.
   */
  add (batch: Batch, frame: Frame): Batch {
    let next = batch.next
    if (next === null) {
      next = batch.next = batch.with(frame)
      this.#touched.push(batch)
    }
    batch.holders--
    next.holders++
    return next
  }

  /** Ends a publish. A memo that outlived it would pin every later list behind the first one. */
  forgetMemos (): void {
    for (const batch of this.#touched) batch.next = null
    this.#touched.length = 0
  }
}
