// Keeps blocks of encoded events, so that replays of the same events share their bytes. This file must not know of history:
// its caller says whether a block is still right.
import { MAX_WRITE, type Chunk } from '../wire/chunk.js'

/** What a block takes here without its bytes and its key. */
const BLOCK_OVERHEAD = 400

export interface Block {
  /** `null` if no event in it is for the client. */
  readonly chunk: Chunk | null
  /** Bytes of its events before encoding. */
  readonly size: number
  readonly count: number
  /** The position at which it was to end: a boundary, or the end of the replay that made it. */
  readonly end: number
  /** The position at which it ends. Less than `end` if it was full before. */
  readonly to: number
  /** The history's tick when it was made. */
  readonly tick: number
}

export class BlockCache {
  readonly #maxBytes: number
  /** In the order of their last use. */
  readonly #blocks = new Map<string, Block>()
  #bytes = 0

  constructor (maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get bytes (): number {
    return this.#bytes
  }

  /** Removes a block and returns it. A block that is still right is put back, as the one used last. */
  take (key: string): Block | undefined {
    const block = this.#blocks.get(key)
    if (block !== undefined) this.#delete(key, block)
    return block
  }

  /** Adds a block that is not here. The blocks that were not used for longest are removed if there is no room. */
  put (key: string, block: Block): void {
    this.#blocks.set(key, block)
    this.#bytes += costOf(key, block)
    for (const [oldKey, old] of this.#blocks) {
      if (this.#bytes <= this.#maxBytes) break
      this.#delete(oldKey, old)
    }
  }

  #delete (key: string, block: Block): void {
    this.#blocks.delete(key)
    this.#bytes -= costOf(key, block)
  }
}

function costOf (key: string, block: Block): number {
  const size = block.chunk === null ? 0 : block.chunk.size
  // A chunk of more than one write goes out in pieces, and it keeps these copies.
  return key.length + BLOCK_OVERHEAD + (size > MAX_WRITE ? 2 * size : size)
}
