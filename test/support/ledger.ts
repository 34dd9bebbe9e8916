// What publishers were told and what readers saw. It finds the faults between them.

/** How a publish ended, as an instance reports it. */
export interface Ending {
  /** The name of its publisher. */
  readonly p: string
  /** The number of the publisher's event. */
  readonly k: number
  /** The number of the publisher's attempt. It grows with every attempt, for all its events. */
  readonly o: number
  /** Its channels. An empty list is a broadcast. */
  readonly c: readonly string[]
  /** The event's id, if it was acknowledged. */
  readonly id?: string
  /** The error's code, if it was rejected. */
  readonly code?: string
  readonly inDoubt?: boolean
}

/** An event as readers see it. All readers share one object. */
export interface Seen {
  readonly id: string
  readonly epoch: string
  readonly n: number
  readonly time: number
  readonly p: string
  readonly k: number
  readonly o: number
  readonly c: readonly string[]
}

/** What a reader is told between events: that it lost some, or that it is connected again. */
export type Mark = 'gap' | 'lost' | 'recovered' | 'first'

/** One reader's stream, over all of its connections. */
export interface Trace {
  readonly name: string
  readonly channels: readonly string[]
  readonly items: ReadonlyArray<Seen | Mark>
}

export type Faults = Record<'missing' | 'invented' | 'twice' | 'disordered' | 'misnamed', string[]>

/** What a test expects: no faults. */
export const none: Faults = { missing: [], invented: [], twice: [], disordered: [], misnamed: [] }

export class Ledger {
  readonly acknowledged = new Map<string, Ending & { readonly id: string }>()
  readonly rejections: Ending[] = []
  readonly traces: Trace[] = []
  readonly #seen = new Map<string, Seen & { readonly data: string }>()
  readonly #misnamed: string[] = []
  #waiting: Array<() => void> = []

  ended (ending: Ending): void {
    if (ending.id === undefined) this.rejections.push(ending)
    else this.acknowledged.set(nameOf(ending), ending as Ending & { id: string })
    const waiting = this.#waiting
    this.#waiting = []
    for (const go of waiting) go()
  }

  /** Whether events were acknowledged or seen. */
  get begun (): boolean {
    return this.acknowledged.size > 0 || this.#seen.size > 0
  }

  /** Resolves when this number of events is acknowledged. */
  async untilAcknowledged (count: number): Promise<void> {
    while (this.acknowledged.size < count) await new Promise<void>(resolve => { this.#waiting.push(resolve) })
  }

  /** Resolves when this number of publishes was rejected. */
  async untilRejected (count: number): Promise<void> {
    while (this.rejections.length < count) await new Promise<void>(resolve => { this.#waiting.push(resolve) })
  }

  /** The epochs of all events that readers saw. */
  get epochs (): Set<string> {
    return new Set([...this.#seen.values()].map(({ epoch }) => epoch))
  }

  seen (id: string, data: string): Seen {
    const known = this.#seen.get(id)
    if (known !== undefined) {
      if (known.data !== data) this.#misnamed.push(`${id} is ${known.data} for one, ${data} for another`)
      return known
    }
    const [epoch, n, time] = id.split('.') as [string, string, string]
    const seen = { id, data, epoch, n: Number(n), time: parseInt(time, 36), ...JSON.parse(data) as Omit<Ending, 'id'> }
    this.#seen.set(id, seen)
    return seen
  }

  /** All losses that readers were told of. First greetings do not count. A test in which nothing is lost expects none. */
  get losses (): string[] {
    return this.traces.flatMap(({ name, items }) => items.filter(item => item === 'gap' || item === 'lost').map(mark => `${name}: ${mark as Mark}`))
  }

  faults (): Faults {
    const faults: Faults = { missing: [], invented: [], twice: [], disordered: [], misnamed: [...this.#misnamed] }
    const refused = new Set(this.rejections.filter(({ inDoubt }) => inDoubt === false).map(({ p, o }) => `${p}!${o}`))
    for (const { id, p, k, o } of this.#seen.values()) {
      if (refused.has(`${p}!${o}`)) faults.invented.push(`${id}: ${p}:${k}, attempt ${o}`)
      const acknowledged = this.acknowledged.get(nameOf({ p, k }))
      if (acknowledged !== undefined && acknowledged.id !== id) faults.misnamed.push(`${p}:${k} is ${acknowledged.id} for its publisher, ${id} for its readers`)
    }
    const place = this.#places()
    const acknowledged = [...this.acknowledged.values()].map(ending => ({ ...ending, at: place(ending.id) }))
    for (const trace of this.traces) this.#check(trace, place, acknowledged, faults)
    return faults
  }

  /** Gives the place of an id in the order of all events. A later epoch is after an earlier one. */
  #places (): (id: string) => number {
    const begins = new Map<string, number>()
    const ids = [...this.#seen.keys(), ...[...this.acknowledged.values()].map(({ id }) => id)]
    for (const id of ids) {
      const [epoch, , time] = id.split('.') as [string, string, string]
      begins.set(epoch, Math.min(begins.get(epoch) ?? Infinity, parseInt(time, 36)))
    }
    const epochs = new Map([...begins.keys()].sort((a, b) => begins.get(a)! - begins.get(b)!).map((epoch, i) => [epoch, i]))
    const places = new Map(ids.map(id => [id, epochs.get(id.slice(0, id.indexOf('.')))! * 1e12 + Number(id.split('.')[1])]))
    return id => places.get(id)!
  }

  #check ({ name, channels, items }: Trace, place: (id: string) => number, acknowledged: ReadonlyArray<Ending & { readonly at: number }>, faults: Faults): void {
    let events = new Set<string>()
    let attempts = new Map<string, number>()
    const places = new Set<number>()
    let last = -1
    /** Pairs of places. Between the two, a reader was told that events are lost. */
    const losses: Array<[after: number, before: number]> = []
    let told = false
    let after = -1
    for (const item of items) {
      if (typeof item === 'string') {
        if (item === 'recovered') continue
        if (!told) after = last
        told = true
        if (item === 'gap') continue
        // After this it may get events again that it has had.
        events = new Set()
        attempts = new Map()
        last = -1
        continue
      }
      const at = place(item.id)
      if (told) losses.push([after, at])
      told = false
      const event = nameOf(item)
      if (events.has(event)) faults.twice.push(`${name}: ${event}`)
      events.add(event)
      if (at <= last) faults.disordered.push(`${name}: ${item.id} behind place ${last}`)
      if (item.o <= (attempts.get(item.p) ?? 0)) faults.disordered.push(`${name}: attempt ${item.o} of ${item.p} behind ${attempts.get(item.p)}`)
      attempts.set(item.p, item.o)
      last = at
      places.add(at)
    }
    if (told) losses.push([after, Infinity])
    for (const { id, p, k, c, at } of acknowledged) {
      if (places.has(at) || (c.length > 0 && !c.some(channel => channels.includes(channel)))) continue
      if (losses.some(([after, before]) => after < at && at < before)) continue
      faults.missing.push(`${name}: ${p}:${k}, ${id}`)
    }
  }
}

function nameOf ({ p, k }: { readonly p: string, readonly k: number }): string {
  return `${p}:${k}`
}
