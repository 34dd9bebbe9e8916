// Gives a client the kept events in pages of one write. Clients that replay the same events share the bytes. This file must
// not know of clients or sockets.
import { MAX_WRITE, type Chunk } from '../wire/chunk.js'
import type { Encoding } from '../wire/encoding.js'
import { Cache } from './cache.js'
import { stringBytes } from './entry.js'
import { Grid } from './grid.js'
import type { History, KeptEvent } from './history.js'
import type { Line } from './line.js'
import { Merge } from './merge.js'

/**
 * The first page of a client may be larger than a write, so that most clients get all states at once. It takes at most a
 * quarter of what may wait for a client: with `maxBufferedBytes` of 512 KiB, the first page has up to 128 KiB.
 */
const FIRST_PAGE = 4 * MAX_WRITE
const MAX_CACHE_BYTES = 16 * 1024 * 1024
/**
 * Events that are looked at for a page, about. Example: a client wants one event name of 200,000 kept events. Without a limit, its
 * page would hold the process for 50 ms. With it, the client gets an empty page of 2,048 events, and the next page in its next turn.
 */
const PAGE_WORK = 2048
/** Bytes that are compressed in the time of a look at one event, about. */
const BYTES_OF_WORK = 64
/** A block takes no more events. Those of many channels may come between two events of the longest one. */
const BLOCK_WORK = 512

/** What a block takes without its bytes. */
const BLOCK_OVERHEAD = 400
/** What a client id takes in a block's set, without its text. */
const EXCEPTED_OVERHEAD = 60

/** Encoded events that come one after the other. Clients share it, except those that must not get one of the events. */
interface Block {
  /** `null` if no event in it is for the client. */
  readonly chunk: Chunk | null
  /** Bytes of its events before encoding. */
  readonly size: number
  readonly count: number
  /** The position at which it was to end. */
  readonly end: number
  /** The position at which it ends. Less than `end` if it was full before. */
  readonly to: number
  /** The history's tick when it was made. */
  readonly tick: number
  /** The ids of the clients that need a block of their own; `null` for none. */
  readonly excepted: ReadonlySet<string> | null
  readonly cost: number
}

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
  readonly #cache: Cache<Block>

  /** @param maxBufferedBytes what may wait for one client */
  constructor (history: History, historyMaxBytes: number, maxBufferedBytes: number) {
    this.#history = history
    this.#firstPage = Math.max(MAX_WRITE, Math.min(FIRST_PAGE, maxBufferedBytes / 4))
    this.#cache = new Cache(Math.min(MAX_CACHE_BYTES, historyMaxBytes / 4))
  }

  /** Bytes that are kept to be shared. */
  get bytes (): number {
    return this.#cache.bytes
  }

  /** Whether events that the replay has not reached were removed, and the client does not know that yet. */
  lost (replay: Replay): boolean {
    if (replay.cursor >= replay.end) return false
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
    const reading = this.#read(replay)
    const { merge } = reading
    do {
      const first = merge.next
      if (first === undefined || first.position > replay.end) {
        replay.cursor = replay.end
        break
      }
      const block = this.#block(replay, reading, first.position)
      if (block.chunk !== null) {
        // The first block is taken even if it is larger than the limit. Without that, its replay would never end.
        const larger = Math.max(block.size, block.chunk.size)
        if (size > 0 && size + larger > limit) break
        chunks.push(block.chunk)
        size += larger
        count += block.count
      }
      replay.cursor = block.to
      merge.passTo(block.to)
    } while (merge.work < PAGE_WORK)
    // A target without events up to `end` can lose nothing that this client needs. Say the cursor is 50, `end` is 100, and
    // `a` has only event 120. When that is removed, the floor of `a` is above the cursor, but the client gets 120 live.
    if (replay.cursor < replay.end) replay.targets = this.#targetsAhead(replay)
    return { chunks, count }
  }

  /** The targets that have events which the replay has not reached. */
  #targetsAhead ({ targets, cursor, end, fresh }: Replay): string[] {
    return targets.filter(target => this.#history.has(target, cursor, end, fresh))
  }

  #read (replay: Replay): Reading {
    // Targets without events are not in the key. All clients of `news` share its blocks, unless something is kept for a
    // client's own id.
    const targets = this.#targetsAhead(replay).sort()
    const lines = this.#history.lines(targets, replay.fresh)
    return {
      targets,
      key: sharingKey(targets, replay),
      merge: new Merge(lines, replay.cursor),
      grid: lines.length === 0 ? null : new Grid(lines),
      last: lastPosition(lines, replay.end)
    }
  }

  /** @param first the position of its first event */
  #block (replay: Replay, reading: Reading, first: number): Block {
    const { targets, key, grid, last } = reading
    const end = Math.min(grid!.end(first), last)
    const cacheKey = `${first} ${key}`
    const known = this.#cache.take(cacheKey)
    if (known !== undefined && endsAt(known, end) && this.#isCurrent(known, targets, first - 1)) {
      this.#cache.put(cacheKey, known)
      if (known.excepted?.has(replay.clientId) !== true) return known
    }
    const block = this.#build(replay, reading.merge, end)
    if (block.excepted?.has(replay.clientId) !== true) this.#cache.put(cacheKey, block)
    return block
  }

  /** Whether a block still has what history has: nothing was filled in, removed or replaced since it was made. */
  #isCurrent ({ tick }: Block, targets: readonly string[], cursor: number): boolean {
    return tick >= this.#history.filledTick && !this.#history.lost(targets, cursor, tick) && !this.#history.superseded(targets, tick)
  }

  /**
   * Makes the block that begins with the next event of `merge`. If one of its events excepts the client, only this client can have
   * it. It ends where the others' block ends, so that the client shares those after it.
   */
  #build (replay: Replay, merge: Merge<KeptEvent>, end: number): Block {
    let to = end
    let events: KeptEvent[] = []
    let size = 0
    const excepted = new Set<string>()
    let cost = BLOCK_OVERHEAD
    let work = 0
    for (let event = merge.next; event !== undefined && event.position <= end; event = merge.next) {
      const wanted = replay.names === null || replay.names.has(event.name)
      if (work === BLOCK_WORK || (wanted && size > 0 && size + event.size > MAX_WRITE)) {
        to = event.position - 1
        break
      }
      merge.pass()
      work++
      if (!wanted) continue
      events.push(event)
      size += event.size
      if (excepts(replay, event) && !excepted.has(event.except)) {
        excepted.add(event.except)
        cost += EXCEPTED_OVERHEAD + stringBytes(event.except)
      }
    }
    if (excepted.has(replay.clientId)) {
      events = events.filter(event => event.except !== replay.clientId || !excepts(replay, event))
      size = events.reduce((sum, event) => sum + event.size, 0)
    }
    const chunk = size === 0 ? null : replay.encoding.lasting(events, size)
    if (replay.encoding.key !== '') merge.work += size / BYTES_OF_WORK
    // A chunk of more than one write goes out in pieces, and it keeps these copies.
    if (chunk !== null) cost += chunk.size > MAX_WRITE ? 2 * chunk.size : chunk.size
    return { chunk, size, count: events.length, end, to, tick: this.#history.tick, excepted: excepted.size === 0 ? null : excepted, cost }
  }
}

