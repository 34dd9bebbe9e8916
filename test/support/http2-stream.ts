// A stream on an HTTP/2 session, on the client's side.
import { once } from 'node:events'
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import type { EventSourceMessage } from 'eventsource-parser'
import { gunzipSoFar } from './gunzip.js'
import { parseEvents } from './raw-client.js'

export class Http2Stream {
  readonly stream: ClientHttp2Stream
  headers: IncomingHttpHeaders = {}
  /** All parts of the body so far. */
  readonly parts: Buffer[] = []
  /** Whether the server has ended the stream, and not cut it. */
  ended = false
  closed = false

  constructor (session: ClientHttp2Session, path: string, headers: OutgoingHttpHeaders = {}) {
    this.stream = session.request({ ':path': path, ...headers })
    this.stream.on('response', headers => { this.headers = headers })
    this.stream.on('data', (data: Buffer) => { this.parts.push(data) })
    this.stream.on('end', () => { this.ended = true })
    this.stream.on('error', () => {})
    this.stream.on('close', () => { this.closed = true })
  }

  get body (): Buffer {
    return Buffer.concat(this.parts)
  }

  /** The text of the body so far. It is decompressed if needed. */
  get text (): string {
    return (this.headers['content-encoding'] === 'gzip' ? gunzipSoFar(this.body) : this.body).toString('utf8')
  }

  get events (): EventSourceMessage[] {
    return parseEvents(this.text)
  }

  /** Resolves when a condition holds. It looks after each part that comes, and rejects if the stream closes before. */
  async until (condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.closed) throw new Error(`the stream closed; received: ${this.text.slice(0, 2000)}`)
      const stop = new AbortController()
      const { signal } = stop
      await Promise.race(['data', 'response', 'end', 'close'].map(event => once(this.stream, event, { signal }).catch(() => {})))
      stop.abort()
    }
  }

  async untilEvents (count: number): Promise<EventSourceMessage[]> {
    await this.until(() => this.events.length >= count)
    return this.events
  }

  async untilClosed (): Promise<void> {
    if (!this.closed) await once(this.stream, 'close')
  }
}
