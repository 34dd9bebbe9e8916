// Writes to one client's stream, and cuts it. It knows whether the stream takes bytes, and since when it does not. It must not know
// what is written, nor of channels or the broker.
import { guarded } from '../guarded.js'
import type { EventStream } from '../transport/event-stream.js'
import { destroySession } from '../transport/http2-session.js'
import type { Chunk } from '../wire/chunk.js'
import type { Encoding } from '../wire/encoding.js'
import { GzipStream } from '../wire/gzip.js'
import { Backlog, type BacklogHost } from './backlog.js'

/** What a client needs of its stream. */
export type OutboxStream = Pick<EventStream,
  'open' | 'piped' | 'alive' | 'finished' | 'overtaken' | 'session' | 'buffered' | 'left' | 'write' | 'flushHead' | 'end' | 'abort' |
  'leave' | 'overTcp' | 'unansweredSince' | 'pingUnansweredSince' | 'keepAlive'>

/** What a client's stream asks of its hub. */
export interface ClientStreamHost extends BacklogHost {
  /** Ending the stream failed. The client counts as gone. */
  endingFailed (client: ClientStream, error: unknown): void
  /** A hook has destroyed the stream in place of piping it. */
  replaced (client: ClientStream): void
}

export abstract class ClientStream extends Backlog {
  /**
   * When something was last written, and when the socket last refused bytes: the lowest 32 bits of `performance.now()`. V8 keeps such
   * a number in its field. Larger ones, as of a process that is 25 days old, would take 40 bytes more for each client.
   */
  #writtenAt = performance.now() | 0
  #blockedAt = this.#writtenAt
  /** When the client came, in whole seconds of `performance.now()`, rounded up. */
  readonly #openedAt = Math.ceil(performance.now() / 1000)
  /** Whether the stream is open, and its socket takes bytes: it has refused none since it last drained. */
  ready = false
  /** Whether nothing but heartbeats may be written yet, because it is not known what the client missed. */
  protected held = false

  readonly #host: ClientStreamHost
  /** Adds this client's own gzip head and end to the blocks that clients share; `null` for a plain stream. */
  #gzip: GzipStream | null
  #stream!: OutboxStream
  /**
   * How many bytes had left the socket when `stuckSince` last looked, and since when that number has not grown. It begins with
   * the client, not at 0, which is when the process began: a client whose first bytes wait at the first look is not stalled.
   */
  #left = 0
  #leftAt = performance.now()

  constructor (host: ClientStreamHost, encoding: Encoding) {
    super(host, encoding)
    this.#host = host
    this.#gzip = encoding.key === '' ? null : new GzipStream()
  }

  /** Called once, with the stream that has this client as its owner. */
  attach (stream: OutboxStream): void {
    this.#stream = stream
  }

  /** Bytes that wait, here and in the socket. */
  get bufferedBytes (): number {
    return this.waitingBytes + this.#stream.buffered
  }

  /** Whether the client is still there, as far as this process can tell. */
  get alive (): boolean {
    return this.#stream.alive
  }

  /** Whether the response has ended and its last bytes have left. */
  get finished (): boolean {
    return this.#stream.finished
  }

  /** Whether the application's hooks have run, and the stream is piped into the response. */
  get piped (): boolean {
    return this.#stream.piped
  }

  /** Whether the socket has refused bytes and has not drained since. A held client waits for the broker, and not for its socket. */
  get blocked (): boolean {
    return this.#stream.open && !this.ready && !this.held
  }

