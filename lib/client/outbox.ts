// What waits for one client, in order, and how it gets to the client's stream, a write a visit. It must not know of
// channels or of the broker.
import { channelOf, type Batch, type Batches, type Frame } from '../wire/batch.js'
import type { Counters } from '../observe/counters.js'
import type { Encoding } from '../wire/encoding.js'
import { GzipStream } from '../wire/gzip.js'
import type { Replay, Replays } from '../history/replay.js'
import type { Scheduler, Visited } from './scheduler.js'
import type { EventStream, StreamOwner } from '../transport/event-stream.js'
import { SideLine } from './side-line.js'
import { Chunk, MAX_WRITE } from '../wire/chunk.js'
import { formatEvent, formatGap, formatRetry } from '../wire/format.js'

/** What an outbox needs around it. */
export interface OutboxHost {
  readonly batches: Batches
  readonly replays: Replays
  readonly scheduler: Scheduler
  readonly counters: Counters
  /** What may wait for one client. */
  readonly maxBufferedBytes: number
  /** Whether the oldest go where more waits; else the client goes. */
  readonly dropsOldest: boolean
  /** A heartbeat that tells the newest event's id, where the client was not told that one yet. */
  heartbeat (told: string): { readonly chunk: Chunk, readonly head: string }
}

/** What an outbox needs of its stream. */
export type OutboxStream = Pick<EventStream,
  'open' | 'piped' | 'alive' | 'finished' | 'session' | 'buffered' | 'left' | 'write' | 'flushHead' | 'end' | 'abort' | 'leave'>

/** How a stream begins. */
export interface Opening {
  readonly greeting: boolean
  /** `null` leaves it out. */
  readonly retry: number | null
  /** The id of the place behind which all that is for the client waits for it, and will come. */
  head: string
  /** What it has of the past and what it may miss; `null` where neither matters. */
  readonly replay: Replay | null
  /** Whether it said what it had last, and that is a place in today's order. */
  resumes: boolean
  /** Whether it is given what it missed; else it is only told whether it missed anything. */
  readonly replays: boolean
}

/** A `send()` that waits for the socket. */
interface PendingSend {
  /** How many events must have left the line. */
  readonly mark: number
  readonly settle: (taken: boolean) => void
}

export abstract class Outbox implements Visited, StreamOwner {
  abstract readonly id: string
  /** The scheduler's mark. */
  queued = false
  /** When something was last written, and when the socket last refused more, by `performance.now()`. */
  writtenAt: number
  blockedAt = 0
  /** What had left its socket when `stuckSince` last looked, and since when that has not grown. */
  #left = 0
  #leftAt = 0
  /** The stream is open, and its socket has not refused bytes since it last drained. */
  ready = false

  protected readonly host: OutboxHost
  readonly #encoding: Encoding
  /** What is told of a compressed stream around what others get as well; `null` where it goes out as it is. */
  #gzip: GzipStream | null
  #stream!: OutboxStream
  /** How it begins; `null` once that is written. */
  #opening: Opening | null
  #replay: Replay | null = null
  /** Pieces of an event that is larger than one write, the next one last. */
  #rest: Chunk[] | null = null
  /** Events that were dropped and that the client was not told of. */
  #lost = 0
  #batch: Batch
  /** What waits behind a full batch, or a state that can't be written now. */
  #side: SideLine | null = null
  /** Events that were ever put in line. */
  #enqueued = 0
  #sends: PendingSend[] | null = null
  #beatDue = false
  /** The newest event's id that it was told outside of events. */
  #headTold = ''
  /** Nothing is written before what it missed is known. */
  #held = false
  #ending = false
  #farewell: Chunk | null = null

  constructor (host: OutboxHost, opening: Opening, encoding: Encoding) {
    this.host = host
    this.#opening = opening
    this.#encoding = encoding
    this.#gzip = encoding.key === '' ? null : new GzipStream()
    this.#batch = encoding.empty
    this.writtenAt = Math.floor(performance.now())
  }

  /** Gives it the stream that was made with it as the owner. */
  attach (stream: OutboxStream): void {
    this.#stream = stream
  }

