// How what waits for one client gets to its stream, a write a visit, and how the stream ends. It must not know of channels or of
// the broker.
import type { EventStream, StreamOwner } from '../transport/event-stream.js'
import type { Frame } from '../wire/batch.js'
import type { Chunk } from '../wire/chunk.js'
import type { Encoding } from '../wire/encoding.js'
import { GzipStream } from '../wire/gzip.js'
import { Backlog, type BacklogHost } from './backlog.js'
import type { Opened, Opening } from './opening.js'
import type { Scheduler, Visited } from './scheduler.js'

/** What an outbox needs around it. Nothing of the application's may run in what it calls. */
export interface OutboxHost extends BacklogHost {
  readonly scheduler: Scheduler
  /** What may wait for one client. */
  readonly maxBufferedBytes: number
  /** Whether the oldest events are dropped where more waits; else the client is disconnected. */
  readonly dropsOldest: boolean
  /** A heartbeat. It has the newest event's id where the client was not told that one yet. */
  beat (told: string): { readonly chunk: Chunk, readonly head: string }
  /** More waits than may. */
  tooSlow (outbox: Outbox): void
  /** The oldest events were dropped. */
  dropped (count: number): void
  /** More waits than one write takes, though the socket takes all. */
  overfull (outbox: Outbox): void
  /** Writing failed: the client is ended. */
  failed (outbox: Outbox, error: unknown): void
  /** Ending the stream failed; the client is gone all the same. */
  endingFailed (outbox: Outbox, error: unknown): void
  /** The client can't be reached any more. */
  gone (outbox: Outbox): void
}

/** What an outbox needs of its stream. */
export type OutboxStream = Pick<EventStream,
  'open' | 'piped' | 'alive' | 'finished' | 'session' | 'buffered' | 'left' | 'write' | 'flushHead' | 'end' | 'abort' | 'leave'>

const NOTHING: readonly Chunk[] = []

export abstract class Outbox extends Backlog implements Visited, StreamOwner, Opened {
  abstract readonly id: string
  abstract position: number
  /** The scheduler's mark. */
  queued = false
  /** When something was last written, and when the socket last refused more, by `performance.now()`. */
  writtenAt: number
  blockedAt = 0
  /** The stream is open, and its socket has not refused bytes since it last drained. */
  ready = false

  readonly #host: OutboxHost
  /** What is told of a compressed stream around what others get as well; `null` where it goes out as it is. */
  #gzip: GzipStream | null
  #stream!: OutboxStream
  /** How the stream begins, up to the end of its replay; `null` from then on. */
  #opening: Opening | null
  /** What had left its socket when `stuckSince` last looked, and since when that has not grown. */
  #left = 0
  #leftAt = 0
  #beatDue = false
  /** The newest event's id that the client was told outside of events. */
  #headTold = ''
  /** Nothing is written before it is known what the client missed. */
  #held = false
  #ending = false
  #farewell: Chunk | null = null

  constructor (host: OutboxHost, opening: Opening, encoding: Encoding) {
    super(host, encoding)
    this.#host = host
    this.#opening = opening
    this.#gzip = encoding.key === '' ? null : new GzipStream()
    this.writtenAt = Math.floor(performance.now())
  }

  /** Gives it the stream that was made with it as the owner. */
  attach (stream: OutboxStream): void {
    this.#stream = stream
  }

  /** Bytes that wait, in here and in the socket. */
  get bufferedBytes (): number {
    return this.waitingBytes + this.#stream.buffered
  }

  /** Whether the other side is still there, as far as can be told. */
  get alive (): boolean {
    return this.#stream.alive
  }

  /** Whether the response has ended and its last bytes have left. */
  get finished (): boolean {
    return this.#stream.finished
  }

  /** Whether the application's hooks have run, and the response is this stream's. */
  get piped (): boolean {
    return this.#stream.piped
  }

  /** Whether the socket has refused bytes and has not drained since. */
  get blocked (): boolean {
    return this.#stream.open && !this.ready
  }

  /**
   * Since when its socket has accepted nothing of what waits in it; `now` where nothing waits. Below Node's own limit
   * a socket does not refuse bytes, though its kernel does: two looks show that.
   */
  stuckSince (now: number): number {
    if (this.blocked) return this.blockedAt
    const { left } = this.#stream
    if (this.#stream.buffered === 0 || left !== this.#left) {
      this.#left = left
      this.#leftAt = now
    }
    return this.#leftAt
  }

  /** Puts an event in line. The hot path of a publish: no application code, and nothing that could throw. */
  push (frame: Frame): void {
    const host = this.#host
    this.put(frame, this.ready)
    if (!this.ready) {
      // Only a client that can't be written to can be slow.
      if (this.bufferedBytes > host.maxBufferedBytes) this.#tooMuch()
    } else if (this.isLong) {
      host.overfull(this)
    } else if (!this.queued) {
      host.scheduler.add(this)
    }
  }

  /** Puts an event in line and resolves when the socket took it (true) or it never will (false). */
  pushAndWait (frame: Frame): Promise<boolean> {
    // Where too much waits the event may be dropped at once, and its promise must be there by then.
    const taken = this.nextTaken()
    this.push(frame)
    return taken
  }

