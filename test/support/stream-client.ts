// A client that reads its stream once, as it comes. It is for long streams, slow readers and many connections.
import { EventEmitter, once } from 'node:events'
import { request, type ClientRequest, type IncomingMessage } from 'node:http'
import { createGunzip, type Gunzip } from 'node:zlib'
import { createParser, type EventSourceMessage } from 'eventsource-parser'

export interface Greeting {
  readonly id: string | undefined
  readonly clientId: string
  readonly recovered: boolean
}

/** Where a server listens. A Unix socket buffers far less than a TCP connection before it refuses bytes. */
export type Address = { readonly port: number } | { readonly socketPath: string }

export class StreamClient {
  /** All events that came. They include the hub's own, such as `sse:open`. */
  readonly events: EventSourceMessage[] = []
  /** The id to resume from: that of the last event that had one. */
  lastEventId: string | undefined
  /** How many comments came. Heartbeats are comments. */
  comments = 0
  /** The newest `retry` in milliseconds: how long the client should wait before it connects again. */
  retry: number | undefined
  /** Whether the stream is over: ended or cut. */
  closed = false
  /** Whether the stream ended correctly: with the last chunk, and with the trailer of gzip if it is compressed. */
  whole = false
  readonly #request: ClientRequest
  /** Emits `change` when something has come, and when the stream is over. */
  readonly changes = new EventEmitter()
  #response: IncomingMessage | null = null
  #paused = false

  constructor (address: Address, path: string, headers: Record<string, string> = {}) {
    const parser = createParser({
      onEvent: event => this.#receive(event),
      onComment: () => { this.comments++ },
      onRetry: retry => { this.retry = retry },
      onError: error => { throw error }
    })
    this.#request = request({ host: '127.0.0.1', ...address, path, headers, agent: false })
    this.#request.on('response', response => {
      this.#response = response
      const body = response.headers['content-encoding'] === 'gzip' ? unpacked(response) : response
      body.setEncoding('utf8')
      // A body that is cut emits an error.
      body.on('error', () => {})
      body.on('data', text => {
        parser.feed(text)
        this.changes.emit('change')
      })
      body.on('end', () => { this.whole = true })
      body.on('close', () => this.#close())
      if (this.#paused) response.pause()
    })
    this.#request.on('error', () => this.#close())
    this.#request.end()
  }

  header (name: string): string | undefined {
    return this.#response?.headers[name] as string | undefined
  }

  get status (): number | undefined {
    return this.#response?.statusCode
  }

  get greeting (): Greeting | undefined {
    const event = this.events.find(({ event }) => event === 'sse:open')
    return event && { id: event.id, ...JSON.parse(event.data) }
  }

  /** The events of the application. */
  get own (): EventSourceMessage[] {
    return this.events.filter(({ event }) => !event?.startsWith('sse:'))
  }

  /** Resolves when a condition holds. Rejects if the stream is over before. */
  async until (condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.closed) throw new Error(`the stream is over after ${this.events.length} events`)
      await once(this.changes, 'change')
    }
  }

  /** Resolves when an event with this name has come. */
  async untilEvent (name: string): Promise<void> {
    await this.until(() => this.events.at(-1)?.event === name || this.events.some(({ event }) => event === name))
  }

  async untilClosed (): Promise<void> {
    while (!this.closed) await once(this.changes, 'change')
  }

  pause (): void {
    this.#paused = true
    this.#response?.pause()
  }

  resume (): void {
    this.#paused = false
    this.#response?.resume()
  }

  destroy (): void {
    this.#request.destroy()
    // A paused response would not emit 'close' when its connection is closed.
    this.#response?.destroy()
  }

  #receive (event: EventSourceMessage): void {
    this.events.push(event)
    if (event.id !== undefined) this.lastEventId = event.id
  }

  #close (): void {
    this.closed = true
    this.changes.emit('change')
  }
}

/**
 * Decompresses without `pipe`, which would go on after the response is paused. If the stream is cut, the bytes that came
 * are decompressed as well.
 */
function unpacked (response: IncomingMessage): Gunzip {
  const gunzip = createGunzip()
  response.on('error', () => {}).on('data', part => gunzip.write(part)).on('close', () => gunzip.end())
  return gunzip
}
