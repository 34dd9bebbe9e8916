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
  id: string | null
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
  readonly recovered: boolean | null
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

  /** Publishes, and returns the connections that are to get it. */
  publish (event: Omit<ModelEvent, 'position' | 'id'>, key: string | undefined, connections: Iterable<ModelConnection>): { event: ModelEvent, to: ModelConnection[] } {
    const published = { ...event, position: ++this.position, id: null }
    this.#all.push(published)
    if (key !== undefined) this.#byKey.set(key, published)
    const to = [...connections].filter(connection => isFor(published, connection))
    for (const { expected } of to) expected.push(published.n)
    return { event: published, to }
  }

  /** Where an id of an event, or of a greeting, stands: in this app's order if it is one of its own. */
  place (id: string | undefined, heads: ReadonlyMap<string, number>): Place {
    if (id === undefined) return { position: -1, resumes: false }
    const position = this.#all.find(event => event.id === id)?.position ?? heads.get(id) ?? -1
    return { position, resumes: true }
  }

  connect (
    { targets, id, names }: Pick<ModelConnection, 'targets' | 'id' | 'names'>, { position, resumes }: Place, replay: 'all' | 'missed' | 'none'
  ): ModelConnection {
    const expected: number[] = []
    const connection = {
      targets,
      id,
      names,
      expected,
      replayed: 0,
      recovered: this.#recovered({ targets, id, names }, position, replay === 'none'),
      cautious: this.#all.some(event => {
        const holders = this.#holders(event).filter(target => targets.has(target))
        return holders.length > 1 || (holders.length === 1 && !isFor(event, { targets, id, names }))
      })
    }
    if (replay === 'all' || (replay === 'missed' && resumes)) {
      for (const event of this.#all) if (event.position > position && this.#holders(event).some(target => targets.has(target)) && isFor(event, connection)) expected.push(event.n)
    }
    connection.replayed = expected.length
    return connection
  }

  #recovered (to: Pick<ModelConnection, 'targets' | 'id' | 'names'>, position: number, nothingFollows: boolean): boolean | null {
    if (position === -1) return false
    const missed = this.#all.filter(event => event.position > position && !event.transient && event.targets.some(target => to.targets.has(target)))
    const isGone = (event: ModelEvent): boolean => nothingFollows || !this.#holders(event).some(target => to.targets.has(target))
    if (missed.some(event => isGone(event) && isFor(event, to))) return false
    // The hub looks at whole channels: something that was not for this client, or that another channel holds, may be gone.
    const mayBeGone = (event: ModelEvent): boolean => nothingFollows || event.targets.some(target => to.targets.has(target) && !this.#holders(event).includes(target))
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

function isFor (event: ModelEvent, { targets, id, names }: Pick<ModelConnection, 'targets' | 'id' | 'names'>): boolean {
  return event.targets.some(target => targets.has(target)) && event.except !== id && (names === undefined || names.includes(event.name))
}
