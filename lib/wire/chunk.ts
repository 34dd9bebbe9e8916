// Bytes of stream in an HTTP/1.1 chunk (RFC 9112 7.1), ready for a socket. It must not know of events or clients.

/**
 * No write is larger, in bytes. So one visit puts only that much into a socket, and a slow reader empties the socket often
 * enough to be told from a stalled one.
 */
export const MAX_WRITE = 65536

/**
 * Bytes of stream inside an HTTP/1.1 chunk, in one buffer: `:\n\n` is `3\r\n:\n\n\r\n`. A socket that takes chunks gets
 * `framed` as it is. All other streams get `payload()`.
 */
export class Chunk {
  readonly framed: Buffer
  /** How many bytes of stream are in it. */
  readonly size: number
  #pieces: readonly Chunk[] | null = null

  protected constructor (size: number, allocate: (size: number) => Buffer = Buffer.allocUnsafe) {
    const head = size.toString(16)
    this.size = size
    this.framed = allocate(head.length + 4 + size)
    this.framed.write(head + '\r\n', 0, 'latin1')
    this.framed.write('\r\n', this.framed.length - 2, 'latin1')
  }

  get #start (): number {
    return this.framed.length - 2 - this.size
  }

  /**
   * @param size bytes of `text` in UTF-8
   */
  static fromText (text: string, size: number): Chunk {
    return new Chunk(size).#fill(text)
  }

  static fromBytes (bytes: Buffer): Chunk {
    const chunk = new Chunk(bytes.length)
    bytes.copy(chunk.framed, chunk.#start)
    return chunk
  }

  /** As `fromText`, in memory of its own, for a chunk that is kept for long. A small piece of Node's pool would keep 8 KiB. */
  static lasting (text: string, size: number): Chunk {
    return new Chunk(size, Buffer.allocUnsafeSlow).#fill(text)
  }

  #fill (text: string): this {
    // Latin-1 is cheaper to write. Its bytes are the same where every character takes one byte in UTF-8.
    this.framed.write(text, this.#start, text.length === this.size ? 'latin1' : 'utf8')
    return this
  }

  /**
   * Makes one chunk of several.
   * @param size the sum of their sizes
   */
  static join (chunks: readonly Chunk[], size: number): Chunk {
    if (chunks.length === 1) return chunks[0]!
    return new Chunk(size).fillFrom(chunks)
  }

  /** Copies the bytes of other chunks into this one, one after the other. */
  protected fillFrom (chunks: readonly Chunk[]): this {
    let at = this.#start
    for (const chunk of chunks) {
      chunk.framed.copy(this.framed, at, chunk.#start, chunk.#start + chunk.size)
      at += chunk.size
    }
    return this
  }

  /** The bytes of stream alone. It is a view of the same memory. */
  payload (): Buffer {
    return this.framed.subarray(this.#start, this.#start + this.size)
  }

  /** The same bytes in chunks of at most `MAX_WRITE`. They are made once and shared. */
  pieces (): readonly Chunk[] {
    this.#pieces ??= this.size <= MAX_WRITE ? [this] : this.#split()
    return this.#pieces
  }

  #split (): Chunk[] {
    const pieces: Chunk[] = []
    for (let at = 0; at < this.size; at += MAX_WRITE) {
      const piece = new Chunk(Math.min(MAX_WRITE, this.size - at))
      this.framed.copy(piece.framed, piece.#start, this.#start + at, this.#start + at + piece.size)
      pieces.push(piece)
    }
    return pieces
  }
}
