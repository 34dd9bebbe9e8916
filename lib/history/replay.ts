// What a client that connects is given of the past, in pages of one write, whose bytes are shared by all that replay
// the same. It must not know of clients or sockets.
import type { Encoding } from '../wire/encoding.js'
import type { History, KeptEvent } from './history.js'
import { MAX_WRITE, type Chunk } from '../wire/chunk.js'

/** Positions in a block, aligned: the unit of sharing. Large ones are few to look up and to write. */
const BLOCK = 256
/** Who begins inside a block is brought to its end by smaller ones, the first of which few others begin with. */
const SMALL_BLOCK = 64
/** How much the first page of a client may hold, where as much may wait for it four times over: all states in one write. */
const FIRST_PAGE = 4 * MAX_WRITE
const MAX_CACHE_BYTES = 16 * 1024 * 1024
/** What a block takes in the cache beside its bytes and its key. */
const BLOCK_OVERHEAD = 400

/** One client's way through the past. */
export interface Replay {
  /** Those of which something may still be ahead of it. */
  targets: readonly string[]
  /** Only events of these names; `null` for all. */
  readonly names: ReadonlySet<string> | null
  /** Whose replay it is: an event may except it. */
  readonly clientId: string
  readonly encoding: Encoding
  /** Whether it knows nothing of before: what only removes a state is not for it. */
  fresh: boolean
  /** The last position: what came later reaches the client live. */
  end: number
  /** The position up to which it has everything. */
  cursor: number
  /** The history's tick up to which the client knows of losses. */
  told: number
}

export interface Page {
  /** At most one write's worth, encoded or not, unless a single event is larger: what to encode takes time as well. */
  readonly chunks: readonly Chunk[]
  /** Events in them. */
  readonly count: number
}

interface Block {
  /** `null` where nothing in it is for the client. */
  readonly chunk: Chunk | null
  /** Its bytes before any encoding. */
  readonly size: number
  readonly count: number
  /** The position up to which it was to go: a block's end, or the present when it was made. */
  readonly end: number
  /** The position that it reaches: less where it is full before. */
  readonly to: number
  /** The history's tick when it was made. */
  readonly tick: number
}

export class Replays {
  readonly #history: History
  readonly #maxBytes: number
  readonly #firstPage: number
  /** Blocks in the order of their last use. */
  readonly #blocks = new Map<string, Block>()
  #bytes = 0

  /** @param maxBufferedBytes what may wait for one client */
  constructor (history: History, historyMaxBytes: number, maxBufferedBytes: number) {
    this.#history = history
    this.#firstPage = Math.max(MAX_WRITE, Math.min(FIRST_PAGE, maxBufferedBytes / 4))
    this.#maxBytes = Math.min(MAX_CACHE_BYTES, historyMaxBytes / 4)
  }

  /** Bytes of the blocks kept for sharing. */
  get bytes (): number {
    return this.#bytes
  }

  /** Whether something that is for the client, and that it does not know of, is gone from its way. */
  lost (replay: Replay): boolean {
    if (replay.cursor >= replay.end) return false
    this.#history.expire()
    this.#history.expireOf(replay.targets)
    return this.#history.lost(replay.targets, replay.cursor, replay.told)
  }

  /** Whether something that is kept is still ahead of it. */
  pending (replay: Replay): boolean {
    return this.#history.first(replay.targets, replay.cursor, replay.end, replay.fresh) !== 0
  }

