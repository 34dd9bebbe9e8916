// Reads one event stream block by block. The client reads what is in the blocks.
import { ChunkReader } from '../bench/chunk-reader.js'

export class EventStream extends ChunkReader {
  readonly #onBlock: (block: string) => void
  /** The text of a block whose end has not come. */
  #rest = ''

  /** @param onBlock gets each block without its blank line, as Latin-1 */
  constructor (onBlock: (block: string) => void) {
    super()
    this.#onBlock = onBlock
  }

  protected readBody (bytes: Buffer, at: number, end: number): void {
    const text = this.#rest + bytes.toString('latin1', at, end)
    let begin = 0
    for (let stop = text.indexOf('\n\n'); stop !== -1; stop = text.indexOf('\n\n', begin)) {
      this.#onBlock(text.slice(begin, stop))
      begin = stop + 2
    }
    this.#rest = text.slice(begin)
  }
}
