// One client's stream: whether it takes bytes, since when it does not, and writing to it. It must not know what is written, nor
// of channels or of the broker.
import type { EventStream } from '../transport/event-stream.js'
import type { Chunk } from '../wire/chunk.js'
import type { Encoding } from '../wire/encoding.js'
import { GzipStream } from '../wire/gzip.js'
import { Backlog, type BacklogHost } from './backlog.js'

/** What a client needs of its stream. */
export type OutboxStream = Pick<EventStream,
  'open' | 'piped' | 'alive' | 'finished' | 'session' | 'buffered' | 'left' | 'write' | 'flushHead' | 'end' | 'abort' | 'leave'>

export abstract class ClientStream extends Backlog {
  /** When something was last written, and when the socket last refused more, by `performance.now()`. */
  writtenAt = Math.floor(performance.now())
  blockedAt = 0
  /** The stream is open, and its socket has not refused bytes since it last drained. */
  ready = false

  readonly #host: BacklogHost
  /** What is told of a compressed stream around what others get as well; `null` where it goes out as it is. */
  #gzip: GzipStream | null
  #stream!: OutboxStream
  /** What had left its socket when `stuckSince` last looked, and since when that has not grown. */
  #left = 0
  #leftAt = 0

  constructor (host: BacklogHost, encoding: Encoding) {
    super(host, encoding)
    this.#host = host
    this.#gzip = encoding.key === '' ? null : new GzipStream()
  }

  /** Gives it the stream that was made with it as the owner. */
  attach (stream: OutboxStream): void {
    this.#stream = stream
  }

  protected get transport (): OutboxStream {
    return this.#stream
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

  protected write (chunks: readonly Chunk[], now: number): void {
    this.#writeEncoded(this.#gzip === null ? chunks : this.#gzip.take(chunks), now)
  }

  /** Writes the last chunks, and ends the stream after all that was written. */
  protected writeEnd (chunks: readonly Chunk[], now: number): void {
    const last = this.#gzip === null ? chunks : this.#gzip.end(chunks)
    if (last.length > 0) this.#writeEncoded(last, now)
    this.ready = false
    // From here on the last bytes are on their way, and may stall.
    this.blockedAt = now
    this.#stream.end()
  }

  /** The stream ends without any bytes, and so without those of an empty gzip stream. */
  protected leaveEmpty (): void {
    this.#gzip = null
  }

  #writeEncoded (chunks: readonly Chunk[], now: number): void {
    const { counters } = this.#host
    this.writtenAt = now
    for (const chunk of chunks) counters.bytesWritten += chunk.size
    if (this.#stream.write(chunks)) {
      this.settleSends()
    } else {
      this.ready = false
      this.blockedAt = now
    }
  }
}
