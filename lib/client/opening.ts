// How a stream begins. It finds the client's place in the hub's order (`Last-Event-ID`). It decides what is replayed from there,
// whether `recovered` is true, and after which event the client is live. It must not know of channels, sockets or requests.
//
// Example: a client comes back with the id of event 50, and event 60 is the newest. It gets 51 to 60 from history, and 61 and
// later ones live. `recovered` is true, unless one of 51 to 60 is not kept any more.
import type { Broker, BrokerPlaceAhead, SSEReplay } from '../../types/index.js'
import { answerWithin } from '../broker-failure.js'
import type { HistoryLoader } from '../history/loader.js'
import type { Page, Replay, Replays } from '../history/replay.js'
import type { Encoding } from '../wire/encoding.js'
import { formatEvent, formatGap, formatRetry } from '../wire/format.js'

/** What an opening asks of its hub. */
export interface OpeningHost {
  readonly broker: Pick<Broker, 'head' | 'position'>
  readonly replays: Replays
  readonly loader: HistoryLoader
  /** The position of the newest event that was delivered here. */
  readonly position: number
  /** The broker's newest id. Where the broker fails to tell it, that is logged, and the result is the argument. */
  head (otherwise: string): string
  /** Logs that the broker failed to tell what a client missed. */
  unknown (clientId: string, error: unknown): void
}

/** What the route and the request ask for. */
export interface OpeningSettings {
  readonly clientId: string
  /** Whether `sse:open` is sent. */
  readonly greeting: boolean
  /** The `retry:` field; `null` leaves it out. */
  readonly retry: number | null
  readonly mode: SSEReplay
  /** The id of the last event that the client had; `null` on a first connection. */
  readonly lastEventId: string | null
  /** The targets whose events are for the client: its channels, broadcasts, its id. */
  readonly targets: string[]
  /** The event names that the client gets; `null` for all. */
  readonly names: ReadonlySet<string> | null
  readonly encoding: Encoding
}

/** The client whose stream begins. */
export interface Opened {
  /** The client gets no live event up to this position. */
  position: number
  /** Writes nothing but heartbeats to it until `release`. */
  hold (): void
  release (): void
  /** Takes the kept events of some targets out of the line, up to a position: they come by the replay. */
  dropKept (targets: readonly string[], position: number): void
}

/** What is written next. */
export interface Step {
  /** For this client alone. At first it is `retry:` and the greeting, later it tells of lost events. `''` for nothing. */
  readonly text: string
  /** The next page of the replay. */
  readonly page: Page
}

const NOTHING: Page = { chunks: [], count: 0 }

/** The outbox drops it after its last page, to save memory. */
export class Opening {
  readonly retry: number | null
  /** The newest event's id, if the greeting told it; else `''`. */
  headTold = ''
  readonly #host: OpeningHost
  readonly #clientId: string
  readonly #greeting: boolean
  /** The id of a place: all later events for the client are in line, or will be. */
  #head: string
  /** Finds the events that the client missed; `null` where it neither gets them nor must know whether there are some. */
  readonly #replay: Replay | null
  /** Whether the client gets what it missed. If not, it is only told whether it missed something. */
  readonly #replays: boolean
  readonly #lastEventId: string | null
  readonly #place: number | BrokerPlaceAhead
  /** Whether the client brought an id, that is a place in the present order, and no later event is known to be missing. */
  #recovers = false
  /** Whether events of a channel that the client joined meanwhile are lost to it. */
  #incomplete = false
  /** The position at which the replay began. */
  #from = 0
  #begun = false
  /** The answers of the broker that the client waits for. */
  #waits = 0
  /** When the client stops waiting, in the time of `performance.now()`. */
  #deadline = 0

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

  /** Finds where the replay begins. Holds the client until history has all events that the replay needs. */
  begin (client: Opened): void {
    const replay = this.#replay
    if (replay === null) return
    const place = this.#place
    this.#wait(client, typeof place === 'number' ? this.#beginAt(replay, place) : this.#beginAhead(replay, place, client))
  }

  /** Whether the first step was made. */
  get begun (): boolean {
    return this.#begun
  }

  /**
   * The targets have changed before the first step. That counts as if the route had given them.
   *
   * Example: the client connected at position 60, and joins "b" at 65. Event 63 was for "a", where the client is, so it is in line.
   * Event 64 was for "b". If 64 came by the replay and 63 after it, the client could lose 63: it would resume after 64. So the
   * replay now ends at 65, and gives both.
   * @param targets all that the client has now
   * @param joined the one that is new; `null` where it has left one
   */
  retarget (targets: readonly string[], joined: string | null, client: Opened): void {
    const replay = this.#replay
    if (replay === null) return
    const { position, replays } = this.#host
    replay.targets = targets
    // It may have looked at some events, though none was for the client.
    replay.cursor = this.#from
    replay.told = -1
    /** What came since the client connected. */
    const since = { ...replay, cursor: replay.end, end: position }
    const ofJoined = { ...since, targets: joined === null ? [] : [joined] }
    if (replays.lost(ofJoined) || replays.pending(ofJoined)) {
      if (this.#replays && !replays.lost({ ...since, targets: targets.filter(target => target !== joined) })) {
        client.dropKept(targets, position)
        replay.end = position
        this.#head = this.#host.head(this.#head)
      } else {
        this.#incomplete = true
      }
    }
    this.#wait(client, this.#complete(targets, replay.cursor))
  }

