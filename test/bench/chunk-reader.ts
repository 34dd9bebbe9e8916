// Reads one chunked response as fast as JavaScript can, and passes on the content of its chunks. It must not know what the
// content is.

const LF = 10
const CR = 13
const HEAD_END = '\r\n\r\n'

const enum State { Head, Size, SizeEnd, Data, DataEnd, End }

export abstract class ChunkReader {
  /** Whether the response's head has come, and at least one byte after it. */
  open = false
  /** Bytes of chunk content that have come. */
  bytes = 0
  #state = State.Head
  #head = ''
  /** Bytes of the current chunk that have not come. */
  #left = 0

  /**
   * Gets the content of a chunk, or a part of it.
   * @param last whether the chunk ends with these bytes
   */
  protected abstract readBody (bytes: Buffer, at: number, end: number, last: boolean): void

  /** Whether the stream is over. */
  get ended (): boolean {
    return this.#state === State.End
  }

  /** @throws if the response is malformed */
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
          this.readBody(bytes, at, end, this.#left === 0)
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
}

function digitOf (byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48
  const lower = byte | 32
  if (lower >= 97 && lower <= 102) return lower - 87
  throw new Error('malformed chunk size')
}
