// Takes what waits for one client to its stream, one write in each visit, and ends the stream. It must not know of channels or
// the broker.
import { guarded } from '../guarded.js'
import type { StreamOwner } from '../transport/event-stream.js'
import type { Frame } from '../wire/batch.js'
import type { Chunk } from '../wire/chunk.js'
import type { Encoding } from '../wire/encoding.js'
import type { Buffering } from './buffering.js'
import { ClientStream, type ClientStreamHost, type OutboxStream } from './client-stream.js'
import type { Opened, Opening } from './opening.js'
import type { Scheduler, Visited } from './scheduler.js'

/** What an outbox asks of its hub. These calls must not run the application's code. */
export interface OutboxHost extends ClientStreamHost {
  readonly scheduler: Scheduler
  readonly buffering: Buffering
  /** Bytes that may wait for one client. */
  readonly maxBufferedBytes: number
  /** What happens when more waits: the oldest events are dropped (true), or the client is disconnected (false). */
  readonly dropsOldest: boolean
  /** Makes a heartbeat. It has the newest event's id, unless the client was told that id already, or must not resume: `null`. */
  beat (told: string | null): { readonly chunk: Chunk, readonly head: string }
  /** More waits than `maxBufferedBytes`. */
  tooSlow (outbox: Outbox): void
  /** The oldest events were dropped. */
  dropped (count: number): void
  /** More waits than one write takes, and the socket takes bytes. */
  overfull (outbox: Outbox): void
  /** Writing failed, so the client must be ended. */
  failed (outbox: Outbox, error: unknown): void
  /** The application has ended the response itself. */
  overtaken (outbox: Outbox): void
  /** The stream is over. */
  gone (outbox: Outbox): void
}

const NOTHING: readonly Chunk[] = []

export abstract class Outbox extends ClientStream implements Visited, StreamOwner, Opened {
  abstract readonly id: string
  abstract position: number
  /** The scheduler's mark. */
  queued = false

  readonly #host: OutboxHost
  #stream!: OutboxStream
  /** `null` after the end of the replay. */
  #opening: Opening | null
  #beatDue = false
  /** The newest id that the client was told by the greeting or a heartbeat. */
  #headTold = ''
  #ending = false
  #farewell: Chunk | null = null

  constructor (host: OutboxHost, opening: Opening, encoding: Encoding) {
    super(host, encoding)
    this.#host = host
    this.#opening = opening
  }

  override attach (stream: OutboxStream): void {
    super.attach(stream)
    this.#stream = stream
  }

  /** Puts an event in line. The hot path of a publish: it runs no application code, and throws nothing. */
  push (frame: Frame): void {
    const host = this.#host
    this.put(frame, this.ready, this.begun)
    if (!this.ready) {
      host.buffering.add(this)
      // Only a client that can't be written to can be slow.
      if (this.bufferedBytes > host.maxBufferedBytes) this.#tooMuch()
    } else if (this.isLong) {
      host.overfull(this)
    } else if (!this.queued) {
      host.scheduler.add(this)
    }
  }

  /** Puts an event in line. Resolves to true when the socket has taken it, and to false when it never will. */
  pushAndWait (frame: Frame): Promise<boolean> {
    // The promise is made first, because `push` may drop the event at once.
    const taken = this.nextTaken()
    this.push(frame)
    return taken
  }