  /** Holds the client until the answer has come, or the time for that is over (`#inTime`). */
  #wait (client: Opened, answer: Promise<void> | null): void {
    if (answer === null) return
    const failed = (error: unknown): void => {
      this.#recovers = false
      this.#host.unknown(this.#clientId, error)
    }
    this.#waits++
    client.hold()
    answer.catch(failed).then(() => { if (--this.#waits === 0) client.release() }).catch(failed)
  }

  /** Makes history complete for some targets, after a position. `null` where it is so now. */
  #complete (targets: readonly string[], after: number): Promise<void> | null {
    const complete = this.#host.loader.complete(targets, after)
    return complete === null ? null : this.#inTime(complete)
  }

  #inTime<Answer> (answer: Promise<Answer>): Promise<Answer> {
    // A client that waits already gets no more time.
    if (this.#waits === 0) this.#deadline = performance.now() + this.#host.loader.answerTimeout
    return answerWithin(Math.max(0, this.#deadline - performance.now()), answer)
  }

  /**
   * @param position that of the last event that the client had; -1 where its id is no place in the present order
   * @returns `null` where history has all events already
   */
  #beginAt (replay: Replay, position: number): Promise<void> | null {
    this.#recovers = position >= 0
    replay.fresh = position < 0
    replay.cursor = this.#from = Math.max(position, 0)
    return this.#complete(replay.targets, replay.cursor)
  }

  /**
   * The client is ahead: on another instance it got events that have not come here. Example: it had event 70, and this instance is
   * at 60. Its position becomes 70 at once. So it does not get 61 to 70 again when they come here, and 71 is the first it gets.
   * If the broker skips to 65 before that, its position becomes 65, and the replay ends there (`endAt`).
   */
  async #beginAhead (replay: Replay, { position, arrived }: BrokerPlaceAhead, client: Opened): Promise<void> {
    client.position = replay.end = position
    const isPlace = await this.#inTime(arrived).catch(error => {
      // Nobody knows whether the place exists, so the client is opened as if it did not. Else it could lose events.
      this.#host.unknown(this.#clientId, error)
      return false
    })
    if (isPlace) {
      this.#head = this.#lastEventId!
      await this.#beginAt(replay, position)
      return
    }
    // There is no event 70 with that id. Say 61 to 65 came while the client waited, and it did not get them. It gets them from
    // history, and 66 live. If 61 to 72 came, then 71 and 72 are in line already, so the replay still ends at 70.
    if (replay.end >= this.#host.position) {
      client.position = replay.end = this.#host.position
      this.#head = this.#host.broker.head()
    }
    await this.#beginAt(replay, -1)
  }

  /** The broker skipped to a position: later events come live. So a replay that would end after the position ends at it. */
  endAt (position: number): void {
    if (this.#replay !== null) this.#replay.end = Math.min(this.#replay.end, position)
  }

  /** Whether the last step was made, and the client is live. */
  get done (): boolean {
    return this.#begun && (this.#given === null || this.#given.cursor >= this.#given.end)
  }

  /** The replay, if the client gets what it missed. */
  get #given (): Replay | null {
    return this.#replays ? this.#replay : null
  }

  next (): Step {
    if (!this.#begun) return this.#first()
    // Events that the replay had not reached may have been removed from history.
    const text = this.#host.replays.lost(this.#given!) ? formatGap(null) : ''
    return { text, page: this.#host.replays.page(this.#given!) }
  }

  /** The first step. It finds `recovered` only now, because events may have been lost since the client connected. */
  #first (): Step {
    const { replays } = this.#host
    const replay = this.#replay
    if (replay !== null) {
      if (replays.lost(replay)) this.#recovers = false
      // The client gets no kept events, so one event that it missed is a loss.
      if (!this.#replays && replays.pending(replay)) this.#recovers = false
    }
    const given = this.#given
    const page = given === null ? NOTHING : replays.page(given)
    // Of many events, none was for the client so far. It is greeted when one is found, or none at all: only then it is known
    // whether the greeting has an id. What is lost until then makes `recovered` false.
    if (page.chunks.length === 0 && given !== null && given.cursor < given.end) return { text: '', page }
    this.#begun = true
    let text = this.retry === null ? '' : formatRetry(this.retry)
    if (this.#greeting) {
      // Where no replay follows, the greeting has an id, so that a client can resume before its first event. Before a replay it
      // must not: a client that disconnects after the greeting would miss the replay.
      if (page.chunks.length === 0 && this.done) this.headTold = this.#head
      text += formatEvent(this.headTold === '' ? null : this.headTold, 'sse:open', JSON.stringify({ clientId: this.#clientId, recovered: this.#recovers && !this.#incomplete }), -1)
    } else if (text !== '') {
      text += '\n'
    }
    return { text, page }
  }
}
