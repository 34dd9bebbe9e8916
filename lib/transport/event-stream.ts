// One response as the place where event stream bytes go. Fastify gets it as the payload of `reply.send()`, runs the
// app's hooks and pipes it into the response; from then on bytes go to that response, or past it to its socket.
// It must not know of events, batches or the hub.
import { ServerResponse, type IncomingMessage } from 'node:http'
import type { Http2Session, ServerHttp2Stream } from 'node:http2'
import { Socket } from 'node:net'
import { Readable, type Writable } from 'node:stream'
import { directSocket, plainSocket } from './direct-socket.js'
import type { Chunk } from '../wire/chunk.js'

type Listener = (...args: unknown[]) => void

/** What HTTP/2's response has beside that of HTTP/1; a `destroyed` it has not. */
type Http2Fields = ServerResponse & { readonly stream?: ServerHttp2Stream }

/** What the stream tells its client. */
export interface StreamOwner {
  /** The hooks have run; `write` may be called. */
  onOpen (): void
  /** What was refused is taken. */
  onDrain (): void
  /** The connection is gone, or the response is over. Called once. */
  onClose (): void
}

/** The reply whose payload the stream is: from the pipe on nobody else answers. */
interface HijackedReply {
  hijack (): unknown
  hasTrailer (name: string): boolean
}

/**
 * It is not a `Readable`, which costs 3 KB a connection, but has what Fastify and `stream.finished` touch of one.
 * A hook that pipes it elsewhere than into the response, or reads it, gets a real one.
 */
export class EventStream {
  /** Whether `write` may be called. */
  open = false
  /** Whether Fastify has piped it into the response: the app's hooks have run. */
  piped = false
  readonly #owner: StreamOwner
  readonly #response: ServerResponse
  readonly #reply: HijackedReply
  /** The connection, where it is one of HTTP/1; its end is the client's leaving. */
  readonly #connection: Socket | null
  /** The session, where the response is one of HTTP/2. */
  readonly session: Http2Session | null
  /** Takes chunks as they are, once `directSocket` has found it. */
  #socket: Socket | null = null
  /** In place of the response where a hook reads the payload. */
  #readable: Readable | null = null
  /** Listeners from before the stream is piped. */
  #listeners: Array<[event: string, listener: Listener]> | null = []
  #keepsEnd = false
  #wroteHead = false
  #ended = false
  #closed = false
  /** The server's limit for a silent connection, where it is lifted; 0 where there is none. */
  #timeout = 0
  /** Listeners that most streams never need, and so don't make. */
  #onBegin: (() => void) | null = null
  #onDrain: (() => void) | null = null
  #onEnd: (() => void) | null = null

