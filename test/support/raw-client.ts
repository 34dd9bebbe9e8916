// A client on a bare socket. It shows what an EventSource hides: bytes and chunks. It can also stop reading, or close only
// its own direction.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { gunzipSoFar } from './gunzip.js'

export interface RawRequest {
  path?: string
  method?: string
  version?: '1.0' | '1.1'
  headers?: Record<string, string>
}

/** The text of a request. */
export function requestText ({ path = '/', method = 'GET', version = '1.1', headers = {} }: RawRequest): string {
  const lines = Object.entries({ host: 'localhost', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${method} ${path} HTTP/${version}\r\n${lines.join('')}\r\n`
}

export class RawClient {
  readonly socket: Socket
  /** All bytes that came, not decoded. */
  received = Buffer.alloc(0)
  /** Whether the server has closed or reset the connection. */
  closed = false

  /** @param to a port of loopback, or a socket of another kind, such as TLS or Unix */
  constructor (to: number | Socket, request: RawRequest = {}) {
    this.socket = typeof to === 'number' ? connect(to, '127.0.0.1') : to
    this.socket.on('data', data => { this.received = Buffer.concat([this.received, data]) })
    this.socket.on('error', () => {})
    this.socket.on('close', () => { this.closed = true })
    this.socket.write(requestText(request))
  }

  /** The status line and headers of the first response. It is empty until they are complete. */
  get head (): string {
    const text = this.received.toString('latin1')
    const end = text.indexOf('\r\n\r\n')
    return end === -1 ? '' : text.slice(0, end)
  }

  get status (): number {
    return Number(this.head.split(' ')[1])
  }

  header (name: string): string | undefined {
    const line = this.head.split('\r\n').find(line => line.toLowerCase().startsWith(name.toLowerCase() + ':'))
    return line?.slice(name.length + 1).trim()
  }

  /** The body so far. The response is either chunked, which is decoded strictly, or ends with its connection. */
  get body (): Buffer {
    if (this.head === '') return Buffer.alloc(0)
    const rest = this.received.subarray(Buffer.byteLength(this.head, 'latin1') + 4)
    return this.header('transfer-encoding') === 'chunked' ? dechunk(rest).body : rest
  }

  /** Whether the last chunk of a chunked response has come. */
  get complete (): boolean {
    const rest = this.received.subarray(Buffer.byteLength(this.head, 'latin1') + 4)
    return this.head !== '' && dechunk(rest).complete
  }

  /** The text of the body so far. It is decompressed if needed. */
  get text (): string {
    const { body } = this
    return (this.header('content-encoding') === 'gzip' ? gunzipSoFar(body) : body).toString('utf8')
  }

  get events (): EventSourceMessage[] {
    return parseEvents(this.text)
  }

  /** Resolves when a condition holds. It looks after each part that comes, and rejects if the connection closes before. */
  async until (condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.closed) throw new Error(`the connection closed; received: ${this.received.toString('latin1').slice(0, 2000)}`)
      const looked = new AbortController()
      const { signal } = looked
      await Promise.race([once(this.socket, 'data', { signal }), once(this.socket, 'close', { signal })])
      looked.abort()
    }
  }

  /** Resolves with all events when there are at least `count`. They include the hub's own, such as `sse:open`. */
  async untilEvents (count: number): Promise<EventSourceMessage[]> {
    await this.until(() => this.events.length >= count)
    return this.events
  }

  async untilClosed (): Promise<void> {
    if (!this.closed) await once(this.socket, 'close')
  }

  /** Stops reading: the server's bytes fill the kernel's buffers first, and then wait in the server. */
  pause (): void {
    this.socket.pause()
  }

  resume (): void {
    this.socket.resume()
  }

  destroy (): void {
    this.socket.destroy()
  }
}

export function parseEvents (text: string): EventSourceMessage[] {
  const events: EventSourceMessage[] = []
  const parser = createParser({ onEvent: event => events.push(event), onError: error => { throw error } })
  parser.feed(text)
  return events
}

/** Decodes HTTP/1.1 chunks (RFC 9112 7.1) and throws if they are malformed. The last chunk may be incomplete. */
export function dechunk (bytes: Buffer): { body: Buffer, complete: boolean } {
  const parts: Buffer[] = []
  let at = 0
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd === -1) return { body: Buffer.concat(parts), complete: false }
    const head = bytes.toString('latin1', at, lineEnd)
    if (!/^[0-9a-f]+$/i.test(head)) throw new Error(`not a chunk size: ${JSON.stringify(head.slice(0, 100))}`)
    const size = parseInt(head, 16)
    const begin = lineEnd + 2
    if (bytes.length < begin + size + 2) {
      parts.push(bytes.subarray(begin, begin + size))
      return { body: Buffer.concat(parts), complete: false }
    }
    if (bytes.toString('latin1', begin + size, begin + size + 2) !== '\r\n') throw new Error('a chunk does not end with CRLF')
    if (size === 0) return { body: Buffer.concat(parts), complete: true }
    parts.push(bytes.subarray(begin, begin + size))
    at = begin + size + 2
  }
}