  /** The client can't be reached any more. */
  protected abstract gone (): void
  /** More waits than may. Nothing of the app's may run in here. */
  protected abstract tooSlow (): void
  /** So many of the oldest events were dropped. Nothing of the app's may run in here. */
  protected abstract dropped (count: number): void
  /** More waits than one write takes, though the socket takes all. Nothing of the app's may run in here. */
  protected abstract overfull (): void
  /** Writing failed. */
  protected abstract failed (error: unknown): void
  /** Whether it is in a channel. */
  protected abstract isIn (channel: string): boolean

  /** Whether its stream goes out as gzip. */
  get compressed (): boolean {
    return this.#encoding.key !== ''
  }

  /** Bytes that wait, in here and in the socket. */
  get bufferedBytes (): number {
    return this.#batch.size + (this.#side?.size ?? 0) + this.#restBytes + this.#stream.buffered
  }

  /** Whether the other side is still there, as far as can be told. */
  get alive (): boolean {
    return this.#stream.alive
  }

  /** Whether the response has ended and its last bytes have left. */
  get finished (): boolean {
    return this.#stream.finished
  }

  /** Whether the app's hooks have run, and the response is this stream's. */
  get piped (): boolean {
    return this.#stream.piped
  }

  /** Whether the socket has refused bytes and has not drained since. */
  get blocked (): boolean {
    return this.#stream.open && !this.ready
  }

