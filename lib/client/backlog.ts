// What waits for one client: first the pieces of an event that is larger than one write, then a batch that it shares with others,
// then its own side line. It must not know of sockets, channels or the broker.
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
 * The first of the four classes of one connection. `Backlog` has what waits, `ClientStream` writes to the stream, `Outbox` decides
 * what is written when, and `Client` is what the application sees. They inherit from each other to save memory: as four objects,
 * an idle connection would take some 150 bytes more.
 */
export abstract class Backlog {
  readonly #host: BacklogHost
  readonly #encoding: Encoding
  #batch: Batch
  /** The first event that the batch can't take, and all after it. The batch is full, or a slow client waits for a state. */
  #side: SideLine | null = null
  /** The pieces that are left of an event that is larger than one write. The last of them is written next. */
  #rest: Chunk[] | null = null
  /** Dropped events that the client was not told of. */
  #lost = 0
  /** Events that were put in line since the beginning. One that takes an older event's slot does not count. */
  #enqueued = 0
  #sends: PendingSends | null = null

  constructor (host: BacklogHost, encoding: Encoding) {
    this.#host = host
    this.#encoding = encoding
    this.#batch = encoding.empty
  }

  /** Whether the client is in a channel. */
  abstract isIn (channel: string): boolean

  /** Whether the stream is sent as gzip. */
  get compressed (): boolean {
    return this.#encoding.key !== ''
  }

  /** Bytes that wait here, without those in the socket, and without the rest of an event that is written in pieces. */
  protected get bytesInLine (): number {
    return this.#batch.size + (this.#side?.size ?? 0)
  }

  /** Bytes that wait here, without those in the socket. */
  protected get waitingBytes (): number {
    let bytes = this.bytesInLine
    if (this.#rest !== null) for (const piece of this.#rest) bytes += piece.size
    return bytes
  }

  protected get isEmpty (): boolean {
    return this.#batch.count === 0 && this.#side === null && this.#rest === null && this.#lost === 0
  }

  /** Whether more waits than one write takes. */
  protected get isLong (): boolean {
    return this.#side !== null && (this.#batch.count > 0 || this.#side.size > MAX_WRITE)
  }

  /** Events that have left the line. */
  get #taken (): number {
    return this.#enqueued - this.#batch.count - (this.#side?.places ?? 0)
  }

  /**
   * Puts an event in line. It allocates nothing when another client with the same list already has the event.
   * @param writable whether the client can be written to now; if not, of each state only the newest event waits
   * @param begun whether the first bytes were written; before that, a change of the channels takes events out of the line again
   */
  protected put (frame: Frame, writable: boolean, begun: boolean): void {
    if (begun && this.#side === null && (writable || frame.place.states === null) && this.#batch.admits(frame)) {
      this.#batch = this.#host.batches.add(this.#batch, frame)
      this.#enqueued++
    } else {
      this.#putAside(frame, begun ? this.#statesOf(frame) : null)
    }
  }

  #putAside (frame: Frame, states: readonly string[] | null): void {
    this.#side ??= new SideLine()
    const before = this.#side.places
    this.#host.counters.conflated += this.#side.push(frame, states)
    this.#enqueued += this.#side.places - before
  }

  /**
   * The states that an event tells to this client. Example: an event for "a" and "b" tells a state of each, and the client is only
   * in "a". A newer event for "a" replaces it, because the state of "b" does not concern the client.
   */
  #statesOf ({ place: { states } }: Frame): readonly string[] | null {
    if (states === null || states.length === 1) return states
    return states.filter(state => this.isIn(channelOf(state)))
  }

  /**
   * Takes the events of a channel out of the line, because the client has left it before the first bytes. An event for two channels
   * stays where the client is in the other one.
   */
  protected dropChannel (channel: string): void {
    this.#remove(({ place: { targets } }) => targets !== null && targets.includes(channel) && !targets.some(target => this.isIn(target)))
  }

  /** Takes the kept events of some targets out of the line, up to a position. Called before the first bytes are written. */
  dropKept (targets: readonly string[], position: number): void {
    const replayed = new Set(targets)
    this.#remove(({ place }) => place.id !== null && place.position <= position && place.targets!.some(target => replayed.has(target)))
  }

  #remove (unwanted: (frame: Frame) => boolean): void {
    this.#side?.remove(unwanted)
    if (this.#side?.isEmpty === true) this.#side = null
  }

  /** For the next event that is put in line. Resolves to true when the socket has taken it, and to false when it never will. */
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

  /** Takes what is next in line, at most one write of it; `null` where nothing waits. */
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
    if (side.isEmpty) this.#side = null
    this.#host.counters.delivered += frames.length
    return this.#encoding.join(frames, frames.reduce((sum, { size }) => sum + size, 0))
  }

  /** The first piece of a chunk, at most one write long. The other pieces are next in line. */
  protected firstPiece (chunk: Chunk): Chunk {
    const pieces = chunk.pieces()
    if (pieces.length > 1) this.#rest = pieces.slice(1).reverse()
    return pieces[0]!
  }

  /** The chunk of a text that is for this client alone. */
  protected own (text: string): Chunk {
    return this.encoded(Chunk.fromText(text, Buffer.byteLength(text)))
  }

  /** A chunk of the hub's own, in the client's encoding. */
  protected encoded (chunk: Chunk): Chunk {
    return this.#encoding.encode(chunk)
  }

  /**
   * Drops the oldest events until at most `limit` bytes wait. A batch is dropped as a whole, because other clients share it.
   * @param buffered bytes that wait in the socket; they count, but can't be dropped
   * @returns how many events were dropped
   */
  protected dropOldest (limit: number, buffered: number): number {
    const begin = this.#taken
    let count = this.#batch.count
    this.#batch = this.#encoding.empty
    const side = this.#side
    if (side !== null) {
      count += side.drop(this.waitingBytes + buffered - limit)
      if (side.isEmpty) this.#side = null
    }
    this.#lost += count
    this.#sends?.dropped(begin, this.#taken)
    return count
  }

  /** Settles the sends whose events have left the line. Called when the socket has taken all that was written. */
  protected settleSends (): void {
    if (this.#sends === null || this.#rest !== null) return
    this.#sends.taken(this.#taken)
    if (this.#sends.count === 0) this.#sends = null
  }

  /** Drops everything, because the client is gone. */
  protected clear (): void {
    const sends = this.#sends
    this.#sends = this.#side = this.#rest = null
    this.#batch = this.#encoding.empty
    sends?.abandon()
  }
}