  /**
   * @param reply is hijacked when Fastify pipes the stream into the response: all hooks have run
   */
  constructor (owner: StreamOwner, request: IncomingMessage, response: ServerResponse, reply: HijackedReply) {
    this.#owner = owner
    this.#response = response
    this.#reply = reply
    this.#connection = request.httpVersionMajor === 1 ? request.socket : null
    this.session = (response as Http2Fields).stream?.session ?? null
    response.on('close', this.#onClose)
    // A pipelined response that waits for its turn says nothing when its connection goes; the connection does.
    if (response.socket !== this.#connection && this.#connection !== null) {
      // However many wait on one: Node would take their listeners for a leak, and say so.
      this.#connection.setMaxListeners(0)
      this.#connection.on('close', this.#onClose)
    }
  }

  // What Fastify, its plugins and `stream.finished` call.

  pipe<Target extends Writable> (target: Target, options?: { end?: boolean }): Target {
    if (this.#closed) {
      this.#emitEnd()
      return target
    }
    if (this.#readable !== null) return this.#readable.pipe(target, options)
    if (target as unknown !== this.#response) return this.#materialise().pipe(target, options)
    this.#keepsEnd = options?.end === false || this.#hasTrailers
    this.#begin()
    // What the source's end means is that Fastify shall not take a disconnect for a fault of the source.
    if (!this.#keepsEnd) this.#emitEnd()
    const response = this.#response
    // HTTP/1 pipelining: an earlier response has the socket. The turn begins with 'socket', and what Node held back
    // is written by the next tick.
    const waits = response instanceof ServerResponse && response.socket === null
    if (waits) response.once('socket', () => process.nextTick(() => this.#setOpen()))
    else this.#setOpen()
    return target
  }

  on (event: string, listener: Listener): this {
    if (event === 'data' || event === 'readable') this.#materialise()
    if (this.#readable !== null) this.#readable.on(event, listener)
    else this.#listeners?.push([event, listener])
    return this
  }

  once (event: string, listener: Listener): this {
    const once = (...args: unknown[]): void => {
      this.off(event, once)
      listener.apply(this, args)
    }
    return this.on(event, once)
  }

  off (event: string, listener: Listener): this {
    this.#readable?.off(event, listener)
    this.#listeners = this.#listeners?.filter(entry => entry[0] !== event || entry[1] !== listener) ?? null
    return this
  }

  addListener (event: string, listener: Listener): this {
    return this.on(event, listener)
  }

  removeListener (event: string, listener: Listener): this {
    return this.off(event, listener)
  }

  [Symbol.asyncIterator] (): AsyncIterator<Buffer> {
    return this.#materialise()[Symbol.asyncIterator]()
  }

  /** For a response without a body nothing is read. */
  resume (): this {
    this.#readable?.resume()
    return this
  }

  /** The response is over before its source: Fastify's word, or a hook's. */
  destroy (): this {
    if (!this.#ended) this.abort()
    return this
  }

  // What the client calls.

  /** Bytes that were taken from the hub and have not left the process. */
  get buffered (): number {
    if (this.#readable !== null) return this.#readable.readableLength
    if (this.#socket !== null) return this.#socket.writableLength
    return this.open ? this.#response.writableLength ?? 0 : 0
  }

  /** Bytes that have left the process on this connection, where that is known. */
  get left (): number {
    const socket = this.#socket ?? this.#response.socket
    return socket instanceof Socket ? socket.bytesWritten - socket.writableLength : 0
  }

  /**
   * Whether the other side is still there, as far as can be told. Where it is not, nothing may be written: after the
   * peer's FIN a direct write is reported as a client error, and the response's own buffers for ever.
   */
  get alive (): boolean {
    // A destroyed response has no socket, or a destroyed one.
    if (this.#socket !== null) return this.#socket.writable
    if (this.#closed || this.#response.destroyed) return false
    if (this.#connection !== null) return this.#connection.writable !== false
    return (this.#response as Http2Fields).stream?.destroyed !== true
  }

  /** Whether the response has ended and its last bytes have left. */
  get finished (): boolean {
    // An HTTP/2 stream that was reset counts as finished too.
    return this.#response.writableEnded && this.#response.writableFinished
  }

  /** False: no more until `onDrain`. */
  write (chunks: readonly Chunk[]): boolean {
    if (this.#socket !== null) return this.#writeDirect(this.#socket, chunks)
    if (this.#readable !== null) return this.#push(this.#readable, chunks)
    if (!this.#wroteHead) this.#sendHead()
    this.#findSocket()
    return this.#socket === null ? this.#writeOrdinary(chunks) : this.#writeDirect(this.#socket, chunks)
  }

  /** Sends the head alone, where there is nothing else to send. */
  flushHead (): void {
    this.#wroteHead = true
    if (this.#readable === null) this.#response.flushHeaders()
  }

  /** Ends the stream behind what was written; `onClose` follows when the last bytes have left. */
  end (): void {
    if (this.#ended || this.#closed) return
    this.#ended = true
    // From here on the socket may belong to the next response.
    this.#release()
    if (this.#readable !== null) this.#readable.push(null)
    else if (this.#keepsEnd) this.#emitEnd()
    else this.#response.end()
  }

  /** Cuts the connection; where nothing was answered yet, too. */
  abort (): void {
    if (this.#closed) return
    this.#ended = true
    this.#release()
    this.#readable?.destroy()
    this.#response.destroy()
    // A pipelined response that waits for its turn has no socket to destroy.
    if (this.#response.socket === null) this.#connection?.destroy()
  }

  /** Leaves the response to others: the reply is answered without this stream. */
  leave (): void {
    this.#ended = this.#closed = true
    this.open = false
    this.#release()
    this.#restoreTimeout()
    this.#readable?.destroy()
    if (this.#onBegin !== null) this.#response.off('pipe', this.#onBegin)
    this.#response.off('close', this.#onClose)
    this.#connection?.off('close', this.#onClose)
  }

  /** Whether Fastify ends the response at the payload's end, with trailers. Fastify 5 says so when it pipes only since 5.12.8. */
  get #hasTrailers (): boolean {
    const names = this.#response.getHeader('trailer')
    return names !== undefined && String(names).split(/[\s,]+/).some(name => name !== '' && this.#reply.hasTrailer(name))
  }

  #begin (): void {
    this.piped = true
    this.#reply.hijack()
  }

  #setOpen (): void {
    if (this.#closed) return
    this.open = true
    this.#liftTimeout()
    this.#owner.onOpen()
  }

  /** A stream may be silent for long. Whether its connection still lives is told by heartbeats and `stallTimeout`. */
  #liftTimeout (): void {
    const connection = this.#connection
    // Where the response is injected there is no real one.
    if (!connection?.timeout) return
    this.#timeout = connection.timeout
    connection.setTimeout(0)
  }

  #restoreTimeout (): void {
    // Behind a response Node sets the limit for the time between requests, which stays.
    if (this.#timeout !== 0 && this.#connection!.timeout === 0) this.#connection!.setTimeout(this.#timeout)
    this.#timeout = 0
  }

  /** Hands the head over in front of the first bytes, in one write with them, where these can go past the response. */
  #sendHead (): void {
    this.#wroteHead = true
    const socket = plainSocket(this.#response)
    if (socket === null) return
    socket.cork()
    // Node makes the head of 25 pieces and keeps them. Written by itself it becomes one string, 600 bytes smaller.
    this.#response.flushHeaders()
    this.#findSocket()
    if (this.#socket === null) socket.uncork()
  }

  #findSocket (): void {
    this.#socket = directSocket(this.#response)
    if (this.#socket === null) return
    // Node reports the drain of a socket to the response only for the response's own writes.
    this.#unwatch()
  }

  /**
   * From when something first stays behind in the process: a connection that keeps up, as an idle one does, is spared
   * these listeners, which take 400 bytes.
   */
  #watch (): void {
    if (this.#onDrain !== null) return
    this.#onDrain = () => this.#owner.onDrain()
    const target: Writable = this.#socket ?? this.#response
    target.on('drain', this.#onDrain)
    this.#watchEnd()
  }

  /** The peer's FIN: it left. Where its own bytes wait to be read, Node would hold the response open. */
  #watchEnd (): void {
    if (this.#onEnd !== null) return
    this.#onEnd = () => this.abort()
    this.#connection?.on('end', this.#onEnd)
  }

  #unwatch (): void {
    if (this.#onDrain !== null) {
      this.#response.off('drain', this.#onDrain)
      this.#socket?.off('drain', this.#onDrain)
    }
    if (this.#onEnd !== null) this.#connection?.off('end', this.#onEnd)
    this.#onDrain = this.#onEnd = null
  }

  #writeDirect (socket: Socket, chunks: readonly Chunk[]): boolean {
    let taken = true
    // Prepared bytes, past the response, which would write a chunk's head, bytes and end as three buffers, a tick later.
    if (chunks.length === 1) {
      taken = socket.write(chunks[0]!.framed)
    } else {
      socket.cork()
      for (const chunk of chunks) taken = socket.write(chunk.framed)
    }
    // Node too corks it, until the next tick behind a write of the response's: a burst would find it refusing.
    while (socket.writableCorked > 0) socket.uncork()
    if (socket.writableLength === 0) return true
    this.#watch()
    // `write` answers by the size of what it was given. What the kernel took at once has not been refused.
    return taken
  }

  #writeOrdinary (chunks: readonly Chunk[]): boolean {
    this.#watch()
    let taken = true
    for (const chunk of chunks) taken = this.#response.write(chunk.payload())
    return taken
  }

  #push (readable: Readable, chunks: readonly Chunk[]): boolean {
    let taken = true
    for (const chunk of chunks) taken = readable.push(chunk.payload())
    return taken
  }

  #materialise (): Readable {
    if (this.#readable === null) {
      this.#readable = new Readable({ read: () => this.#owner.onDrain(), destroy: (error, done) => { this.#onClose(); done(error) } })
      for (const [event, listener] of this.#listeners ?? []) this.#readable.on(event, listener)
      this.#listeners = null
      // What the hook makes of it goes into the response in the end.
      this.#onBegin = () => this.#begin()
      this.#response.once('pipe', this.#onBegin)
      this.#watchEnd()
      process.nextTick(() => this.#setOpen())
    }
    return this.#readable
  }

  #emitEnd (): void {
    const listeners = this.#listeners ?? []
    this.#listeners = null
    for (const [event, listener] of listeners) if (event === 'end') listener()
  }

  #release (): void {
    this.#unwatch()
    this.#socket = null
  }

  readonly #onClose = (): void => {
    if (this.#closed) return
    this.#closed = true
    this.open = false
    this.#release()
    this.#restoreTimeout()
    this.#response.off('close', this.#onClose)
    this.#connection?.off('close', this.#onClose)
    this.#owner.onClose()
  }
}
