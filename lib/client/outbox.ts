// How what waits for one client gets to its stream, a write a visit, and how the stream ends. It must not know of channels or of
// the broker.
import type { StreamOwner } from '../transport/event-stream.js'
import type { Frame } from '../wire/batch.js'
import type { Chunk } from '../wire/chunk.js'
import type { Encoding } from '../wire/encoding.js'
import type { BacklogHost } from './backlog.js'
import { ClientStream } from './client-stream.js'
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

const NOTHING: readonly Chunk[] = []

export abstract class Outbox extends ClientStream implements Visited, StreamOwner, Opened {
  abstract readonly id: string
  abstract position: number
  /** The scheduler's mark. */
  queued = false

  readonly #host: OutboxHost
  /** How the stream begins, up to the end of its replay; `null` from then on. */
  #opening: Opening | null
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
      return this.transport.flushHead()
    }
    this.ready = true
    process.nextTick(() => this.#host.scheduler.visitNow(this))
  }

  hold (): void {
    this.#held = true
  }

  release (): void {
    this.#held = false
    if (this.transport.open) this.onOpen()
  }

  /** No event up to a position comes live any more: a replay that was to end later ends there. */
  endReplayAt (position: number): void {
    this.#opening?.endAt(position)
  }

  // How it goes on.

  onDrain (): void {
    if (this.ready || this.#held || !this.transport.open) return
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
      if (!this.transport.alive) return this.cut()
      const chunks = this.#next()
      if (chunks.length > 0) {
        this.#beatDue = false
        this.write(chunks, now)
      }
      if (!this.ready) return
      if (!this.isEmpty || this.#opening !== null) this.#host.scheduler.add(this)
      else if (this.#ending) this.writeEnd(this.#farewell === null ? NOTHING : [this.encoded(this.#farewell)], now)
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
    if (page.length === 0) this.transport.flushHead()
    return page
  }

  #tooMuch (): void {
    const host = this.#host
    if (!host.dropsOldest) return host.tooSlow(this)
    const count = this.dropOldest(host.maxBufferedBytes / 2, this.transport.buffered)
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
    this.#opening = null
    this.leaveEmpty()
    this.finish(null)
  }

  /** Ends the connection at once. */
  cut (): void {
    this.#endStream(() => this.transport.abort())
  }

  /** Leaves the response to somebody else's answer. */
  leaveResponse (): void {
    this.#endStream(() => this.transport.leave())
  }

  /** At shutdown: an HTTP/2 session outlives its streams, and would keep the server from closing. */
  endSession (how: 'close' | 'destroy'): void {
    try {
      this.transport.session?.[how]()
    } catch (error) {
      this.#host.endingFailed(this, error)
    }
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
}
