// Reads an event stream exactly as WHATWG HTML says: 9.2.5 has the grammar, 9.2.6 the meaning of the lines. It shares
// nothing with the code that it tests.
import { TextDecoder } from 'node:util'

export interface StreamSink {
  /** An event is dispatched. */
  event (type: string, data: string, lastEventId: string): void
  retry (milliseconds: number): void
  comment (text: string): void
}

export interface StrictReaderOptions {
  /**
   * If set, it throws on lines that the standard ignores, or that the standard reads in another way than the hub means. If
   * not, it reads on like a browser.
   */
  readonly strict: boolean
}

export class StrictReader {
  readonly #sink: StreamSink
  readonly #strict: boolean
  /** Drops a byte order mark at the beginning of the stream, and nowhere else. */
  readonly #decoder: TextDecoder
  /** The part of a line whose end has not come. */
  #rest = ''
  #data = ''
  #type = ''
  #id = ''
  /** Fields that the current block has had, and that may be in it only once. */
  #seen = ''

  constructor (sink: StreamSink, { strict }: StrictReaderOptions) {
    this.#sink = sink
    this.#strict = strict
    this.#decoder = new TextDecoder('utf-8', { fatal: strict })
  }

  feed (bytes: Uint8Array): void {
    const part = this.#decoder.decode(bytes, { stream: true })
    if (part.includes('\r')) this.#complain('a line that ends with CR', this.#rest + part)
    // A CR at the end waits, because the LF of a CRLF may follow.
    if (!part.includes('\n') && !part.includes('\r') && !this.#rest.endsWith('\r')) {
      this.#rest += part
      return
    }
    const text = this.#rest + part
    const lines = text.includes('\r') ? text.split(/\r\n|\r(?!$)|\n/) : text.split('\n')
    this.#rest = lines.pop()!
    for (const line of lines) this.#line(line)
  }

  /** The connection has ended. An event without its blank line is not dispatched. */
  end (): void {
    if (this.#rest.endsWith('\r')) this.#line(this.#rest.slice(0, -1))
    else if (this.#rest !== '') this.#complain('the last line has no end', this.#rest)
    if (this.#data !== '' || this.#type !== '' || this.#seen !== '') this.#complain('the last event has no blank line behind it', '')
  }

  #line (line: string): void {
    if (line === '') return this.#dispatch()
    const colon = line.indexOf(':')
    if (colon === 0) return this.#sink.comment(line.slice(1))
    if (colon === -1) return this.#field(line, '', line)
    if (line[colon + 1] !== ' ') this.#complain('no space behind the colon, so that the value would lose one of its own', line)
    this.#field(line.slice(0, colon), line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1), line)
  }

  #field (name: string, value: string, line: string): void {
    if (name === 'data') {
      this.#data += value + '\n'
      return
    }
    if (this.#seen.includes(name)) this.#complain('the same field twice', line)
    if (name === 'event') {
      this.#type = value
    } else if (name === 'id') {
      if (value.includes('\0')) return this.#complain('an id with NUL', line)
      this.#id = value
    } else if (name === 'retry') {
      if (!/^[0-9]+$/.test(value)) return this.#complain('a retry that is no number', line)
      this.#sink.retry(Number.parseInt(value, 10))
    } else {
      return this.#complain('an unknown field', line)
    }
    this.#seen += name
  }

  #dispatch (): void {
    const data = this.#data
    const type = this.#type
    this.#data = this.#type = this.#seen = ''
    if (data !== '') this.#sink.event(type === '' ? 'message' : type, data.slice(0, -1), this.#id)
    else if (type !== '') this.#complain('an event without data', type)
  }

  #complain (what: string, line: string): void {
    if (this.#strict) throw new Error(`${what}: ${JSON.stringify(line.slice(0, 200))}`)
  }
}
