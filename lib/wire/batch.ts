// The lists of events that wait for clients. Clients that wait for the same events share one list. It must not know of clients
// or sockets.
import { Chunk, MAX_WRITE } from './chunk.js'
import { withId } from './format.js'

/** An event's place in the hub's order, and the states that the event tells. */
export interface Place {
  readonly position: number
  /** The event's id, a place to resume from. `null` where there is none: the event is not kept, or is not in the order. */
  readonly id: string | null
  /** The newest id before this event. */
  readonly before: string
  /** What the event is for. `null` where it is for one client alone. */
  readonly targets: readonly string[] | null
  /** The states that the event tells, one for each target, as `targetState` writes them. `null` where it has no key. */
  readonly states: readonly string[] | null
}

/** The name of a state in the whole hub, e.g. `"prices\nprice\nACME"`. */
export function targetState (target: string, name: string, key: string): string {
  return `${target}\n${name}\n${key}`
}

/** The channel of a state. No name contains a line break. */
export function channelOf (state: string): string {
  return state.slice(0, state.indexOf('\n'))
}

/** The place of an event that is not in the order: it is for one client alone, or from the hub itself. */
const NOWHERE: Place = { position: 0, id: null, before: '', targets: null, states: null }

/** An event on its way to sockets. It has its text first, and its bytes once the first client needs them. */
export class Frame {
  /** Bytes of `text` in UTF-8. */
  readonly size: number
  /** Whether it may be compressed together with others. `false` keeps it apart, so that no length tells about its content. */
  readonly compress: boolean
  readonly place: Place
  /** Its bytes in each encoding that made some. */
  encoded: Map<object, Chunk> | null = null
  #text: string | null
  #chunk: Chunk | null = null

  constructor (text: string, size: number, compress = false, place = NOWHERE) {
    this.#text = text
    this.size = size
    this.compress = compress
    this.place = place
  }

  /** The same event with another id, for a client that must not resume from this one. `''` leaves the id out. */
  withId (id: string): Frame {
    if (id === this.place.id) return this
    const text = withId(this.chunk().payload().toString(), this.place.id!, id === '' ? null : id)
    return new Frame(text, Buffer.byteLength(text), this.compress, this.place)
  }

  chunk (): Chunk {
    if (this.#chunk === null) {
      this.#chunk = Chunk.fromText(this.#text!, this.size)
      this.#text = null
    }
    return this.#chunk
  }
}

/**
 * An immutable list of waiting events, for clients of one encoding. It is another list with one more event at its end. Example:
 * 1000 clients wait for the events 7, 8 and 9. All of them hold one list, which is the list of 7 and 8 with 9.
 */
export abstract class Batch {
  /** Bytes of stream in the whole list, before they are encoded. */
  readonly size: number
  /** Events in the whole list. */
  readonly count: number
  /** This list with the event of the present publish. Clients that hold this list and get the event share it. */
  next: Batch | null = null
  /** How many clients hold it. Those that have written it still count. */
  holders = 0

  constructor (previous: Batch | null, frame: Frame | null) {
    this.size = (previous === null ? 0 : previous.size) + (frame === null ? 0 : frame.size)
    this.count = (previous === null ? 0 : previous.count) + (frame === null ? 0 : 1)
  }

  /** The list with one more event. */
  abstract with (frame: Frame): Batch
  /** The bytes of the whole list. The first client that needs them makes them. */
  abstract chunk (): Chunk

  /** Whether an event fits. A list is at most one write long, unless it is a single event. */
  admits (frame: Frame): boolean {
    return this.count === 0 || this.size + frame.size <= MAX_WRITE
  }
}

/** A list whose bytes are sent as they are. */
export class PlainBatch extends Batch {
  #previous: PlainBatch | null
  #frame: Frame | null
  #chunk: Chunk | null = null

  constructor (previous: PlainBatch | null, frame: Frame | null) {
    super(previous, frame)
    this.#previous = previous
    this.#frame = frame
  }

  with (frame: Frame): PlainBatch {
    return new PlainBatch(this.count === 0 ? null : this, frame)
  }

  chunk (): Chunk {
    if (this.#chunk === null) {
      const chunks: Chunk[] = []
      let batch: PlainBatch | null = this
      while (batch !== null && batch.#chunk === null) {
        chunks.push(batch.#frame!.chunk())
        batch = batch.#previous
      }
      // The older events were joined before, into one chunk. A list that is joined drops its parts. Else each list would keep
      // all older lists in memory.
      if (batch !== null) chunks.push(batch.#chunk!)
      this.#chunk = Chunk.join(chunks.reverse(), this.size)
      this.#previous = this.#frame = null
    }
    return this.#chunk
  }
}

/** The lists of one hub that have a `next`. */
export class Batches {
  readonly #touched: Batch[] = []
  /** The event of these lists' `next`. */
  #frame: Frame | null = null

  /**
   * The list with one more event. Within one publish the same list gives the same list. So clients that wait for the same
   * events hold one object, whatever their channels are, and its bytes are made once.
   */
  add (batch: Batch, frame: Frame): Batch {
    // A publish that broke off has not forgotten its own. They must not give its event to clients of other channels.
    if (this.#frame !== frame) {
      this.forgetMemos()
      this.#frame = frame
    }
    let next = batch.next
    if (next === null) {
      this.#touched.push(batch)
      next = batch.next = batch.with(frame)
    }
    batch.holders--
    next.holders++
    return next
  }

  /**
   * Ends a publish. A `next` that stayed would give the next publish the event of this one, and the first list would keep all
   * later ones in memory.
   */
  forgetMemos (): void {
    for (const batch of this.#touched) batch.next = null
    this.#touched.length = 0
    this.#frame = null
  }
}
