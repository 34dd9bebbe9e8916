// What waits for clients, shared by all that wait for the same. It must not know of clients or sockets.
import { Chunk, MAX_WRITE } from './wire.js'

/** An event on its way to sockets: its text, and its bytes once the first client needs them. */
export class Frame {
  /** Bytes of `text` in UTF-8. */
  readonly size: number
  #text: string | null
  #chunk: Chunk | null = null

  constructor (text: string, size: number) {
    this.#text = text
    this.size = size
  }

  chunk (): Chunk {
    if (this.#chunk === null) {
      this.#chunk = Chunk.fromText(this.#text!, this.size)
      this.#text = null
    }
    return this.#chunk
  }
}

/** An immutable list of waiting events: one event behind those of another list. */
export class Batch {
  /** Bytes of stream in the whole list. */
  readonly size: number
  /** Events in the whole list. */
  readonly count: number
  /** This list with the event that is being published: the memo that makes clients share lists. */
  next: Batch | null = null
  #previous: Batch | null
  #frame: Frame | null
  #chunk: Chunk | null = null

  constructor (previous: Batch | null, frame: Frame | null) {
    this.#previous = previous
    this.#frame = frame
    this.size = (previous === null ? 0 : previous.size) + (frame === null ? 0 : frame.size)
    this.count = (previous === null ? 0 : previous.count) + (frame === null ? 0 : 1)
  }

  /** Whether an event fits: a list is at most one write long, or a single event. */
  admits (frame: Frame): boolean {
    return this.count === 0 || this.size + frame.size <= MAX_WRITE
  }

  /** The bytes of the whole list, joined by the first client that needs them. */
  chunk (): Chunk {
    if (this.#chunk === null) {
      const chunks: Chunk[] = []
      let batch: Batch | null = this
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

/** The lists of one hub. */
export class Batches {
  /** The list of a client for which nothing waits. */
  readonly empty = new Batch(null, null)
  readonly #touched: Batch[] = []

  /**
   * A list with one more event. Within one publish, the same list gives the same list: whatever channels brought
   * clients to it, those with the same waiting events hold the same object, and its bytes are joined once.
   */
  add (batch: Batch, frame: Frame): Batch {
    let next = batch.next
    if (next === null) {
      next = batch.next = new Batch(batch === this.empty ? null : batch, frame)
      this.#touched.push(batch)
    }
    return next
  }

  /** Ends a publish. A memo that outlived it would pin every later list behind the first one. */
  endPublish (): void {
    for (const batch of this.#touched) batch.next = null
    this.#touched.length = 0
  }
}
