// The simplest model of what a hub promises: which events each connection must get, and what it may be told of losses.
// test/streams/properties.test.ts compares it with what real clients of a real hub got.

/** One event that was published. */
export interface ModelEvent {
  /** Its place in the order of its app. */
  readonly position: number
  /** Its data holds this number. No other event has it. */
  readonly n: number
  readonly targets: readonly string[]
  readonly name: string
  readonly except: string | undefined
  readonly transient: boolean
  /** Its id. It is `null` until the hub has delivered the event, and stays `null` for an event without an id. */
  id: string | null
  /** How many clients it was for. */
  readonly recipients: number
}

/** What a client asks for. */
interface Asked {
  readonly targets: ReadonlySet<string>
  readonly id: string
  /** Only events of these names. */
  readonly names: readonly string[] | undefined
}

export interface ModelConnection {
  /** The targets that it gets events of, with its own id and broadcasts. */
  readonly targets: Set<string>
  readonly id: string
  /** Only events of these names. */
  readonly names: readonly string[] | undefined
  /** The numbers of the events that it must get, in order. */
  readonly expected: number[]
  /** How many of them, from the beginning, are replayed from the history. */
  replayed: number
  /** Whether `recovered` must be true, must be false, or may be either. */
  recovered: boolean | null
  /** Events of the replay that the history lost before the stream began. If `recovered` is false, they need not come. */
  readonly gone: Set<number>
  /**
   * Whether its replay may tell a loss although the client loses nothing. The hub looks at whole channels. An event that one
   * channel loses may be kept in another one, or may not be for this client.
   */
  cautious: boolean
  /**
   * Whether the model does not say what it gets: its channels changed before its first bytes, and something was published in between.
   * test/history/join-before-opening.test.ts has these.
   */
  loose: boolean
}

export interface Place {
  /** The position in this app's order of the last event that the client says it had. It is -1 if there is none. */
  readonly position: number
  readonly resumes: boolean
}

type Mode = 'all' | 'missed' | 'none'

export class ModelHub {
  position = 0
  readonly #size: number
  readonly #all: ModelEvent[] = []
  readonly #byKey = new Map<string, ModelEvent>()

  constructor (historySize: number) {
    this.#size = historySize
  }

  get published (): number {
    return this.#all.length
  }

  /** The event that was published with a key before. */
  known (key: string | undefined): ModelEvent | undefined {
    return key === undefined ? undefined : this.#byKey.get(key)
  }

  /** Publishes to the connections that must get the event. */
  publish (event: Omit<ModelEvent, 'position' | 'id' | 'recipients'>, key: string | undefined, connections: readonly ModelConnection[]): ModelEvent {
    const to = connections.filter(connection => isFor(event, connection))
    const published = { ...event, position: ++this.position, id: null, recipients: to.length }
    this.#all.push(published)
    if (key !== undefined) this.#byKey.set(key, published)
    for (const { expected } of to) expected.push(published.n)
    return published
  }

  /** The hub has delivered an event. */
  delivered (n: number, id: string | null): void {
    const event = this.#all.findLast(event => event.n === n)
    if (event !== undefined) event.id = id
  }

  /** The place of an id that a client sends. It may be the id of an event or of a greeting, or of another app. */
  place (id: string | undefined, heads: ReadonlyMap<string, number>): Place {
    if (id === undefined) return { position: -1, resumes: false }
    const position = this.#all.find(event => event.id === id)?.position ?? heads.get(id) ?? -1
    return { position, resumes: true }
  }

  /** The connection of a client that asks for a stream now. */
  connect (asked: Asked, place: Place, replay: Mode): ModelConnection {
    const { targets, id, names } = asked
    const expected = this.#replayed(asked, place, replay).map(({ n }) => n)
    return {
      targets: new Set(targets),
      id,
      names,
      expected,
      replayed: expected.length,
      recovered: this.#recovered(asked, place.position, this.position, replay === 'none'),
      gone: new Set(),
      cautious: this.#isCautious(asked),
      loose: false
    }
  }

  #isCautious (asked: Asked): boolean {
    return this.#all.some(event => {
      const holders = this.#holders(event).filter(target => asked.targets.has(target))
      return holders.length > 1 || (holders.length === 1 && !isFor(event, asked))
    })
  }

  /** The client has joined or left a channel before its stream began. That counts as if it had asked so. */
  retarget (connection: ModelConnection, asked: Asked, place: Place, end: number, replay: Mode): void {
    connection.loose ||= this.position !== end || connection.expected.length > connection.replayed
    const expected = this.#replayed(asked, place, replay).map(({ n }) => n)
    connection.expected.splice(0, connection.replayed, ...expected)
    connection.replayed = expected.length
    connection.recovered = this.#recovered(asked, place.position, end, replay === 'none')
    connection.cautious = this.#isCautious(asked)
  }

  /**
   * The stream of a connection begins now, after the listeners of `connect`. The history may have lost events of its replay,
   * because of what these listeners published.
   * @param asked what it asked for, and what it joined and left since
   * @param end the position of the newest event when it asked
   */
  begun (connection: ModelConnection, asked: Asked, place: Place, end: number, replay: Mode): void {
    const recovered = this.#recovered(asked, place.position, end, replay === 'none')
    if (recovered !== connection.recovered) connection.recovered = null
    const kept = new Set(this.#replayed(asked, place, replay).map(({ n }) => n))
    for (const n of connection.expected.slice(0, connection.replayed)) if (!kept.has(n)) connection.gone.add(n)
  }

  /** The kept events that a client gets first. */
  #replayed (asked: Asked, { position, resumes }: Place, replay: Mode): ModelEvent[] {
    if (replay === 'none' || (replay === 'missed' && !resumes)) return []
    return this.#all.filter(event => event.position > position && this.#holders(event).some(target => asked.targets.has(target)) && isFor(event, asked))
  }

  #recovered (to: Asked, position: number, end: number, nothingFollows: boolean): boolean | null {
    if (position === -1) return false
    const missed = this.#all.filter(event => event.position > position && !event.transient && event.targets.some(target => to.targets.has(target)))
    const isLeftOut = (event: ModelEvent): boolean => nothingFollows && event.position <= end
    const isGone = (event: ModelEvent): boolean => isLeftOut(event) || (event.position <= end && !this.#holders(event).some(target => to.targets.has(target)))
    if (missed.some(event => isGone(event) && isFor(event, to))) return false
    // The hub looks at whole channels. A lost event may not be for this client, or another channel may hold it.
    const mayBeGone = (event: ModelEvent): boolean => isLeftOut(event) || event.targets.some(target => to.targets.has(target) && !this.#holders(event).includes(target))
    if (missed.some(mayBeGone)) return null
    // If nothing is kept at all, the hub does not know which channels have lost events.
    return this.#size === 0 && this.#all.some(event => event.position > position && !event.transient) ? null : true
  }

  /** The targets for which an event is kept. */
  #holders (event: ModelEvent): string[] {
    if (event.transient) return []
    return event.targets.filter(target => {
      const newer = this.#all.filter(other => other.position > event.position && !other.transient && other.targets.includes(target))
      return newer.length < this.#size
    })
  }
}

function isFor (event: Pick<ModelEvent, 'targets' | 'except' | 'name'>, { targets, id, names }: Asked): boolean {
  return event.targets.some(target => targets.has(target)) && event.except !== id && (names === undefined || names.includes(event.name))
}
