// Gives a client the kept events in pages of one write. Clients that replay the same events share the bytes. This file must
// not know of clients or sockets.
import type { Encoding } from '../wire/encoding.js'
import { BlockCache, type Block } from './block-cache.js'
import type { History, KeptEvent } from './history.js'
import { MAX_WRITE, type Chunk } from '../wire/chunk.js'

/**
 * Positions in a block, which is what replays share. Blocks end at multiples of it: at 256, 512, and so on. Larger blocks
 * need fewer look-ups and writes.
 */
const BLOCK = 256
/**
 * A replay that starts inside a block reads smaller blocks up to the next boundary, because few other clients start at the
 * same place. From 70 it reads up to 128, 256 and 512; a client that starts at 100 shares all that is after 128.
 */
const SMALL_BLOCK = 64
/**
 * The first page of a client may be larger than a write, so that most clients get all states at once. It takes at most a
 * quarter of what may wait for a client: with `maxBufferedBytes` of 512 KiB, the first page has up to 128 KiB.
 */
const FIRST_PAGE = 4 * MAX_WRITE
const MAX_CACHE_BYTES = 16 * 1024 * 1024

/** How far one client has come with the kept events. */
export interface Replay {
  /** Those that may still have events for it. */
  targets: readonly string[]
  /** The event names that the client gets; `null` for all. */
  readonly names: ReadonlySet<string> | null
  /** The client's own id: events that except it are left out. */
  readonly clientId: string
  readonly encoding: Encoding
  /** Whether the client knows no state yet. It needs no events that remove one. */
  fresh: boolean
  /** The last position of the replay. The client gets later events live. */
  end: number
  /** The position up to which the client has everything. */
  cursor: number
  /** The history's tick up to which the client knows of losses; -1 before the first page. */
  told: number
}

export interface Page {
  /**
   * At most one write in bytes, or `FIRST_PAGE` for the first page, unless one event is larger. That holds before and after
   * encoding, because encoding takes time as well.
   */
  readonly chunks: readonly Chunk[]
  /** Events in them. */
  readonly count: number
}

export class Replays {
  readonly #history: History
  readonly #firstPage: number
  readonly #cache: BlockCache

  /** @param maxBufferedBytes what may wait for one client */
  constructor (history: History, historyMaxBytes: number, maxBufferedBytes: number) {
    this.#history = history
    this.#firstPage = Math.max(MAX_WRITE, Math.min(FIRST_PAGE, maxBufferedBytes / 4))
    this.#cache = new BlockCache(Math.min(MAX_CACHE_BYTES, historyMaxBytes / 4))
  }

  /** Bytes that are kept to be shared. */
  get bytes (): number {
    return this.#cache.bytes
  }

  /** Whether events that the replay has not reached were removed, and the client does not know that yet. */
  lost (replay: Replay): boolean {
    if (replay.cursor >= replay.end) return false
    this.#history.expire()
    this.#history.expireOf(replay.targets)
    return this.#history.lost(replay.targets, replay.cursor, replay.told)
  }

  /** Whether there are kept events that the replay has not reached. */
  pending (replay: Replay): boolean {
    return this.#history.first(replay.targets, replay.cursor, replay.end, replay.fresh) !== 0
  }

  /** Makes the next page. Moves the cursor to its end, and to `end` after the last page. */
  page (replay: Replay): Page {
    const limit = replay.told === -1 ? this.#firstPage : MAX_WRITE
    replay.told = this.#history.tick
    const chunks: Chunk[] = []
    let count = 0
    let size = 0
    // Targets without events are not in the key. All clients of `news` share its blocks, unless something is kept for a
    // client's own id.
    const targets = this.#targetsAhead(replay).sort()
    const key = sharingKey(targets, replay)
    while (replay.cursor < replay.end) {
      const first = this.#history.first(targets, replay.cursor, replay.end, replay.fresh)
      if (first === 0) {
        replay.cursor = replay.end
        break
      }
      // Skips what is empty. With a cursor of 10 and the first event at 700, the block begins at 512 for all.
      const boundary = first - 1 - (first - 1) % BLOCK
      if (boundary >= replay.cursor) replay.cursor = boundary
      // States are far apart, so that blocks would be many and small: 50 keys may be spread over 100,000 positions. Few
      // clients start at the same place, so that little is lost by not sharing.
      const to = this.#history.hasStates(targets) ? replay.end : blockEnd(replay.cursor)
      const block = this.#block(replay, targets, key, to)
      if (block.chunk !== null) {
        // The first block is taken even if it is larger than the limit. Without that, its replay would never end.
        const larger = Math.max(block.size, block.chunk.size)
        if (size > 0 && size + larger > limit) break
        chunks.push(block.chunk)
        size += larger
        count += block.count
      }
      replay.cursor = block.to
    }
    // A target without events up to `end` can lose nothing that this client needs. Say the cursor is 50, `end` is 100, and
    // `a` has only event 120. When that is removed, the floor of `a` is above the cursor, but the client gets 120 live.
    if (replay.cursor < replay.end) replay.targets = this.#targetsAhead(replay)
    return { chunks, count }
  }

  /** The targets that have events which the replay has not reached. */
  #targetsAhead ({ targets, cursor, end, fresh }: Replay): string[] {
    return targets.filter(target => this.#history.has(target, cursor, end, fresh))
  }

  #block (replay: Replay, targets: readonly string[], key: string, to: number): Block {
    // A block up to 256 that was made when the newest event was 100 ends at 100. Only replays with the same end share it.
    const end = Math.min(to, replay.end)
    const cacheKey = `${replay.cursor} ${key}`
    const known = this.#cache.take(cacheKey)
    if (known !== undefined && known.end === end && this.#isCurrent(known, targets, replay.cursor)) {
      this.#cache.put(cacheKey, known)
      return known
    }
    const { block, personal } = this.#build(replay, targets, end)
    if (!personal) this.#cache.put(cacheKey, block)
    return block
  }

  /** Whether a block still has what history has: nothing was filled in, removed or replaced since it was made. */
  #isCurrent ({ tick }: Block, targets: readonly string[], cursor: number): boolean {
    return tick >= this.#history.filledTick && !this.#history.lost(targets, cursor, tick) && !this.#history.superseded(targets, tick)
  }

  /** `personal` says that an event in it excepts some client, so that other clients may need other bytes. */
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
}

/** The end of a block that begins at a position: 70 gives 128, 128 gives 256, 256 gives 512. */
function blockEnd (begin: number): number {
  let size = BLOCK
  while (size > SMALL_BLOCK && begin % size !== 0) size /= 2
  return begin - begin % size + size
}

/** Replays with the same key share blocks. */
function sharingKey (targets: readonly string[], { names, encoding, fresh }: Replay): string {
  return `${encoding.key}${fresh ? ' fresh' : ''}\n${targets.join('\n')}\n\n${names === null ? '\n' : [...names].sort().join('\n')}`
}

function isFor (replay: Replay, event: KeptEvent): boolean {
  return event.except !== replay.clientId && (replay.names === null || replay.names.has(event.name))
}