  /** Asks for a heartbeat, unless something else is written before. */
  beat (): void {
    if (!this.ready || this.#beatDue || this.#ending) return
    this.#beatDue = true
    this.#host.scheduler.add(this)
  }

  // How it begins.

  /**
   * The first bytes are written in the request's own turn, after what the handler does in it. Where many connect at once, the
   * first of them have something to read while the requests of the others are dealt with.
   */
  onOpen (): void {
    if (this.#held) {
      // It is not blocked by its socket, but must not be taken for stalled either.
      this.blockedAt = Math.floor(performance.now())
      return this.#flushHead()
    }
    this.ready = true
    process.nextTick(() => this.#host.scheduler.visitNow(this))
  }

  /** Called in a turn of Node's, where an error would end the process. */
  #flushHead (): void {
    try {
      this.#stream.flushHead()
    } catch (error) {
      this.#host.failed(this, error)
    }
  }

  hold (): void {
    this.#held = true
  }

  release (): void {
    this.#held = false
    if (this.#stream.open) this.onOpen()
  }

  /** No event up to a position comes live any more: a replay that was to end later ends there. */
  endReplayAt (position: number): void {
    this.#opening?.endAt(position)
  }

  // How it goes on.

  onDrain (): void {
    if (this.ready || this.#held || !this.#stream.open) return
    this.ready = true
    this.settleSends()
    this.#host.scheduler.add(this)
  }

  /**
   * Writes what is next, at most one write's worth: a socket that nobody reads would take 4 MB before it refuses. The hot
   * path of a write: all that waits is one buffer, shared with the clients for whom the same waits, and the system call
   * is nine tenths of the cost.
   */
  visit (now: number): void {
    if (!this.ready) return
    try {
      if (!this.#stream.alive) return this.cut()
      const chunks = this.#next()
      if (chunks.length > 0) this.#write(chunks, now)
      if (!this.ready) return
      if (!this.isEmpty || this.#opening !== null) this.#host.scheduler.add(this)
      else if (this.#ending) this.#end(now)
    } catch (error) {
      this.#host.failed(this, error)
    }
  }

  /** Writes until nothing waits or the socket refuses. */
  flush (): void {
    do this.visit(Math.floor(performance.now()))
    while (this.ready && this.isLong)
  }

  #next (): readonly Chunk[] {
    const piece = this.takePiece()
    if (piece !== null) return [piece]
    if (this.#opening !== null) return this.#begin(this.#opening)
    const chunk = this.take()
    if (chunk !== null) return [chunk]
    if (!this.#beatDue) return NOTHING
    const beat = this.#host.beat(this.#headTold)
    this.#headTold = beat.head
    return [this.encoded(beat.chunk)]
  }

  #begin (opening: Opening): readonly Chunk[] {
    const { text, page: { chunks, count } } = opening.next()
    if (opening.done) {
      this.#headTold = opening.headTold
      this.#opening = null
    }
    this.#host.counters.replayed += count
    // Only a page of a single event can be larger than one write.
    const page = chunks.length === 1 ? [this.firstPiece(chunks[0]!)] : chunks
    if (text !== '') return [this.own(text), ...page]
    if (page.length === 0) this.#stream.flushHead()
    return page
  }

  #write (chunks: readonly Chunk[], now: number): void {
    this.#writeEncoded(this.#gzip === null ? chunks : this.#gzip.take(chunks), now)
  }

  #writeEncoded (chunks: readonly Chunk[], now: number): void {
    const { counters } = this.#host
    this.#beatDue = false
    this.writtenAt = now
    for (const chunk of chunks) counters.bytesWritten += chunk.size
    if (this.#stream.write(chunks)) {
      this.settleSends()
    } else {
      this.ready = false
      this.blockedAt = this.writtenAt
    }
  }

  #tooMuch (): void {
    const host = this.#host
    if (!host.dropsOldest) return host.tooSlow(this)
    const count = this.dropOldest(host.maxBufferedBytes / 2, this.#stream.buffered)
    host.counters.dropped += count
    host.dropped(count)
  }

  // How it ends.

  /**
   * Ends the stream after all that waits.
   * @param farewell the last thing written
   */
  finish (farewell: Chunk | null): void {
    this.#ending = true
    // What is published from now on is not in line here, so no heartbeat may tell its id.
    this.#beatDue = false
    this.#farewell = farewell
    if (this.ready) this.#host.scheduler.add(this)
  }

  /** Answers with a head alone. */
  finishEmpty (): void {
    this.#opening = this.#gzip = null
    this.finish(null)
  }

  /** Ends the connection at once. */
  cut (): void {
    this.#endStream(() => this.#stream.abort())
  }

  /** Leaves the response to somebody else's answer. */
  leaveResponse (): void {
    this.#endStream(() => this.#stream.leave())
  }

  /** At shutdown: an HTTP/2 session outlives its streams, and would keep the server from closing. */
  endSession (how: 'close' | 'destroy'): void {
    try {
      this.#stream.session?.[how]()
    } catch (error) {
      this.#host.endingFailed(this, error)
    }
  }

  onFault (error: unknown): void {
    this.#host.endingFailed(this, error)
  }

  onClose (): void {
    this.ready = false
    this.#opening = null
    this.clear()
    this.#host.gone(this)
  }

  /** Whatever Node's objects, or those that the application put in their place, throw: the client is gone. */
  #endStream (end: () => void): void {
    try {
      end()
    } catch (error) {
      this.#host.endingFailed(this, error)
    }
    this.onClose()
  }

  #end (now: number): void {
    const farewell = this.#farewell === null ? NOTHING : [this.encoded(this.#farewell)]
    const last = this.#gzip === null ? farewell : this.#gzip.end(farewell)
    if (last.length > 0) this.#writeEncoded(last, now)
    this.ready = false
    // From here on the last bytes are on their way, and may stall.
    this.blockedAt = now
    this.#stream.end()
  }
}
