// One connection of a random program: both of its ends, the events that it must get, and the check that it got them.
import type { Client } from '../../lib/client/client.js'
import type { SSEClient, SSEDisconnectReason } from '../../lib/index.js'
import type { Open } from './hub-program.js'
import type { ModelConnection } from './model-hub.js'
import type { StreamClient } from './stream-client.js'

/** The number of an event. It does not parse the rest of the data, which may be long. */
export function numberOf (data: string): number {
  return Number.parseInt(data.slice('{"n":'.length))
}

export class ModelledConnection {
  readonly model: ModelConnection
  readonly reader: StreamClient
  /** The number of the request that opened it. */
  readonly opening: number
  readonly asksForSignal: Open['signal']
  /** The hub's end. It is `null` until the application gets it. */
  client: SSEClient | null = null
  paused: boolean
  /** Called when its channels change before its stream begins. */
  retarget = (): void => {}
  /** Whether it may be too slow: it did not read for some time, or much came at once. */
  mayBeSlow: boolean
  /** Whether the client's end cut it. Events that had not come by then need not come. */
  wasCut = false
  /** Whether `connect` was told. */
  told = false
  reason: SSEDisconnectReason | null = null
  /** Whether its replay, and what came right after it, may still fill its socket. */
  #replaying: boolean

  constructor (model: ModelConnection, reader: StreamClient, opening: number, { paused, signal }: Pick<Open, 'paused' | 'signal'>) {
    this.model = model
    this.reader = reader
    this.opening = opening
    this.paused = this.mayBeSlow = paused
    this.asksForSignal = signal
    this.#replaying = model.replayed > 0
  }

  /** Whether the hub publishes to it. */
  get open (): boolean {
    return this.client?.closed === false
  }

  cut (): void {
    this.wasCut = true
    this.reader.destroy()
  }

  join (channel: string): void {
    if (!this.open) return
    const { size } = this.model.targets
    this.model.targets.add(channel)
    if (this.model.targets.size !== size) this.#retargetEarly()
    this.client!.join(channel)
  }

  /** Which tick has the first bytes is not the model's to say. */
  #retargetEarly (): void {
    if (!(this.client as unknown as Client).begun) this.retarget()
  }

  leave (channel: string): void {
    if (!this.open) return
    if (this.model.targets.delete(channel)) this.#retargetEarly()
    this.client!.leave(channel)
  }

  /** Sends an event to it alone. Resolves when the socket has taken its bytes, or never will. */
  async send (name: string, n: number): Promise<boolean> {
    const { open } = this
    if (open) this.model.expected.push(n)
    const sent = await this.client!.send(name, { n })
    if (sent && !open) throw new Error(`event ${n} is said to be sent to a client that was closed`)
    return sent
  }

  /** Called between two commands. */
  atRest (): void {
    if (!this.#behind) this.#replaying = false
  }

  /** Whether it reads, and has not got the newest event that it must get. */
  get waits (): boolean {
    return this.open && !this.mayBeSlow && !this.wasCut && !this.model.loose && this.#behind
  }

  get #behind (): boolean {
    const { model: { expected, gone }, reader } = this
    const newest = expected.findLast(n => !gone.has(n))
    const last = reader.events.at(-1)
    if (newest === undefined || last?.event === 'sse:gap') return false
    return last === undefined || last.event === 'sse:open' || numberOf(last.data) < newest
  }

  #fail (what: string): never {
    const { model: { expected }, reader, wasCut, reason } = this
    const came = reader.events.map(({ id, event, data }) => `${event} ${data.slice(0, 60)}${id === undefined ? '' : ` [${id}]`}`)
    throw new Error(`${what}\nexpected: ${expected.join(' ')}\ncame: ${came.join('\n      ')}\n${wasCut ? 'cut' : `ended: ${String(reason)}`}`)
  }

  /**
   * Compares what came with what the model promises.
   * @param drops whether the hub drops events of clients that are too slow. Otherwise it ends these clients
   */
  check (drops: boolean): void {
    const { reason, wasCut, mayBeSlow, told } = this
    if (!this.model.loose) this.#checkEvents()
    // While a long replay still fills its socket, more events can come than may wait. Then it is ended, however fast it reads,
    // and must come back for them.
    if (reason === 'slow' && ((!mayBeSlow && !this.#replaying) || drops)) this.#fail('a client that reads was taken for slow')
    if (reason !== null && !wasCut && !['slow', 'server', 'shutdown'].includes(reason)) this.#fail('it should not have gone')
    if (told && !this.open && reason === null) this.#fail('nobody was told that it went')
  }

  #checkEvents (): void {
    const { model, reader, reason, wasCut, told } = this
    let at = 0
    /** How many lost events were told since the last event that came. */
    let lost = 0
    /** Whether the replay told that later events are lost. It tells this as soon as it finds it, and does not know how many. */
    let ahead = false
    let missed = 0
    let recovered = true
    const missing = (from: number, to: number): void => {
      const replayed = model.expected.slice(from, Math.min(to, model.replayed))
      if (!ahead && replayed.some(n => recovered || !model.gone.has(n))) this.#fail(`events are missing in a replay, of ${replayed.join(' ')}, and nobody told`)
      missed += replayed.length
      const live = to - from - replayed.length
      if (live !== lost) this.#fail(`${lost} events are told to be lost, and ${live} are missing`)
      lost = 0
    }
    for (const [index, { event, data }] of reader.events.entries()) {
      if (event === 'sse:open') {
        recovered = (JSON.parse(data) as { recovered: boolean }).recovered
        if (index > 0) this.#fail('the greeting is not the first')
        if (model.recovered !== null && recovered !== model.recovered) this.#fail(`recovered is ${recovered}`)
      } else if (event === 'sse:gap') {
        const gap = JSON.parse(data) as { lost: number | null }
        if (gap.lost === null) ahead = true
        else lost += gap.lost
      } else {
        const n = numberOf(data)
        const found = model.expected.indexOf(n, at)
        if (found === -1) this.#fail(model.expected.includes(n) ? `event ${n} came twice, or late` : `event ${n} is not for this client`)
        missing(at, found)
        at = found + 1
      }
    }
    // If `connect` was not told, the reason why the client is gone is not known.
    if (wasCut || reason === 'slow' || !told) return
    missing(at, model.expected.length)
    if (ahead && missed === 0 && !model.cautious) this.#fail('events are told to be lost, and none is')
  }
}