  /**
   * Since when its socket has accepted nothing of what waits in it; `now` where nothing waits. Below Node's own limit
   * a socket does not refuse bytes, though its kernel does: that is seen by looking twice.
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

  /** Events that have left the line. */
  get #taken (): number {
    return this.#enqueued - this.#batch.count - (this.#side?.places ?? 0)
  }

  get #restBytes (): number {
    let bytes = 0
    if (this.#rest !== null) for (const piece of this.#rest) bytes += piece.size
    return bytes
  }

  /**
   * Puts an event in line. The hot path of a publish: no user code, nothing that could throw, and nothing allocated for
   * a client whose list others have as well.
   */
  push (frame: Frame): void {
    const { host } = this
    // Of states that a slow client waits for, only the newest count.
    if (this.#side === null && (this.ready || frame.place.states === null) && this.#batch.admits(frame)) {
      this.#batch = host.batches.add(this.#batch, frame)
      this.#enqueued++
    } else {
      this.#pushAside(frame)
    }
    if (!this.ready) {
      // Only a client that can't be written to can be slow.
      if (this.bufferedBytes > host.maxBufferedBytes) this.#tooMuch()
    } else if (this.#side !== null) {
      this.overfull()
    } else if (!this.queued) {
      host.scheduler.add(this)
    }
  }

  #pushAside (frame: Frame): void {
    this.#side ??= new SideLine()
    const before = this.#side.places
    this.host.counters.conflated += this.#side.push(frame, this.#statesOf(frame))
    this.#enqueued += this.#side.places - before
  }

  /** Which states an event says to this client: what it says to channels of others alone, nothing newer need say. */
  #statesOf ({ place: { states } }: Frame): readonly string[] | null {
    if (states === null || states.length === 1) return states
    return states.filter(state => this.isIn(channelOf(state)))
  }

  /** Puts an event in line and resolves when the socket took it (true) or it never will (false). */
  pushAndWait (frame: Frame): Promise<boolean> {
    const taken = new Promise<boolean>(resolve => {
      this.#sends ??= []
      this.#sends.push({ mark: this.#enqueued + 1, settle: resolve })
    })
    // Where too much waits it may be dropped at once, and its promise must know.
    this.push(frame)
    return taken
  }

  /** Asks for a heartbeat, unless something else is written before. */
  beat (): void {
    if (!this.ready || this.#beatDue || this.#ending) return
    this.#beatDue = true
    this.host.scheduler.add(this)
  }

  /**
   * Ends the stream behind all that waits.
   * @param farewell the last thing written
   */
  finish (farewell: Chunk | null): void {
    this.#ending = true
    // What is published from now on is not in line here, so no heartbeat may tell its id.
    this.#beatDue = false
    this.#farewell = farewell
    if (this.ready) this.host.scheduler.add(this)
  }

  /** Cuts the stream. */
  cut (): void {
    this.#stream.abort()
    this.onClose()
  }

  /** At shutdown: an HTTP/2 session outlives its streams and would hold the server up. */
  endSession (how: 'close' | 'destroy'): void {
    this.#stream.session?.[how]()
  }

  /** Answers with a head alone. */
  dismiss (): void {
    this.#opening = this.#gzip = null
    this.finish(null)
  }

  /** Lets go of the response, which is answered otherwise. */
  leaveResponse (): void {
    this.#stream.leave()
    this.onClose()
  }

  /**
   * Its first bytes are written in the request's own turn, behind what the handler does in it: where many connect at
   * once, the first have something to read while the next ones' requests are dealt with.
   */
  onOpen (): void {
    if (this.#held) {
      // Not blocked by its socket, but not to be taken for stalled either.
      this.blockedAt = Math.floor(performance.now())
      return this.#stream.flushHead()
    }
    this.ready = true
    process.nextTick(() => this.visit(Math.floor(performance.now())))
  }

  /** Keeps everything back, until `release`. */
  hold (): void {
    this.#held = true
  }

  release (): void {
    this.#held = false
    if (this.#stream.open) this.onOpen()
  }

  /** No event up to a position comes live any more: a replay that was to end later ends there. */
  endReplayAt (position: number): void {
    const replay = this.#opening?.replay ?? this.#replay
    if (replay !== null) replay.end = Math.min(replay.end, position)
  }

  onDrain (): void {
    if (this.ready || this.#held || !this.#stream.open) return
    this.ready = true
    this.#settle()
    this.host.scheduler.add(this)
  }

  onClose (): void {
    this.ready = false
    const sends = this.#sends
    this.#sends = this.#side = this.#rest = this.#replay = this.#opening = null
    this.#batch = this.#encoding.empty
    if (sends !== null) for (const { settle } of sends) settle(false)
    this.gone()
  }

  /**
   * Writes what is next, at most one write's worth: a socket that nobody reads would take 4 MB before it refuses. The hot
   * path of a write: all that waits is one buffer, shared with the clients for whom the same waits, and the system call
   * is nine tenths of the cost.
   */
  visit (now: number): void {
    if (!this.ready) return
    if (!this.#stream.alive) return this.cut()
    try {
      const chunks = this.#next()
      if (chunks.length > 0) this.#write(chunks, now)
      if (!this.ready) return
      if (this.#waits) this.host.scheduler.add(this)
      else if (this.#ending) this.#end(now)
    } catch (error) {
      this.failed(error)
    }
  }

  /** Writes until nothing waits or the socket refuses. */
  flush (): void {
    do this.visit(Math.floor(performance.now()))
    while (this.ready && this.#side !== null)
  }

  get #waits (): boolean {
    return this.#batch.count > 0 || this.#side !== null || this.#replay !== null || this.#rest !== null || this.#lost !== 0
  }

  #next (): readonly Chunk[] {
    if (this.#rest !== null) {
      const piece = this.#rest.pop()!
      if (this.#rest.length === 0) this.#rest = null
      return [piece]
    }
    if (this.#opening !== null) return this.#open(this.#opening)
    if (this.#replay !== null) {
      // History has let go of what the replay had not reached.
      const gap = this.host.replays.lost(this.#replay) ? [this.#ownChunk(formatGap(null))] : []
      return [...gap, ...this.#page(this.#replay)]
    }
    if (this.#lost !== 0) {
      const gap = this.#ownChunk(formatGap(this.#lost))
      this.#lost = 0
      return [gap]
    }
    const { host } = this
    if (this.#batch.count > 0) {
      const batch = this.#batch
      this.#batch = this.#encoding.empty
      host.counters.delivered += batch.count
      return this.#inPieces(batch.chunk())
    }
    if (this.#side !== null) return this.#inPieces(this.#nextOfSide(this.#side))
    if (this.#beatDue) {
      const { chunk, head } = host.heartbeat(this.#headTold)
      this.#headTold = head
      return [this.#encoding.encode(chunk)]
    }
    return []
  }

  #write (chunks: readonly Chunk[], now: number): void {
    this.#writeEncoded(this.#gzip === null ? chunks : this.#gzip.take(chunks), now)
  }

  #writeEncoded (chunks: readonly Chunk[], now: number): void {
    const { host } = this
    this.#beatDue = false
    this.writtenAt = now
    for (const chunk of chunks) host.counters.bytesWritten += chunk.size
    if (this.#stream.write(chunks)) {
      this.#settle()
    } else {
      this.ready = false
      this.blockedAt = this.writtenAt
    }
  }

  #open ({ greeting, retry, head, replay, resumes, replays }: Opening): readonly Chunk[] {
    this.#opening = null
    let recovered = resumes
    if (replay !== null) {
      if (this.host.replays.lost(replay)) recovered = false
      if (replays) this.#replay = replay
      else if (this.host.replays.pending(replay)) recovered = false
    }
    const page = this.#replay === null ? [] : this.#page(this.#replay)
    let text = retry === null ? '' : formatRetry(retry)
    if (greeting) {
      // Where no replay follows, a client that has got no event yet can resume as well.
      const id = page.length === 0 && this.#replay === null ? head : null
      if (id !== null) this.#headTold = head
      text += formatEvent(id, 'sse:open', JSON.stringify({ clientId: this.id, recovered }), -1)
    } else if (text !== '') {
      text += '\n'
    }
    if (text === '' && page.length === 0) {
      this.#stream.flushHead()
      return []
    }
    return text === '' ? page : [this.#ownChunk(text), ...page]
  }

  /** What is for this client alone. */
  #ownChunk (text: string): Chunk {
    return this.#encoding.encode(Chunk.fromText(text, Buffer.byteLength(text)))
  }

  #page (replay: Replay): readonly Chunk[] {
    const { host } = this
    const page = host.replays.page(replay)
    host.counters.replayed += page.count
    if (replay.cursor >= replay.end) this.#replay = null
    // Only a page of a single event can be larger than one write.
    return page.chunks.length === 1 ? this.#inPieces(page.chunks[0]!) : page.chunks
  }

  #nextOfSide (side: SideLine): Chunk {
    const frames = side.take(MAX_WRITE)
    if (side.places === 0) this.#side = null
    this.host.counters.delivered += frames.length
    return this.#encoding.join(frames, frames.reduce((sum, { size }) => sum + size, 0))
  }

  #inPieces (chunk: Chunk): readonly Chunk[] {
    const pieces = chunk.pieces()
    if (pieces.length === 1) return pieces
    this.#rest = pieces.slice(1).reverse()
    return [pieces[0]!]
  }

  #tooMuch (): void {
    const { host } = this
    if (!host.dropsOldest) return this.tooSlow()
    const count = this.#dropOldest(host.maxBufferedBytes / 2)
    this.#lost += count
    host.counters.dropped += count
    this.dropped(count)
  }

  /** Drops the oldest events until at most so many bytes wait; returns how many it dropped. */
  #dropOldest (limit: number): number {
    const begin = this.#taken
    let count = this.#batch.count
    this.#batch = this.#encoding.empty
    const side = this.#side
    if (side !== null) {
      count += side.drop(this.bufferedBytes - limit)
      if (side.places === 0) this.#side = null
    }
    const end = this.#taken
    const sends = this.#sends
    if (sends !== null) {
      this.#sends = sends.filter(({ mark }) => mark <= begin || mark > end)
      for (const { mark, settle } of sends) if (mark > begin && mark <= end) settle(false)
    }
    return count
  }

  /** Settles the sends whose bytes the socket has taken. */
  #settle (): void {
    const sends = this.#sends
    if (sends === null || this.#rest !== null) return
    const taken = this.#taken
    let count = 0
    while (count < sends.length && sends[count]!.mark <= taken) sends[count++]!.settle(true)
    if (count === sends.length) this.#sends = null
    else sends.splice(0, count)
  }

  #end (now: number): void {
    const farewell = this.#farewell === null ? [] : [this.#encoding.encode(this.#farewell)]
    const last = this.#gzip === null ? farewell : this.#gzip.end(farewell)
    if (last.length > 0) this.#writeEncoded(last, now)
    this.ready = false
    // From here on the last bytes are on their way, and may stall.
    this.blockedAt = now
    this.#stream.end()
  }
}
