// What waits for one client, in order: a list that it shares with others, after it a side line of its own, and the pieces of an
// event that is larger than one write. It must not know of sockets, channels or the broker.
import type { Counters } from '../observe/counters.js'
import { channelOf, type Batch, type Batches, type Frame } from '../wire/batch.js'
import { Chunk, MAX_WRITE } from '../wire/chunk.js'
import type { Encoding } from '../wire/encoding.js'
import { formatGap } from '../wire/format.js'
import { PendingSends } from './pending-sends.js'
import { SideLine } from './side-line.js'

export interface BacklogHost {
  readonly batches: Batches
  readonly counters: Counters
}

/**
 * The first of four classes that one connection is made of: what waits, the stream (`ClientStream`), what is written when
 * (`Outbox`), what the application sees (`Client`). They inherit from each other because one object takes less than four: an
 * idle connection would need some 150 bytes more.
 */
export abstract class Backlog {
  readonly #host: BacklogHost
  readonly #encoding: Encoding
  #batch: Batch
  /** What waits after a full batch, or a state that can't be written now. */
  #side: SideLine | null = null
  /** Pieces of an event that is larger than one write, the next one last. */
  #rest: Chunk[] | null = null
  /** Events that were dropped and that the client was not told of. */
  #lost = 0
  /** Events that were ever put in line. */
  #enqueued = 0
  #sends: PendingSends | null = null

  constructor (host: BacklogHost, encoding: Encoding) {
    this.#host = host
    this.#encoding = encoding
    this.#batch = encoding.empty
  }

  /** Whether the client is in a channel. */
  abstract isIn (channel: string): boolean

  /** Whether its stream goes out as gzip. */
  get compressed (): boolean {
    return this.#encoding.key !== ''
  }

  /** Bytes that wait in here. */
  protected get waitingBytes (): number {
    let bytes = this.#batch.size + (this.#side?.size ?? 0)
    if (this.#rest !== null) for (const piece of this.#rest) bytes += piece.size
    return bytes
  }

  protected get isEmpty (): boolean {
    return this.#batch.count === 0 && this.#side === null && this.#rest === null && this.#lost === 0
  }

  /** Whether more waits than one write takes. */
  protected get isLong (): boolean {
    return this.#side !== null
  }

  /** Events that have left the line. */
  get #taken (): number {
    return this.#enqueued - this.#batch.count - (this.#side?.places ?? 0)
  }

  /**
   * Puts an event in line. Allocates nothing for a client whose list others have as well.
   * @param writable whether the client can be written to now: of states that a slow client waits for, only the newest count
   */
  protected put (frame: Frame, writable: boolean): void {
    if (this.#side === null && (writable || frame.place.states === null) && this.#batch.admits(frame)) {
      this.#batch = this.#host.batches.add(this.#batch, frame)
      this.#enqueued++
    } else {
      this.#putAside(frame)
    }
  }

  #putAside (frame: Frame): void {
    this.#side ??= new SideLine()
    const before = this.#side.places
    this.#host.counters.conflated += this.#side.push(frame, this.#statesOf(frame))
    this.#enqueued += this.#side.places - before
  }

  /** Which states an event says to this client. What it says only to channels that the client is not in, nothing newer need say. */
  #statesOf ({ place: { states } }: Frame): readonly string[] | null {
    if (states === null || states.length === 1) return states
    return states.filter(state => this.isIn(channelOf(state)))
  }

  /** Resolves to true when the socket has taken the next event that is put in line, to false when it never will. */
  protected nextTaken (): Promise<boolean> {
    this.#sends ??= new PendingSends()
    return this.#sends.add(this.#enqueued + 1)
  }

  /** The next piece of an event that is larger than one write; `null` where there is none. */
  protected takePiece (): Chunk | null {
    const piece = this.#rest?.pop() ?? null
    if (this.#rest?.length === 0) this.#rest = null
    return piece
  }

  /** What else waits, as much as one write takes; `null` where nothing does. */
  protected take (): Chunk | null {
    if (this.#lost !== 0) {
      const gap = this.own(formatGap(this.#lost))
      this.#lost = 0
      return gap
    }
    if (this.#batch.count > 0) {
      const batch = this.#batch
      this.#batch = this.#encoding.empty
      this.#host.counters.delivered += batch.count
      return this.firstPiece(batch.chunk())
    }
    return this.#side === null ? null : this.firstPiece(this.#takeAside(this.#side))
  }

  #takeAside (side: SideLine): Chunk {
    const frames = side.take(MAX_WRITE)
    if (side.places === 0) this.#side = null
    this.#host.counters.delivered += frames.length
    return this.#encoding.join(frames, frames.reduce((sum, { size }) => sum + size, 0))
  }

  /** As much of a chunk as one write takes; the rest is next in line. */
  protected firstPiece (chunk: Chunk): Chunk {
    const pieces = chunk.pieces()
    if (pieces.length > 1) this.#rest = pieces.slice(1).reverse()
    return pieces[0]!
  }

  /** What is for this client alone. */
  protected own (text: string): Chunk {
    return this.encoded(Chunk.fromText(text, Buffer.byteLength(text)))
  }

  /** What the hub says by itself. */
  protected encoded (chunk: Chunk): Chunk {
    return this.#encoding.encode(chunk)
  }

  /**
   * Drops the oldest events until at most so many bytes wait.
   * @param buffered bytes that wait in the socket besides
   * @returns how many events were dropped
   */
  protected dropOldest (limit: number, buffered: number): number {
    const begin = this.#taken
    let count = this.#batch.count
    this.#batch = this.#encoding.empty
    const side = this.#side
    if (side !== null) {
      count += side.drop(this.waitingBytes + buffered - limit)
      if (side.places === 0) this.#side = null
    }
    this.#lost += count
    this.#sends?.dropped(begin, this.#taken)
    return count
  }

  /** Settles the sends whose bytes the socket has taken. */
  protected settleSends (): void {
    if (this.#sends === null || this.#rest !== null) return
    this.#sends.taken(this.#taken)
    if (this.#sends.count === 0) this.#sends = null
  }

  /** Lets go of all that waits: the client is gone. */
  protected clear (): void {
    const sends = this.#sends
    this.#sends = this.#side = this.#rest = null
    this.#batch = this.#encoding.empty
    sends?.abandon()
  }
}
