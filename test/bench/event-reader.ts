// Reads one event stream as fast as JavaScript can, and checks that its numbered events come in order, each once.
import { NUMBER_AT, NUMBER_DIGITS, TIME_AT, TIME_DIGITS } from './payload.js'

const LF = 10
const CR = 13
const BLANK_LINE = Buffer.from('\n\n')
const HEAD_END = '\r\n\r\n'
const NUMBER_KEY = Buffer.from('{"n":"')

const enum State { Head, Size, SizeEnd, Data, DataEnd, End }

export class EventReader {
  /** The number of the event that comes next. */
  next: number
  /** Whether the response's head, and something behind it, has come. */
  open = false
  /** Bytes of stream, and events in them, so far. */
  bytes = 0
  events = 0
  /** Is told when each event was published; `null` where nobody wants to know. */
  onTime: ((time: number) => void) | null = null
  /** Is given every event's number, where the order is another than one after the other: it checks, and moves `next`. */
  onNumber: ((number: number) => void) | null = null
  /** Bytes of an event's data. */
  readonly #size: number
  /** From an event's number, by its rest, to the next one's of the same client. */
  readonly #steps: Uint8Array
  #state = State.Head
  #head = ''
  /** Bytes left of the present chunk. */
  #left = 0
  /** What was read of an event whose end has not come. */
  #carry: Buffer | null = null
  /** Length of the last event's text: the next one's is often the same. */
  #length = 0

  /**
   * @param steps distances to the client's next event, by an event's number modulo their count
   */
  constructor (size: number, first: number, steps: Uint8Array) {
    this.#size = size
    this.next = first
    this.#steps = steps
  }

  /** Whether the stream is over. */
  get ended (): boolean {
    return this.#state === State.End
  }

  /** @throws where something is not as it should be */
  read (bytes: Buffer, length: number): void {
    let at = 0
    while (at < length) {
      switch (this.#state) {
        case State.Head:
          at = this.#readHead(bytes, length)
          break
        case State.Size: {
          const byte = bytes[at++]!
          if (byte === CR) this.#state = State.SizeEnd
          else this.#left = this.#left * 16 + digitOf(byte)
          break
        }
        case State.SizeEnd:
          if (bytes[at++] !== LF) throw new Error('malformed chunk')
          this.#state = this.#left === 0 ? State.End : State.Data
          break
        case State.Data: {
          const end = Math.min(length, at + this.#left)
          this.#left -= end - at
          this.bytes += end - at
          this.open = true
          this.#readEvents(bytes, at, end)
          at = end
          if (this.#left === 0) this.#state = State.DataEnd
          break
        }
        case State.DataEnd: {
          const byte = bytes[at++]
          if (byte === LF) this.#state = State.Size
          else if (byte !== CR) throw new Error('malformed chunk')
          break
        }
        case State.End:
          at = length
      }
    }
  }

  #readHead (bytes: Buffer, length: number): number {
    const before = this.#head.length
    this.#head += bytes.toString('latin1', 0, length)
    const end = this.#head.indexOf(HEAD_END)
    if (end === -1) return length
    const head = this.#head.slice(0, end)
    if (!head.startsWith('HTTP/1.1 200 ')) throw new Error(`answered with ${head.split('\r\n', 1)[0]}`)
    if (!/\r\ntransfer-encoding: chunked/i.test(head)) throw new Error('not chunked')
    this.#head = ''
    this.#state = State.Size
    return end + HEAD_END.length - before
  }

  #readEvents (bytes: Buffer, at: number, end: number): void {
    if (this.#carry !== null) {
      const carry = this.#carry
      let stop: number
      if (carry[carry.length - 1] === LF && bytes[at] === LF) {
        stop = at + 1
      } else {
        const found = bytes.indexOf(BLANK_LINE, at)
        stop = found === -1 || found + 2 > end ? end : found + 2
      }
      const text = Buffer.concat([carry, bytes.subarray(at, stop)])
      at = stop
      if (text[text.length - 1] !== LF || text[text.length - 2] !== LF) {
        this.#carry = text
        return
      }
      this.#carry = null
      this.#event(text, 0, text.length)
    }
    while (at < end) {
      // The next event is often as long as the last one: no search then.
      const likely = at + this.#length
      if (likely <= end && this.#event(bytes, at, likely)) {
        at = likely
        continue
      }
      const found = bytes.indexOf(BLANK_LINE, at)
      if (found === -1 || found + 2 > end) {
        this.#carry = Buffer.from(bytes.subarray(at, end))
        return
      }
      this.#event(bytes, at, found + 2)
      at = found + 2
    }
  }

  /** Whether these bytes are a numbered event. */
  #isEvent (bytes: Buffer, start: number, stop: number): boolean {
    const data = stop - 2 - this.#size
    if (data - 5 < start || bytes[stop - 1] !== LF || bytes[stop - 2] !== LF || bytes[stop - 3] !== 125 /* } */) return false
    for (let index = 0; index < NUMBER_KEY.length; index++) if (bytes[data + index] !== NUMBER_KEY[index]) return false
    return true
  }

  /** Takes note of these bytes, if they are a numbered event; a greeting, a retry or a comment is none. */
  #event (bytes: Buffer, start: number, stop: number): boolean {
    if (!this.#isEvent(bytes, start, stop)) return false
    this.#length = stop - start
    this.events++
    const data = stop - 2 - this.#size
    const number = digits(bytes, data + NUMBER_AT, NUMBER_DIGITS)
    if (this.onNumber !== null) {
      this.onNumber(number)
    } else {
      if (number !== this.next) throw new Error(`event ${number} came where ${this.next} should have`)
      this.next += this.#steps.length === 1 ? 1 : this.#steps[number % this.#steps.length]!
    }
    if (this.onTime !== null) this.onTime(digits(bytes, data + TIME_AT, TIME_DIGITS))
    return true
  }
}

function digits (bytes: Buffer, at: number, count: number): number {
  let value = 0
  for (let index = at; index < at + count; index++) value = value * 10 + bytes[index]! - 48
  return value
}

function digitOf (byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48
  const lower = byte | 32
  if (lower >= 97 && lower <= 102) return lower - 87
  throw new Error('malformed chunk size')
}
