// The life of one event stream: Fastify pipes it into the response after the app's hooks, it opens, and it ends or is
// cut. It must not know of events, batches or the hub.
import { ServerResponse, type IncomingMessage } from 'node:http'
import type { Http2Session } from 'node:http2'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { guarded } from '../guarded.js'
import { listenTo, unlistenTo } from './connection-events.js'
import { pingUnansweredSince } from './pings.js'
import { ResponseWriter, type Http2Fields } from './response-writer.js'
import { liftTimeout, restoreTimeout } from './socket-timeout.js'
import { tcpTable } from './tcp-table.js'

/** What the stream tells its client. */
export interface StreamOwner {
  /** The hooks have run; `write` may be called. */
  onOpen (): void
  /** The bytes that were refused are taken. */
  onDrain (): void
  /** The connection is gone, or the response is over. Called once, by `abort` too; never after `leave`. */
  onClose (): void
  /** A hook has destroyed the stream in place of piping it. Something else answers, and `leave` must follow. */
  onReplaced (): void
  /** A listener or a method of the application's failed where it was told of the stream's end. Nothing else is affected. */
  onFault (error: unknown): void
}

/** The reply whose payload the stream is. After the pipe, nothing else may answer. */
interface HijackedReply {
  hijack (): unknown
  hasTrailer (name: string): boolean
}

/**
 * It inherits from `ResponseWriter` and `Payload` to save memory: with an object for each of them, an idle connection
 * would take some 180 bytes more.
 *
 * The application may have wrapped `response.destroy()`, `response.end()` or `readable.destroy()`, and its wrapper may
 * throw. So a method that ends the stream sets its own state first and calls these last. The caller gets the error.
 */
export class EventStream extends ResponseWriter {
  /** Whether the app's hooks have run and the stream is piped into the response. */
  piped = false
  /** The session of an HTTP/2 response. */
  readonly session: Http2Session | null
  readonly #owner: StreamOwner
  readonly #reply: HijackedReply
  /** Whether Fastify ends the response, and not this stream. */
  #keepsEnd = false
  #ended = false
  #closed = false
  /** Whether a hook has destroyed the stream before it was piped. */
  #replaced = false
  /** The server's limit for a silent connection while it is lifted; else 0. */
  #timeout = 0
  /**
   * Waits until a hook's own stream, made from the `Readable`, is piped into the response. It stays after `abort`: that
   * pipe answers the reply, so nothing else may.
   */
  #onBegin: (() => void) | null = null

