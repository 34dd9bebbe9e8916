// Writes chunks for one response: to its socket where `directSocket` allows that, else to the response, or to the
// `Readable` that a hook reads. It must not know when a stream begins or ends, or which client it belongs to.
import type { ServerResponse } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { listenTo, unlistenTo } from './connection-events.js'
import { directSocket, hasTurn, plainSocket } from './direct-socket.js'
import { Payload } from './payload.js'
import type { Chunk } from '../wire/chunk.js'

/** What an HTTP/2 response has and an HTTP/1 response has not. It has no `destroyed`. */
export type Http2Fields = ServerResponse & { readonly stream?: ServerHttp2Stream }

export abstract class ResponseWriter extends Payload {
  /** Whether `write` may be called. */
  open = false
  readonly #response: ServerResponse
  readonly #connection: Socket | null
  /** Takes chunks as they are, once `directSocket` has found it. */
  #socket: Socket | null = null
  #wroteHead = false
  /** Bytes that were not written directly. */
  #given = 0
  // Most streams never need these two listeners, which take 400 bytes. They are made on first use.
  #onDrain: (() => void) | null = null
  #onEnd: (() => void) | null = null

  /**
   * @param connection the connection of an HTTP/1 request; `null` for HTTP/2
   */
  constructor (response: ServerResponse, connection: Socket | null) {
    super()
    this.#response = response
    this.#connection = connection
  }

  /** Bytes that `write` was given and that have not left the process. */
  get buffered (): number {
    if (this.materialised !== null) return this.materialised.readableLength
    if (this.#socket !== null) return this.#socket.writableLength
    return this.open ? this.#response.writableLength ?? 0 : 0
  }

  /**
   * A number that grows when bytes leave the process. Over HTTP/1 these are the bytes of the connection. Streams of HTTP/2 share
   * one, so each counts its own.
   */
  get left (): number {
    const socket = this.#socket ?? (this.#connection === null ? null : this.#response.socket)
    return socket instanceof Socket ? socket.bytesWritten - socket.writableLength : this.#given - this.buffered
  }

  /** Whether the response has ended and its last bytes have left. */
  get finished (): boolean {
    // An HTTP/2 stream that was reset counts as finished too.
    return this.#response.writableEnded && this.#response.writableFinished
  }

  /** False: write no more until `onDrain`. */
  write (chunks: readonly Chunk[]): boolean {
    if (this.#socket !== null) return this.#writeDirect(this.#socket, chunks)
    if (this.materialised !== null) return this.#push(this.materialised, chunks)
    if (!this.#wroteHead) this.#sendHead()
    this.#findSocket()
    return this.#socket === null ? this.#writeOrdinary(chunks) : this.#writeDirect(this.#socket, chunks)
  }

  /** Sends the head without any bytes of the stream. */
  flushHead (): void {
    // A client may look at many kept events before one is for it. Node would write nothing to the socket each time.
    if (this.#wroteHead) return
    this.#wroteHead = true
    if (this.materialised === null) this.#response.flushHeaders()
  }

  protected get response (): ServerResponse {
    return this.#response
  }

  protected get connection (): Socket | null {
    return this.#connection
  }

  /** Whether nothing more can be written, though the connection may take bytes: the response has ended. */
  protected get turnIsOver (): boolean {
    return this.#socket === null ? this.#response.writableEnded : !hasTurn(this.#response, this.#socket)
  }

  /** Whether the connection still takes bytes, as far as this process can tell. */
  protected get reachable (): boolean {
    // A response that is destroyed has no socket, or a destroyed one.
    if (this.#socket !== null) return this.#socket.writable
    if (this.#response.destroyed) return false
    if (this.#connection !== null) return this.#connection.writable !== false
    return (this.#response as Http2Fields).stream?.destroyed !== true
  }

  /** Lets go of the socket: after the response's end it may belong to the next response. */
  protected release (): void {
    this.#unwatch()
    this.#socket = null
  }

  /** Watches for the peer's FIN. While unread bytes of the peer wait, Node would keep the response open after it. */
  protected watchEnd (): void {
    if (this.#onEnd !== null) return
    this.#onEnd = () => this.onConnectionEnd()
    if (this.#connection !== null) listenTo(this.#connection, 'end', this.#onEnd)
  }

  /** The bytes that were refused are taken. */
  protected abstract onDrain (): void
  /** The peer has sent its FIN. */
  protected abstract onConnectionEnd (): void

  /** Sends the head. Where the first bytes can go directly to the socket, they leave in one write with it. */
  #sendHead (): void {
    this.#wroteHead = true
    const socket = plainSocket(this.#response)
    if (socket === null) return
    socket.cork()
    try {
      // Node makes the head of 25 pieces and keeps them. If it is flushed alone, it becomes one string of 600 bytes less.
      this.#response.flushHeaders()
      this.#findSocket()
    } finally {
      if (this.#socket === null) socket.uncork()
    }
  }

  #findSocket (): void {
    this.#socket = directSocket(this.#response)
    if (this.#socket === null) return
    // The listener was the response's, and a direct write causes no `drain` there.
    this.#unwatch()
  }

  /**
   * Is called when bytes first stay in the process. A connection that takes all bytes at once, as an idle one does,
   * never pays for these listeners.
   */
  #watch (): void {
    if (this.#onDrain !== null) return
    this.#onDrain = () => this.onDrain()
    const target: Writable = this.#socket ?? this.#response
    target.on('drain', this.#onDrain)
    this.watchEnd()
  }

  #unwatch (): void {
    if (this.#onDrain !== null) {
      this.#response.off('drain', this.#onDrain)
      this.#socket?.off('drain', this.#onDrain)
    }
    if (this.#onEnd !== null && this.#connection !== null) unlistenTo(this.#connection, 'end', this.#onEnd)
    this.#onDrain = this.#onEnd = null
  }

  #writeDirect (socket: Socket, chunks: readonly Chunk[]): boolean {
    let taken = true
    // The response would write a chunk's head, bytes and end as three buffers, one tick later.
    if (chunks.length === 1) {
      taken = socket.write(chunks[0]!.framed)
    } else {
      socket.cork()
      for (const chunk of chunks) taken = socket.write(chunk.framed)
    }
    // After a write of the response, Node keeps the socket corked until the next tick. A burst would fill it.
    while (socket.writableCorked > 0) socket.uncork()
    // `write` says false to many bytes even where the kernel took all of them at once.
    if (socket.writableLength === 0) return true
    this.#watch()
    return taken
  }

  #writeOrdinary (chunks: readonly Chunk[]): boolean {
    this.#watch()
    let taken = true
    for (const chunk of chunks) {
      taken = this.#response.write(chunk.payload())
      this.#given += chunk.size
    }
    return taken
  }

  #push (readable: Readable, chunks: readonly Chunk[]): boolean {
    let taken = true
    for (const chunk of chunks) {
      taken = readable.push(chunk.payload())
      this.#given += chunk.size
    }
    return taken
  }
}