/** What a page is made of. */
interface Reading {
  /** Those with events ahead, sorted. */
  readonly targets: readonly string[]
  readonly key: string
  readonly merge: Merge<KeptEvent>
  /** `null` where nothing is ahead. */
  readonly grid: Grid | null
  /** The position of the last event of the replay, or a later one. */
  readonly last: number
}

/**
 * The position of the last event that is not after `end`; `end` itself where there are events after it. A quiet channel has the same
 * last event for all clients that come until the next one. Their replays have different ends.
 */
function lastPosition (lines: ReadonlyArray<Line<KeptEvent>>, end: number): number {
  let last = 0
  for (const { newest } of lines) last = Math.max(last, newest?.position ?? 0)
  return Math.min(last, end)
}

/** Whether a block ends where another replay would end it: at the same position, or where it was full before that. */
function endsAt (block: Block, end: number): boolean {
  return block.end === end || (block.to < block.end && block.to < end)
}

/** Replays with the same key share blocks. */
function sharingKey (targets: readonly string[], { names, encoding, fresh }: Replay): string {
  return `${encoding.key}${fresh ? ' fresh' : ''}\n${targets.join('\n')}\n\n${names === null ? '\n' : [...names].sort().join('\n')}`
}

/**
 * Whether the client that an event excepts must not get it. A client that knows no state yet gets the newest one of each key, also
 * if it excepts the client: the older one, which the client would need else, is not kept.
 */
function excepts ({ fresh }: Replay, { except, key }: KeptEvent): boolean {
  return except !== '' && (key === '' || !fresh)
}