  /**
   * Since when nothing has left the socket, though bytes wait in it; `now` where none wait. Node refuses bytes only above its own
   * limit, so a few bytes may wait for ever in a socket that has refused none. Example: 2,000 bytes wait at 10 s and at 15 s, and
   * 9,000 had left both times. The second look returns 10 s.
   */
  stuckSince (now: number): number {
    if (this.blocked) return now - since(this.#blockedAt, now)
    // Each second this is asked for each client, and nothing waits for nearly all of them. What has left costs more to ask for.
    if (this.#stream.buffered === 0) {
      this.#leftAt = now
      return now
    }
    const { left } = this.#stream
    if (left !== this.#left) {
      this.#left = left
      this.#leftAt = now
    }
    return this.#leftAt
  }

  /** Milliseconds since something was last written. */
  quietFor (now: number): number {
    return since(this.#writtenAt, now)
  }

  /** When the client came, at most a second late, in the time of `performance.now()`. */
  get openedAt (): number {
    return this.#openedAt * 1000
  }

  /** The session of an HTTP/2 client. */
  get session (): EventStream['session'] {
    return this.#stream.session
  }

  /** Whether the client has a TCP connection. Only such a client can vanish without a word. */
  get overTcp (): boolean {
    return this.#stream.overTcp
  }

  /**
   * Since when the client's machine has left unanswered what was sent to it; `now` where it answers, or where nobody knows. An
   * earlier client may have had the same connection, or the same addresses and ports: its silence does not count.
   * @param period asks an HTTP/2 client by a ping each so many milliseconds; 0 for never
   */
  unansweredSince (now: number, period: number): number {
    const unanswered = this.#stream.unansweredSince(now)
    const pinged = period === 0 ? now : this.#stream.pingUnansweredSince(now, period)
    return Math.max(this.openedAt, Math.min(unanswered, pinged))
  }

  /** Lets the system ask whether the client's machine is there, after `delay` milliseconds without a packet from it. */
  keepAlive (delay: number): void {
    this.#stream.keepAlive(delay)
  }

  protected write (chunks: readonly Chunk[], now: number): void {
    this.#writeEncoded(this.#gzip === null ? chunks : this.#gzip.take(chunks), now)
  }

  /** Writes the last chunks, and ends the stream after all that was written. */
  protected writeEnd (chunks: readonly Chunk[], now: number): void {
    const last = this.#gzip === null ? chunks : this.#gzip.end(chunks)
    if (last.length > 0) this.#writeEncoded(last, now)
    this.end(now)
  }

  /** Ends the stream after all that was written. */
  protected end (now: number): void {
    this.ready = false
    // The last bytes may stall as well, from now on.
    this.#blockedAt = now | 0
    this.#stream.end()
  }

  /** Lets the stream end without any bytes. Else it would get those of an empty gzip stream. */
  protected leaveEmpty (): void {
    this.#gzip = null
  }

  #writeEncoded (chunks: readonly Chunk[], now: number): void {
    const { counters } = this.#host
    this.#writtenAt = now | 0
    for (const chunk of chunks) counters.bytesWritten += chunk.size
    if (this.#stream.write(chunks)) {
      this.settleSends()
    } else {
      this.ready = false
      this.#blockedAt = now | 0
    }
  }

  /** The stream is over. */
  abstract onClose (): void

  /** Ends the connection at once. */
  cut (): void {
    this.#endStream(() => this.#stream.abort())
  }

  /** Leaves the response to another answer. */
  leaveResponse (): void {
    this.#endStream(() => this.#stream.leave())
  }

  /** For a shutdown, and a client that vanished. An HTTP/2 session stays open after its streams, and the server can't close before it. */
  endSession (how: 'close' | 'destroy'): void {
    const { session } = this.#stream
    if (session === null) return
    guarded(() => how === 'destroy' ? destroySession(session) : session.close(), error => this.#host.endingFailed(this, error))
  }

  onFault (error: unknown): void {
    this.#host.endingFailed(this, error)
  }

  onReplaced (): void {
    this.#host.replaced(this)
  }

  /** The client is gone, even if `end` throws. The application may have replaced a method of the response, and that may throw. */
  #endStream (end: () => void): void {
    try {
      end()
    } catch (error) {
      this.#host.endingFailed(this, error)
    }
    this.onClose()
  }
}

/** Milliseconds since a time of which the lowest 32 bits are known. It must not be more than 24 days. */
function since (bits: number, now: number): number {
  return (now - bits) | 0
}
