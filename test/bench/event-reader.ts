// Reads one event stream as fast as JavaScript can, and checks that its numbered events come in order, each once.
import { ChunkReader } from './chunk-reader.js'
import { NUMBER_AT, NUMBER_DIGITS, TIME_AT, TIME_DIGITS } from './payload.js'

const LF = 10
const BLANK_LINE = Buffer.from('\n\n')
const NUMBER_KEY = Buffer.from('{"n":"')
const ID_KEY = Buffer.from('id:')

export class EventReader extends ChunkReader {
  /** The number of the next event. */
  next: number
  /** How many events have come so far. */
  events = 0
  /** Gets the time at which each event was published, or is `null`. */
  onTime: ((time: number) => void) | null = null
  /** Gets every event's number, if the numbers do not come in simple order. It checks them and sets `next`. */
  onNumber: ((number: number) => void) | null = null
  /** Bytes of an event's data. */
  readonly #size: number
  /** The distance from an event to the client's next event. Its index is the event's number modulo the array's length. */
  readonly #steps: Uint8Array
  /** The bytes of an event whose end has not come. */
  #carry: Buffer | null = null
  /** Length of the last event's text. The next event often has the same length. */
  #length = 0
  /** How many bytes of it came after the data. Some servers write the id there. */
  #tail = 2

  /** @param steps distances to the client's next event, by an event's number modulo their count */
  constructor (size: number, first: number, steps: Uint8Array) {
    super()
    this.#size = size
    this.next = first
    this.#steps = steps
  }

  protected readBody (bytes: Buffer, at: number, end: number, _last: boolean): void {
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
      this.#tail = tailOf(text, 0, text.length)
      this.#event(text, 0, text.length)
    }
    while (at < end) {
      // The next event is often as long as the last one. Then no search is needed.
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
      this.#tail = tailOf(bytes, at, found + 2)
      this.#event(bytes, at, found + 2)
      at = found + 2
    }
  }

  /** Whether these bytes are a numbered event. */
  #isEvent (bytes: Buffer, start: number, stop: number): boolean {
    const end = stop - this.#tail
    const data = end - this.#size
    if (data - 5 < start || bytes[stop - 1] !== LF || bytes[stop - 2] !== LF || bytes[end] !== LF || bytes[end - 1] !== 125 /* } */) return false
    for (let index = 0; index < NUMBER_KEY.length; index++) if (bytes[data + index] !== NUMBER_KEY[index]) return false
    return true
  }

  /** Takes these bytes if they are a numbered event. A greeting, a retry field or a comment is not one. */
  #event (bytes: Buffer, start: number, stop: number): boolean {
    if (!this.#isEvent(bytes, start, stop)) return false
    this.#length = stop - start
    const data = stop - this.#tail - this.#size
    this.take(digits(bytes, data + NUMBER_AT, NUMBER_DIGITS), this.onTime === null ? 0 : digits(bytes, data + TIME_AT, TIME_DIGITS))
    return true
  }

  /** @param time when the event was published, if `onTime` is set */
  protected take (number: number, time: number): void {
    this.events++
    if (this.onNumber !== null) {
      this.onNumber(number)
    } else {
      if (number !== this.next) throw new Error(`event ${number} came where ${this.next} should have`)
      this.next += this.#steps.length === 1 ? 1 : this.#steps[number % this.#steps.length]!
    }
    if (this.onTime !== null) this.onTime(time)
  }
}

/** How many bytes of an event come after its data. */
function tailOf (bytes: Buffer, start: number, stop: number): number {
  const line = bytes.lastIndexOf(LF, stop - 3) + 1
  return line > start && bytes.subarray(line, line + ID_KEY.length).equals(ID_KEY) ? stop - line + 1 : 2
}

function digits (bytes: Buffer, at: number, count: number): number {
  let value = 0
  for (let index = at; index < at + count; index++) value = value * 10 + bytes[index]! - 48
  return value
}
