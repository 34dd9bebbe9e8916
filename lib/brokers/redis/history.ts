// Reads the history and the states of targets from Redis, and finds out up to which event something is lost. It must not know
// how they are written.
import type { BrokerEvent, BrokerPast, BrokerPastEvent } from '../../../types/broker.js'
import type { RedisConnection } from './connection.js'
import { formatId } from './ids.js'
import { LAST, STATES, type Keys } from './keys.js'
import { unpack } from './packing.js'
import type { Positions } from './positions.js'

/** Rows of a history that are read at a time. */
const PAGE = 200

/** Which epoch this instance reads, and the number of the newest event that it has read. */
interface Standing {
  readonly epoch: string
  readonly n: number
}

type Kept = Pick<BrokerPast, 'events' | 'floor'>

/** An event as Redis keeps it. */
interface Row {
  readonly n: number
  /** When it was stored, by Redis's clock. */
  readonly time: number
  readonly event: BrokerEvent
}

interface HistoryRow extends Row {
  /** The number of the target's event before it; 0 for the first one. */
  readonly before: number
}

export class RedisHistory {
  readonly #connection: RedisConnection
  readonly #keys: Keys
  readonly #standing: Standing
  readonly #positions: Positions
  readonly #size: number

  /** @param standing is read each time: it changes */
  constructor (connection: RedisConnection, keys: Keys, standing: Standing, positions: Positions, size: number) {
    this.#connection = connection
    this.#keys = keys
    this.#standing = standing
    this.#positions = positions
    this.#size = size
  }

  /** A target is left out if nothing is known for sure. */
  async read (targets: readonly string[]): Promise<ReadonlyMap<string, BrokerPast>> {
    const { writer } = this.#connection
    const { epoch, n } = this.#standing
    const { base } = this.#positions
    const key = this.#keys.last(epoch)
    const past = new Map<string, BrokerPast>()
    const [[now, newest], whole, ...last] = await Promise.all([
      writer.hmget(this.#keys.meta, 'e', 'n'),
      writer.zscore(key, LAST),
      ...targets.flatMap(target => [target, target + STATES].map(member => writer.zscore(key, member)))
    ])
    // Redis has another epoch, an older copy of this one, or has lost the newest numbers. What it had is not known.
    if (now !== epoch || Number(newest) < n || whole === null || this.#size === 0) return past
    await Promise.all(targets.map(async (target, i) => {
      const [newest, newestState] = [Number(last[2 * i] ?? 0), Number(last[2 * i + 1] ?? 0)]
      const [history, states] = await Promise.all([this.#history(epoch, base, target, newest), this.#states(epoch, base, target, newestState)])
      const events = [...history.events, ...states.events].sort((a, b) => a.position - b.position)
      past.set(target, { events, floor: Math.max(history.floor, states.floor), known: base + n })
    }))
    // Another epoch began meanwhile, so the pages may be of either.
    return this.#standing.epoch === epoch ? past : new Map()
  }

  /**
   * Each row names the number of the row before it, so that every hole is seen. Example: the rows are 4 after 0,
   * 9 after 4, and 15 after 12. Row 12 is gone, so rows 4 and 9 are left out and the floor is 12.
   * @param last the number of the target's newest event
   */
  async #history (epoch: string, base: number, target: string, last: number): Promise<Kept> {
    const key = this.#keys.histories(epoch) + target
    let events: BrokerPastEvent[] = []
    let floor = 0
    if (last === 0) return { events, floor: base }
    let newest = 0
    let from = '-'
    for (;;) {
      const rows = await this.#connection.writer.xrange(key, from, '+', 'COUNT', PAGE)
      for (const [id, fields] of rows) {
        const row = parseHistoryRow(id, fields)
        // Another program wrote it. If it replaced a row of ours, the next row shows the hole.
        if (row === null) continue
        if (row.before !== newest) {
          events = []
          floor = row.before
        }
        newest = row.n
        events.push(this.#pastEvent(epoch, base, row))
      }
      if (rows.length < PAGE) break
      from = `(${rows.at(-1)![0]}`
    }
    if (newest < last) {
      events = []
      floor = last
    }
    return { events, floor: base + floor }
  }

  /**
   * The newest event of each state. They are in a hash of their own, so that they stay when the history is trimmed.
   * @param last the number of the target's newest event about a state
   */
  async #states (epoch: string, base: number, target: string, last: number): Promise<Kept> {
    if (last === 0) return { events: [], floor: base }
    const { '\0': whole = '', ...states } = await this.#connection.writer.hgetall(this.#keys.states(epoch) + target)
    const [floor, count] = whole.split(' ').map(Number)
    const rows = Object.values(states).map(parseState).filter(row => row !== null)
    const events = rows.map(row => this.#pastEvent(epoch, base, row))
    // With another count another program removed some states. We do not know which, so all up to `last` counts as lost.
    return { events, floor: base + (count === rows.length ? floor! : last) }
  }

  #pastEvent (epoch: string, base: number, { n, time, event }: Row): BrokerPastEvent {
    const localTime = time - this.#connection.clock(performance.now()) + Date.now()
    return { event, position: base + n, id: formatId(epoch, n, time), time: localTime }
  }
}

function parseHistoryRow (id: string, fields: readonly string[]): HistoryRow | null {
  const values = new Map<string, string>()
  for (let i = 0; i + 1 < fields.length; i += 2) values.set(fields[i]!, fields[i + 1]!)
  const [n, before, time] = [id.slice(0, id.indexOf('-')), values.get('p'), values.get('t')].map(Number) as [number, number, number]
  try {
    return Number.isSafeInteger(before) && Number.isSafeInteger(time) ? { n, before, time, event: unpack(JSON.parse(values.get('v')!)) } : null
  } catch {
    return null
  }
}

/** A state is `17 1767225600000 [["prices"],"price","12.5"]`: the event's number, when it was stored, and the event. */
function parseState (state: string): Row | null {
  const [, n, time, packed] = /^(\d+) (\d+) (.*)$/s.exec(state) ?? []
  try {
    return { n: Number(n), time: Number(time), event: unpack(JSON.parse(packed!)) }
  } catch {
    return null
  }
}
