// A reader of one stream. It is small, because one process has hundreds of them. When its connection is closed, it comes back
// with its last id, to the instance that the test chooses.
import { EventEmitter, once } from 'node:events'
import { request, type ClientRequest } from 'node:http'
import type { Test } from 'tap'
import type { Ledger, Mark, Seen, Trace } from './ledger.js'

/** Milliseconds until it connects again, if the server has not sent `retry`. */
const AGAIN = 30

export interface ReaderOptions {
  readonly name: string
  readonly channels: readonly string[]
  /** The port of each connection. */
  readonly port: () => number
  /** Its client id, if the test chooses it. */
  readonly id?: string
}

export class Reader implements Trace {
  readonly name: string
  readonly channels: readonly string[]
  readonly items: Array<Seen | Mark> = []
  lastEventId = ''
  /** How long it waited each time before it came back, in milliseconds. */
  readonly waits: number[] = []
  /** How often it was connected. */
  connections = 0
  readonly #options: ReaderOptions
  readonly #ledger: Ledger
  readonly #changes = new EventEmitter()
  #request: ClientRequest | null = null
  #ended = false
  #fresh = true
  /** The newest `retry` of the server. */
  #retry = AGAIN

  /** Resolves when it is connected. */
  static async open (t: Test, ledger: Ledger, options: ReaderOptions): Promise<Reader> {
    const reader = new Reader(ledger, options)
    ledger.traces.push(reader)
    t.teardown(() => reader.end())
    reader.#connect()
    await reader.until(() => reader.connections > 0)
    return reader
  }

  private constructor (ledger: Ledger, options: ReaderOptions) {
    this.#ledger = ledger
    this.#options = options
    this.name = options.name
    this.channels = options.channels
    this.#changes.setMaxListeners(0)
  }

  get events (): Seen[] {
    return this.items.filter((item): item is Seen => typeof item !== 'string')
  }

  count (mark: Mark): number {
    return this.items.filter(item => item === mark).length
  }

  async until (condition: () => boolean): Promise<void> {
    while (!condition()) await once(this.#changes, 'change')
  }

  /** Resolves when it has seen an event. */
  async untilEvent (p: string, k: number): Promise<void> {
    let looked = 0
    await this.until(() => {
      for (; looked < this.items.length; looked++) {
        const item = this.items[looked]!
        if (typeof item !== 'string' && item.p === p && item.k === k) return true
      }
      return false
    })
  }

  /** Cuts the connection. The reader comes back. */
  cut (): void {
    this.#request?.destroy()
  }

  /** Closes the connection. The reader stays away. */
  end (): void {
    this.#ended = true
    this.cut()
  }

  /** Comes back with its last id. Resolves when it is connected. */
  async comeBack (): Promise<void> {
    const { connections } = this
    this.#ended = false
    this.#connect()
    await this.until(() => this.connections > connections)
  }

  #connect (): void {
    if (this.#ended) return
    const { channels, id, port } = this.#options
    const path = `/?channels=${channels.join(',')}${id === undefined ? '' : `&id=${id}`}`
    const headers = this.lastEventId === '' ? {} : { 'last-event-id': this.lastEventId }
    const connection = request({ host: '127.0.0.1', port: port(), path, headers, agent: false })
    this.#request = connection
    let rest = ''
    let over = false
    const close = (): void => {
      if (over) return
      over = true
      if (this.#ended) return
      this.waits.push(this.#retry)
      setTimeout(() => this.#connect(), this.#retry).unref()
    }
    connection.on('error', close)
    connection.on('response', response => {
      if (response.statusCode !== 200) {
        response.destroy()
        return close()
      }
      response.setEncoding('latin1')
      response.on('data', (part: string) => {
        const text = rest + part
        let begin = 0
        for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n', begin)) {
          this.#read(text.slice(begin, end))
          begin = end + 2
        }
        rest = text.slice(begin)
        this.#changes.emit('change')
      })
      response.on('error', () => {})
      response.on('close', close)
    })
    connection.end()
  }

  #read (block: string): void {
    let id = ''
    let name = ''
    let data = ''
    for (const line of block.split('\n')) {
      if (line.startsWith('data: ')) data = line.slice(6)
      else if (line.startsWith('id: ')) id = line.slice(4)
      else if (line.startsWith('event: ')) name = line.slice(7)
      else if (line.startsWith('retry: ')) this.#retry = Number(line.slice(7))
    }
    if (id !== '') this.lastEventId = id
    if (name === 'n') this.items.push(this.#ledger.seen(id, data))
    else if (name === 'sse:gap') this.items.push('gap')
    else if (name === 'sse:open') this.#opened((JSON.parse(data) as { recovered: boolean }).recovered)
  }

  #opened (recovered: boolean): void {
    this.connections++
    if (recovered) this.items.push('recovered')
    // If nothing was published before its first visit, it needs no mark: it must get all events.
    else if (!this.#fresh || this.#ledger.begun) this.items.push(this.#fresh ? 'first' : 'lost')
    this.#fresh = false
  }
}