  /** Asks for a heartbeat. Another write before it takes its place. */
  beat (): void {
    if (this.held) return this.#beatHeld()
    if (!this.ready || this.#beatDue || this.#ending) return
    this.#beatDue = true
    this.#host.scheduler.add(this)
  }

  /** A held client must not resume after an event that it did not get, so this heartbeat has no id. */
  #beatHeld (): void {
    if (this.#stream.open && !this.#ending) this.write([this.encoded(this.#host.beat(null).chunk)], Math.floor(performance.now()))
  }

  // How it begins.

  /**
   * The first bytes are written in the request's own turn, after the handler's part of it. Example: 1,000 clients connect at once.
   * The first of them can read while the requests of the others are handled.
   */
  onOpen (): void {
    if (this.held) return this.#flushHead()
    this.ready = true
    process.nextTick(() => this.#host.scheduler.visitNow(this))
  }

  /** Called in a turn of Node's, where an error would end the process. */
  #flushHead (): void {
    guarded(() => this.#stream.flushHead(), error => this.#host.failed(this, error))
  }

  /** Whether the first bytes were made. */
  get begun (): boolean {
    return this.#opening === null || this.#opening.begun
  }

  hold (): void {
    this.held = true
    // It was to be written to at the end of this turn.
    if (this.ready) this.#flushHead()
    this.ready = false
  }

  release (): void {
    this.held = false
    if (this.#stream.open) this.onOpen()
  }

  /**
   * The client has joined a channel before its first bytes. That counts as if the route had named it.
   * @param targets all that the client has now
   */
  joinEarly (channel: string, targets: readonly string[]): void {
    this.#opening!.retarget(targets, channel, this)
  }

  /** As `joinEarly`: the client gets nothing of the channel that it has left. */
  leaveEarly (channel: string, targets: readonly string[]): void {
    this.dropChannel(channel)
    this.#opening!.retarget(targets, null, this)
  }

  /** The broker skipped to a position: later events come live. So a replay that would end after the position ends at it. */
  endReplayAt (position: number): void {
    this.#opening?.endAt(position)
  }

  // How it goes on.

  onDrain (): void {
    if (this.ready || this.held || !this.#stream.open) return
    this.ready = true
    this.settleSends()
    this.#host.scheduler.add(this)
  }

  /**
   * Writes what is next, at most one write of it. Without that limit, a socket that nobody reads would take 4 MB before it refuses.
   * The hot path of a write: all that waits is one buffer, which clients with the same list share. The system call is nine tenths
   * of the cost.
   */
  visit (now: number): void {
    if (!this.ready) return
    try {
      if (!this.#stream.alive) return this.cut()
      if (this.#stream.overtaken) return this.#host.overtaken(this)
      const chunks = this.#next()
      if (chunks.length > 0) {
        this.#beatDue = false
        this.write(chunks, now)
        this.#noteBuffered()
      }
      if (!this.ready) return this.#refused()
      if (!this.isEmpty || this.#opening !== null) {
        this.#host.scheduler.add(this)
      } else if (this.#ending) {
        this.writeEnd(this.#farewell === null ? NOTHING : [this.encoded(this.#farewell)], now)
        this.#noteBuffered()
      }
    } catch (error) {
      this.#host.failed(this, error)
    }
  }

  /** Called after a write: its bytes may wait in the socket. */
  #noteBuffered (): void {
    if (this.#stream.buffered > 0) this.#host.buffering.add(this)
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
    // Only a page of one chunk can be an event that is larger than one write. It is written in pieces.
    const page = chunks.length === 1 ? [this.firstPiece(chunks[0]!)] : chunks
    if (text !== '') return [this.own(text), ...page]
    if (page.length === 0) this.#stream.flushHead()
    return page
  }

  /**
   * The limit is looked at here as well: perhaps nothing more is published. What one write left in the socket is no backlog, nor is
   * the rest of the event that is under way: a client that reads gets an event that is larger than the limit.
   */
  #refused (): void {
    const waiting = this.bytesInLine
    if (!this.#ending && waiting > 0 && waiting + this.#stream.buffered > this.#host.maxBufferedBytes) this.#tooMuch()
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
   * @param farewell written last; `null` for nothing
   */
  finish (farewell: Chunk | null): void {
    this.#ending = true
    // Later events are not put in line here. A heartbeat with the id of such an event would make the client miss it.
    this.#beatDue = false
    this.#farewell = farewell
    if (this.ready) this.#host.scheduler.add(this)
  }

  /** Whether the beginning of the stream waits for the client, or bytes in line or in the socket. */
  get unread (): boolean {
    return this.#opening !== null || !this.isEmpty || this.#stream.buffered > 0
  }

  /** Writes nothing more, because the response has ended. Its last bytes may still leave. */
  finishOvertaken (): void {
    this.#ending = true
    this.#opening = null
    this.clear()
    this.end(Math.floor(performance.now()))
  }

  /** Answers with a head alone. */
  finishEmpty (): void {
    this.#opening = null
    this.leaveEmpty()
    this.finish(null)
  }

  onClose (): void {
    this.ready = false
    this.#opening = null
    this.clear()
    this.#host.buffering.delete(this)
    this.#host.gone(this)
  }
}
