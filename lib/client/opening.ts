// How a stream begins: what a client that connects, or comes back, is given of the past, and what it is told of it. It decides
// where the client stands in the hub's order (`Last-Event-ID`), what is replayed from there, whether `recovered` is true, and
// from which event on it is live. It must not know of channels, sockets or requests.
import type { Broker, BrokerPlaceAhead, SSEReplay } from '../../types/index.js'
import type { HistoryLoader } from '../history/loader.js'
import type { Page, Replay, Replays } from '../history/replay.js'
import type { Encoding } from '../wire/encoding.js'
import { formatEvent, formatGap, formatRetry } from '../wire/format.js'

/** What an opening asks of its hub. */
export interface OpeningHost {
  readonly broker: Pick<Broker, 'head' | 'position'>
  readonly replays: Replays
  readonly loader: HistoryLoader
  /** Position of the newest event that was delivered here. */
  readonly position: number
  /** Logs that the broker failed to tell what a client missed. */
  unknown (clientId: string, error: unknown): void
}

/** What the stream's client asks for. */
export interface OpeningSettings {
  readonly clientId: string
  /** Whether `sse:open` is sent. */
  readonly greeting: boolean
  /** The `retry:` field; `null` leaves it out. */
  readonly retry: number | null
  readonly mode: SSEReplay
  /** What the client says it had last; `null` on a first visit. */
  readonly lastEventId: string | null
  /** What its events may be sent to: its channels, broadcasts, its id. */
  readonly targets: string[]
  /** Only events of these names; `null` for all. */
  readonly names: ReadonlySet<string> | null
  readonly encoding: Encoding
}

/** The client that is opened. */
export interface Opened {
  /** Position of the event that reached it last. */
  position: number
  /** Keeps everything back, until `release`. */
  hold (): void
  release (): void
}

/** What is written next. */
export interface Step {
  /** For this client alone: `retry:` and the greeting at first, later that events were lost; `''` for nothing. */
  readonly text: string
  /** The next page of the replay. */
  readonly page: Page
}

const NOTHING: Page = { chunks: [], count: 0 }

/** It is dropped once its bytes are written: an idle client keeps nothing of it. */
export class Opening {
  readonly retry: number | null
  /** The newest event's id, where the greeting told it; else `''`. */
  headTold = ''
  readonly #host: OpeningHost
  readonly #clientId: string
  readonly #greeting: boolean
  /** The id of the place after which all that is for the client waits for it, and will come. */
  #head: string
  /** What it has of the past and what it may miss; `null` where neither matters. */
  readonly #replay: Replay | null
  /** Whether it is given what it missed; else it is only told whether it missed anything. */
  readonly #replays: boolean
  readonly #lastEventId: string | null
  readonly #place: number | BrokerPlaceAhead
  /** Whether it said what it had last, and that is a place in today's order. */
  #resumes = false
  #begun = false

  constructor (host: OpeningHost, { clientId, greeting, retry, mode, lastEventId, targets, names, encoding }: OpeningSettings) {
    this.#host = host
    this.#clientId = clientId
    this.#greeting = greeting
    this.retry = retry
    this.#lastEventId = lastEventId
    this.#place = lastEventId === null ? -1 : host.broker.position(lastEventId)
    this.#head = host.broker.head()
    this.#replays = mode === 'all' || (mode === 'missed' && lastEventId !== null)
    this.#replay = this.#replays || this.#place !== -1
      ? { targets, names, clientId, encoding, fresh: true, end: host.position, cursor: 0, told: -1 }
      : null
  }

  /** Finds where the replay begins. Holds the client until all is known that it needs. */
  begin (client: Opened): void {
    const replay = this.#replay
    if (replay === null) return
    const place = this.#place
    const ready = typeof place === 'number' ? this.#beginAt(replay, place) : this.#beginAhead(replay, place, client)
    if (ready === null) return
    client.hold()
    ready.catch(error => {
      this.#resumes = false
      this.#host.unknown(this.#clientId, error)
    }).finally(() => client.release())
  }

  /**
   * @param position of the last event that the client had; -1 where that is no place in today's order
   * @returns `null` where history has all that is known
   */
  #beginAt (replay: Replay, position: number): Promise<void> | null {
    this.#resumes = position >= 0
    replay.fresh = position < 0
    replay.cursor = Math.max(position, 0)
    return this.#host.loader.complete(replay.targets, replay.cursor)
  }

  /**
   * The client had more from another instance than has come here. Example: it had event 70, and this instance is at 60. Then
   * 61 to 70 are not for it when they come, unless the instance loses events meanwhile (`endAt`).
   */
  async #beginAhead (replay: Replay, { position, arrived }: BrokerPlaceAhead, client: Opened): Promise<void> {
    client.position = replay.end = position
    const isPlace = await arrived.catch(error => {
      // What it was not told of may still come, and must reach it.
      this.#host.unknown(this.#clientId, error)
      return false
    })
    if (isPlace) {
      this.#head = this.#lastEventId!
      await this.#beginAt(replay, position)
      return
    }
    // There is no event 70 after all. The client was passed over by what came meanwhile, say 61 to 65, and gets that from
    // history. What comes after 70 waits in line for it.
    if (replay.end >= this.#host.position) {
      client.position = replay.end = this.#host.position
      this.#head = this.#host.broker.head()
    }
    await this.#beginAt(replay, -1)
  }

  /** No event up to a position comes live any more: a replay that was to end later ends there. */
  endAt (position: number): void {
    if (this.#replay !== null) this.#replay.end = Math.min(this.#replay.end, position)
  }

  /** Whether all is written, and the client is live. */
  get done (): boolean {
    return this.#begun && (this.#given === null || this.#given.cursor >= this.#given.end)
  }

  /** The replay, where the client is given what it missed. */
  get #given (): Replay | null {
    return this.#replays ? this.#replay : null
  }

  next (): Step {
    if (!this.#begun) return this.#first()
    // History has let go of what the replay had not reached.
    const text = this.#host.replays.lost(this.#given!) ? formatGap(null) : ''
    return { text, page: this.#host.replays.page(this.#given!) }
  }

  /** With `recovered` as it is now: events may have been lost since the client connected. */
  #first (): Step {
    this.#begun = true
    const { replays } = this.#host
    const replay = this.#replay
    let recovered = this.#resumes
    if (replay !== null) {
      if (replays.lost(replay)) recovered = false
      // It is given nothing of the past, so one event that waits for it there is a loss.
      if (!this.#replays && replays.pending(replay)) recovered = false
    }
    const page = this.#given === null ? NOTHING : replays.page(this.#given)
    let text = this.retry === null ? '' : formatRetry(this.retry)
    if (this.#greeting) {
      // Where no replay follows, a client that has got no event yet can resume as well.
      if (page.chunks.length === 0 && this.done) this.headTold = this.#head
      text += formatEvent(this.headTold === '' ? null : this.headTold, 'sse:open', JSON.stringify({ clientId: this.#clientId, recovered }), -1)
    } else if (text !== '') {
      text += '\n'
    }
    return { text, page }
  }
}