  /** The next page; moves the cursor, at the end to `end`. */
  page (replay: Replay): Page {
    const limit = replay.told === -1 ? this.#firstPage : MAX_WRITE
    replay.told = this.#history.tick
    const chunks: Chunk[] = []
    let count = 0
    let size = 0
    // Clients with ids of their own share their blocks as long as nothing is kept for those ids.
    const targets = this.#ahead(replay).sort()
    const key = blockKey(targets, replay)
    while (replay.cursor < replay.end) {
      const first = this.#history.first(targets, replay.cursor, replay.end, replay.fresh)
      if (first === 0) {
        replay.cursor = replay.end
        break
      }
      const begin = first - 1 - (first - 1) % BLOCK
      if (begin >= replay.cursor) replay.cursor = begin
      // States are far apart, and few come twice at the same place.
      const to = this.#history.hasStates(targets) ? replay.end : blockEnd(replay.cursor)
      const block = this.#block(replay, targets, key, to)
      if (block.chunk !== null) {
        // Within a page the first block goes in whatever its size, so that every page gets on.
        const larger = Math.max(block.size, block.chunk.size)
        if (size > 0 && size + larger > limit) break
        chunks.push(block.chunk)
        size += larger
        count += block.count
      }
      replay.cursor = block.to
    }
    // What goes from now on from a target of which nothing is ahead is no loss for this client.
    if (replay.cursor < replay.end) replay.targets = this.#ahead(replay)
    return { chunks, count }
  }

  /** The targets of which something is ahead of a replay. */
  #ahead ({ targets, cursor, end, fresh }: Replay): string[] {
    return targets.filter(target => this.#history.has(target, cursor, end, fresh))
  }

  #block (replay: Replay, targets: readonly string[], key: string, to: number): Block {
    const end = Math.min(to, replay.end)
    const blockKey = `${replay.cursor} ${key}`
    const known = this.#blocks.get(blockKey)
    if (known !== undefined) {
      this.#forget(blockKey, known)
      // One that the present cut off serves those who came with it. What history has let go
      // of since may have been in it, and what it was filled with is not.
      if (known.end === end && known.tick >= this.#history.filledTick && !this.#history.lost(targets, replay.cursor, known.tick) && !this.#history.superseded(targets, known.tick)) {
        this.#keep(blockKey, known)
        return known
      }
    }
    const { block, personal } = this.#build(replay, targets, end)
    if (!personal) this.#keep(blockKey, block)
    return block
  }

  #build (replay: Replay, targets: readonly string[], end: number): { block: Block, personal: boolean } {
    let to = end
    const events: KeptEvent[] = []
    let size = 0
    let personal = false
    for (const event of this.#history.range(targets, replay.cursor, end, replay.fresh)) {
      if (event.except !== '') personal = true
      if (!isFor(replay, event)) continue
      if (size > 0 && size + event.size > MAX_WRITE) {
        to = event.position - 1
        break
      }
      events.push(event)
      size += event.size
    }
    const chunk = size === 0 ? null : replay.encoding.lasting(events, size)
    return { block: { chunk, size, count: events.length, end, to, tick: this.#history.tick }, personal }
  }

  #keep (key: string, block: Block): void {
    this.#blocks.set(key, block)
    this.#bytes += cost(key, block)
    for (const [oldKey, old] of this.#blocks) {
      if (this.#bytes <= this.#maxBytes) break
      this.#forget(oldKey, old)
    }
  }

  #forget (key: string, block: Block): void {
    this.#blocks.delete(key)
    this.#bytes -= cost(key, block)
  }
}

/** Where a block that begins at a position ends: the larger it is, the fewer begin in it. */
function blockEnd (begin: number): number {
  let size = BLOCK
  while (size > SMALL_BLOCK && begin % size !== 0) size /= 2
  return begin - begin % size + size
}

/** What two replays must have in common to share blocks. */
function blockKey (targets: readonly string[], { names, encoding, fresh }: Replay): string {
  return `${encoding.key}${fresh ? ' fresh' : ''}\n${targets.join('\n')}\n\n${names === null ? '\n' : [...names].sort().join('\n')}`
}

/** Whether a replay's client gets an event. */
function isFor (replay: Replay, event: KeptEvent): boolean {
  return event.except !== replay.clientId && (replay.names === null || replay.names.has(event.name))
}

function cost (key: string, block: Block): number {
  const size = block.chunk === null ? 0 : block.chunk.size
  // A larger one goes out in pieces, which are copies.
  return key.length + BLOCK_OVERHEAD + (size > MAX_WRITE ? 2 * size : size)
}