  /**
   * @param reply is hijacked when Fastify pipes the stream into the response
   */
  constructor (owner: StreamOwner, request: IncomingMessage, response: ServerResponse, reply: HijackedReply) {
    super(response, request.httpVersionMajor === 1 ? request.socket : null)
    this.#owner = owner
    this.#reply = reply
    this.session = (response as Http2Fields).stream?.session ?? null
    response.on('close', this.#onClose)
    const { connection } = this
    // A pipelined response that waits for its turn does not emit 'close' when its connection closes.
    if (connection !== null && response.socket !== connection) listenTo(connection, 'close', this.#onClose)
  }

  /** Fastify calls it with the response, after the hooks. A hook may call it with a stream of its own. */
  pipe<Target extends Writable> (target: Target, options?: { end?: boolean }): Target {
    const { response } = this
    if (this.#closed) {
      // As with any stream that is destroyed, Fastify's error handler answers.
      if (this.#replaced && !response.headersSent) this.emitLast('error', new Error('A hook has destroyed the stream and has sent nothing else'))
      else this.emitLast('end')
      return target
    }
    if (this.materialised !== null || target as unknown !== response) return this.materialise().pipe(target, options)
    this.#keepsEnd = options?.end === false || this.#hasTrailers
    this.#begin()
    // Without the payload's 'end', Fastify logs each disconnect as "stream closed prematurely".
    if (!this.#keepsEnd) this.emitLast('end')
    // HTTP/1 pipelining: while an earlier response has the socket, this one has none. Its turn begins with 'socket',
    // and Node writes what it has kept for it in the next tick.
    const waits = response instanceof ServerResponse && response.socket === null
    if (waits) response.once('socket', () => process.nextTick(() => this.#setOpen()))
    else this.#setOpen()
    return target
  }

  /**
   * Fastify calls it where the response is over before the stream. A hook calls it to let go of a payload that it has replaced:
   * the response is for what the hook sends then.
   */
  destroy (): this {
    if (this.#ended) return this
    if (this.piped) this.abort()
    else this.#replace()
    return this
  }

  /**
   * Whether the client is still there, as far as this process can tell. If not, nothing may be written: after the peer's
   * FIN a direct write is reported as a client error, and the response would buffer for ever.
   */
  get alive (): boolean {
    return !this.#closed && this.reachable
  }

  /**
   * Whether the application has ended the response itself. Its last bytes may still leave, but nothing may be written: it would
   * come after the last chunk. `end` must follow.
   */
  get overtaken (): boolean {
    return !this.#ended && this.turnIsOver
  }

  /** Whether the stream has a TCP connection: not a Unix socket, nor one of `inject()`. */
  get overTcp (): boolean {
    return this.#socket?.remotePort !== undefined
  }

  /** Since when the client's machine has left unanswered what was sent to it; `now` where it answers, or where nobody knows. */
  unansweredSince (now: number): number {
    const socket = this.#socket
    return socket === null ? now : tcpTable.unansweredSince(socket, now)
  }

  /** As `unansweredSince`, for an HTTP/2 client that is asked by a ping each `period` milliseconds. For others it is `now`. */
  pingUnansweredSince (now: number, period: number): number {
    return this.session === null ? now : pingUnansweredSince(this.session, now, period)
  }

  /** Lets the system ask an HTTP/1 client's machine whether it is there, after `delay` milliseconds without a packet from it. */
  keepAlive (delay: number): void {
    if (this.connection instanceof Socket) this.connection.setKeepAlive(true, delay)
  }

  /** Ends the stream after what was written. `onClose` follows when the last bytes have left. */
  end (): void {
    if (this.#ended || this.#closed) return
    const { overtaken } = this
    this.#ended = true
    this.release()
    if (overtaken) this.materialised?.destroy()
    else if (this.materialised !== null) this.materialised.push(null)
    else if (this.#keepsEnd) this.emitLast('end')
    else this.response.end()
  }

  /** Cuts the connection, also where nothing was answered yet. It calls `onClose` before it returns or throws. */
  abort (): void {
    if (this.#closed) return
    this.#close()
    try {
      this.#destroyAll()
    } finally {
      this.#owner.onClose()
    }
  }

  /** Leaves the response to others: the reply is answered without this stream. */
  leave (): void {
    this.#close()
    if (this.#onBegin !== null) this.response.off('pipe', this.#onBegin)
    this.materialised?.destroy()
  }

  protected onMaterialised (): void {
    this.#onBegin = () => this.#begin()
    this.response.once('pipe', this.#onBegin)
    this.watchEnd()
    process.nextTick(() => this.#setOpen())
  }

  protected onRead (): void {
    this.#owner.onDrain()
  }

  protected onReadableClose (): void {
    if (this.#closed) return
    // An async iterator may be read only after the pipe.
    if (this.piped || this.#ended || this.response.headersSent) this.#onClose()
    else this.#replace()
  }

  protected onListenerFailed (error: unknown): void {
    this.#owner.onFault(error)
  }

  protected onDrain (): void {
    this.#owner.onDrain()
  }

  /** It does not call `response.destroy()`: an error thrown in a socket's listener would end the process. */
  protected onConnectionEnd (): void {
    guarded(() => this.materialised?.destroy(), error => this.onListenerFailed(error))
    this.connection!.destroy()
  }

  /** Whether Fastify ends the response itself, to send trailers. Before 5.12.8, its call of `pipe` does not say so. */
  get #hasTrailers (): boolean {
    const names = this.response.getHeader('trailer')
    return names !== undefined && String(names).split(/[\s,]+/).some(name => name !== '' && this.#reply.hasTrailer(name))
  }

  #replace (): void {
    this.#replaced = true
    this.#owner.onReplaced()
  }

  /** The socket below. Of an HTTP/2 session Node shows one that has the addresses, and can't be ended. */
  get #socket (): Socket | null {
    return this.session === null ? this.connection : this.session.destroyed ? null : this.session.socket as Socket
  }

  #begin (): void {
    this.piped = true
    this.#reply.hijack()
  }

  #setOpen (): void {
    if (this.#closed) return
    this.open = true
    this.#timeout = liftTimeout(this.connection)
    this.#owner.onOpen()
  }

  /** Sets the state of a stream that is over. It calls nothing that the application may have wrapped. */
  #close (): void {
    this.#ended = this.#closed = true
    this.open = false
    this.release()
    restoreTimeout(this.connection, this.#timeout)
    this.#timeout = 0
    this.response.off('close', this.#onClose)
    if (this.connection !== null) unlistenTo(this.connection, 'close', this.#onClose)
  }

  #destroyAll (): void {
    const { connection, response } = this
    try {
      this.materialised?.destroy()
      response.destroy()
    } catch (error) {
      // Nothing watches the connection any more, so it must not stay open. That of `inject()` has no `destroy`.
      const carrier = connection ?? (response as Http2Fields).stream
      carrier?.destroy?.()
      throw error
    }
    // A pipelined response that waits for its turn has no socket to destroy.
    if (response.socket === null) connection?.destroy()
  }

  readonly #onClose = (): void => {
    if (this.#closed) return
    this.#close()
    // The hook that reads it would wait for ever.
    guarded(() => this.materialised?.destroy(), error => this.onListenerFailed(error))
    this.#owner.onClose()
  }
}
