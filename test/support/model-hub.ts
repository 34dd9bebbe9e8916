// What a hub promises, in the simplest way: what each connection must be given, and what it may be told of losses.
// Compared with what real clients of a real hub were given, by test/streams/properties.test.ts.

/** One event that was published. */
export interface ModelEvent {
  /** Its place in the order of its app. */
  readonly position: number
  /** Its data holds this, and no other event's. */
  readonly n: number
  readonly targets: readonly string[]
  readonly name: string
  readonly except: string | undefined
  readonly transient: boolean
  /** Its id, from the moment at which the hub has delivered it. */
  id: string | null
  /** How many it was for. */
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
  /** What it is subscribed to, its own id and broadcasts included. */
  readonly targets: Set<string>
  readonly id: string
  /** Only events of these names. */
  readonly names: readonly string[] | undefined
  /** What it must be given, in order: numbers of events. */
  readonly expected: number[]
  /** How many of them are history. */
  replayed: number
  /** Whether `recovered` must be true, must be false, or may be either. */
  recovered: boolean | null
  /** Events of the replay that history lost before the stream began. Where `recovered` is false they need not come. */
  readonly gone: Set<number>
  /**
   * Its replay may be told of a loss that is none for it: the hub looks at whole channels, and what goes from one of them
   * may be kept in another one, or not be for this client.
   */
  readonly cautious: boolean
}

export interface Place {
  /** What it says that it had last is a place in this app's order; -1 where it is none. */
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

  /** Publishes to those connections that are to get it. */
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

  /** Where an id of an event, or of a greeting, stands: in this app's order if it is one of its own. */
  place (id: string | undefined, heads: ReadonlyMap<string, number>): Place {
    if (id === undefined) return { position: -1, resumes: false }
    const position = this.#all.find(event => event.id === id)?.position ?? heads.get(id) ?? -1
    return { position, resumes: true }
  }

  /** A connection of a client that asks for a stream now. */
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
      cautious: this.#all.some(event => {
        const holders = this.#holders(event).filter(target => targets.has(target))
        return holders.length > 1 || (holders.length === 1 && !isFor(event, asked))
      })
    }
  }

  /**
   * The stream of a connection begins now, after the listeners of `connect`: what they published may have taken the place of
   * what it was to be given of history.
   * @param asked what it asked for, before it joined and left
   * @param end the position of the newest event when it asked
   */
  begun (connection: ModelConnection, asked: Asked, place: Place, end: number, replay: Mode): void {
    const recovered = this.#recovered(asked, place.position, end, replay === 'none')
    if (recovered !== connection.recovered) connection.recovered = null
    const kept = new Set(this.#replayed(asked, place, replay).map(({ n }) => n))
    for (const n of connection.expected.slice(0, connection.replayed)) if (!kept.has(n)) connection.gone.add(n)
  }

  /** What is kept for a client that asks. */
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
    // The hub looks at whole channels: something that was not for this client, or that another channel holds, may be gone.
    const mayBeGone = (event: ModelEvent): boolean => isLeftOut(event) || event.targets.some(target => to.targets.has(target) && !this.#holders(event).includes(target))
    if (missed.some(mayBeGone)) return null
    // Where nothing is kept of anything, nobody knows of which channel something is gone.
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
