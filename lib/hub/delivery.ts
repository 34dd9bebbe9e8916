// The broker's side of the hub: gives each event to the clients that it is for, and keeps it in history. It must not know of
// requests, nor of how clients come and go.
import type { Broker, BrokerEvent } from '../../types/index.js'
import type { Client } from '../client/client.js'
import type { Scheduler } from '../client/scheduler.js'
import type { History } from '../history/history.js'
import type { HistoryLoader } from '../history/loader.js'
import type { CountLog } from '../observe/count-log.js'
import type { Counters } from '../observe/counters.js'
import { Batches, Frame, targetState, type Place } from '../wire/batch.js'
import { formatEvent, formatGap } from '../wire/format.js'
import type { FanoutTimer } from './fanout-timer.js'
import type { HubLog } from './hub-log.js'
import type { Registry } from './registry.js'
import { BROADCAST, idOf } from './targets.js'
import type { Work } from './work.js'

/** Bytes put in line within a round of visits after which an awaited publish waits for the round. */
const ROUND_BYTES = 32768

export interface DeliveryParts {
  readonly work: Work
  readonly broker: Broker
  readonly registry: Registry
  readonly scheduler: Scheduler
  readonly counters: Counters
  readonly history: History
  readonly loader: HistoryLoader
  /** `null` where nobody asked for metrics. */
  readonly fanoutTimer: FanoutTimer | null
  readonly slowLog: SlowLog
  readonly log: HubLog
}

export type SlowLog = CountLog<'slowClients' | 'stalledClients' | 'droppedEvents'>

export class Delivery {
  readonly batches = new Batches()
  readonly #parts: DeliveryParts
  /** Ends a client that reads too slowly. */
  readonly #endSlow: (client: Client) => void
  #position = 0
  #newestId = ''
  /** What a publish leaves to be done after it: writes, and clients that have to be ended. */
  #overfull: Client[] = []
  #tooSlow: Client[] = []
  /** What was put in line in the scheduler's present round. */
  #round = 0
  #roundBytes = 0
  /** Whether the broker failed to tell its head last time: once is enough for the log. */
  #headFails = false

  constructor (parts: DeliveryParts, endSlow: (client: Client) => void) {
    this.#parts = parts
    this.#endSlow = endSlow
  }

  /** Position of the newest event that was delivered here. */
  get position (): number {
    return this.#position
  }

  /** The broker has started: events come from its head on. */
  start (): void {
    this.#newestId = this.head('')
  }

  /**
   * The hot path of a publish: the event becomes text once, and each client gets one pointer more. Nobody is written to, so
   * that what this turn and the next ones bring goes into the same write.
   * @returns how many clients the event is for
   */
  deliver (event: BrokerEvent, position: number, id: string | null): number {
    const { work, registry, counters, history, scheduler, fanoutTimer } = this.#parts
    work.begin()
    try {
      const { targets, kept, name, except, compress, key, remove, raw } = event
      const text = formatEvent(id, name, event.data, event.retry)
      const size = Buffer.byteLength(text)
      this.#position = position
      counters.published++
      if (id !== null && kept.length > 0) history.add({ position, name, except, compress, key, remove, raw, text, size }, kept)
      let recipients = 0
      const place: Place = { position, id, before: this.#newestId, states: key === '' ? null : targets.map(target => targetState(target, name, key)) }
      if (id !== null) this.#newestId = id
      const frame = new Frame(text, size, compress, place)
      for (const target of targets) {
        for (const client of registry.at(target)) {
          // A client that is in two of the channels has it already: a mark on the client is cheaper than a set of those who do.
          // What it had already when it came here from an instance that is ahead counts as well.
          if (client.position >= position || !gets(client, target, name, except)) continue
          client.position = position
          client.push(frame)
          recipients++
        }
      }
      if (recipients > 0) {
        this.#countRound(size)
        scheduler.published()
        fanoutTimer?.delivered()
      }
      this.settleWrites()
      return recipients
    } finally {
      work.end()
    }
  }

  /** How many clients an event is for now. */
  recipients ({ targets, name, except }: BrokerEvent): number {
    const clients = new Set<Client>()
    for (const target of targets) {
      for (const client of this.#parts.registry.at(target)) if (gets(client, target, name, except)) clients.add(client)
    }
    return clients.size
  }

  /** Events are lost for this instance: nothing before the position is known here, and every client is told. */
  skipTo (position: number): void {
    const { work, registry, history, loader, scheduler } = this.#parts
    work.begin()
    try {
      this.#position = position
      this.#newestId = this.head('')
      history.skipTo(position)
      loader.beginAt(position)
      // In line, so that each client is told after all that it is given of what was before.
      const text = formatGap(null)
      const gap = new Frame(text, text.length)
      for (const client of registry.clients) {
        client.position = Math.min(client.position, position)
        client.endReplayAt(position)
        client.push(gap)
      }
      scheduler.published()
      this.settleWrites()
    } finally {
      work.end()
    }
  }

  /** More waits for a client than one write takes. */
  overfull (client: Client): void {
    this.#overfull.push(client)
  }

  /** More waits for a client than may. */
  tooSlow (client: Client): void {
    this.#tooSlow.push(client)
  }

  /** Ends what pushes to clients have begun: all of them have the event in line now. */
  settleWrites (): void {
    const { work, counters, slowLog } = this.#parts
    this.batches.forgetMemos()
    if (this.#overfull.length === 0 && this.#tooSlow.length === 0) return slowLog.report()
    work.begin()
    try {
      for (const client of this.#overfull.splice(0)) client.flush()
      for (const client of this.#tooSlow.splice(0)) {
        if (client.closed) continue
        counters.slowDisconnects++
        slowLog.count('slowClients')
        this.#endSlow(client)
      }
      slowLog.report()
    } finally {
      work.end()
    }
  }

  /** Those of an event's targets for which it is kept. What is sent to a random id ends with its connection. */
  keptOf (targets: readonly string[]): readonly string[] {
    // Only a client's id is a target of its own.
    const id = idOf(targets[0]!)
    if (id === null) return targets
    const [client] = this.#parts.registry.withId(id)
    return client === undefined || client.stable ? targets : []
  }

  /**
   * A loop of awaited publishes would give sockets no turn to drain, and the scheduler none to visit.
   * @returns `null` where little was put in line; else it resolves when all clients had their turn
   */
  turn (): Promise<void> | null {
    return this.#roundBytes <= ROUND_BYTES ? null : this.#parts.scheduler.settled()
  }

  #countRound (size: number): void {
    const { round } = this.#parts.scheduler
    if (this.#round !== round) {
      this.#round = round
      this.#roundBytes = 0
    }
    this.#roundBytes += size
  }

  /**
   * The broker's newest id. A client is not cut because the broker fails to tell it: all idle ones would be.
   * @param otherwise where it fails
   */
  head (otherwise: string): string {
    try {
      const head = this.#parts.broker.head()
      this.#headFails = false
      return head
    } catch (error) {
      if (!this.#headFails) this.#parts.log.error({ err: error }, 'the broker could not tell its newest event')
      this.#headFails = true
      return otherwise
    }
  }
}

/** Whether a client that is at an event's target gets the event. */
function gets (client: Client, target: string, name: string, except: string): boolean {
  return (target !== BROADCAST || client.broadcast) && (client.names === null || client.names.has(name)) && (except === '' || client.id !== except)
}
