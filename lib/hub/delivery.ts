// Takes events from the broker, gives each to the clients that it is for, and keeps it in history. It must not know of requests,
// nor of how clients are opened and ended.
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
import { BROADCAST } from './targets.js'
import { turnAfter } from './turns.js'
import type { Work } from './work.js'

/**
 * When more bytes than this were put in line within one round of visits, an awaited publish waits for a round. Example: with events
 * of 1,000 bytes, a loop of awaited publishes waits at the 33rd.
 */
const ROUND_BYTES = 32768

export interface DeliveryParts {
  readonly work: Work
  readonly broker: Broker
  readonly registry: Registry
  readonly scheduler: Scheduler
  readonly counters: Counters
  readonly history: History
  readonly loader: HistoryLoader
  /** `null` without the option `metrics`. */
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
  /**
   * Clients that must be written to, and clients that must be ended. Both wait until all clients have the event in line: the loop
   * over the clients does nothing else.
   */
  #overfull: Client[] = []
  #tooSlow: Client[] = []
  /** The scheduler's round in which something was last put in line, and the bytes of its events. */
  #round = 0
  #roundBytes = 0
  /** Whether the broker failed to tell its head last time. Only the first of several failures is logged. */
  #headFails = false

  constructor (parts: DeliveryParts, endSlow: (client: Client) => void) {
    this.#parts = parts
    this.#endSlow = endSlow
  }

  /**
   * The position of the newest event that was delivered or skipped here. Another instance may have other positions for the same
   * events: a position never leaves its process, only ids do.
   */
  get position (): number {
    return this.#position
  }

  /** Called when the broker has started. Events come after its head. */
  start (): void {
    this.#newestId = this.head('')
  }

  /**
   * The hot path of a publish: the event becomes text once, and each client gets one pointer more. It writes to no client, so
   * that this event and those of the next turns are written together. Example: three events in one turn make one write a client.
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
      const place: Place = { position, id, before: this.#newestId, targets, states: key === '' ? null : targets.map(target => targetState(target, name, key)) }
      if (id !== null) this.#newestId = id
      const frame = new Frame(text, size, compress, place)
      for (const target of targets) {
        for (const client of registry.at(target)) {
          // The client has it already. Example: event 7 is for "a" and "b", and the client is in both. At "a" its position
          // becomes 7, so it does not get the event again at "b". A number in each client costs less than a set of clients for
          // each event. Or the client had event 70 on another instance: its position is 70 from the start, so it gets none of
          // 61 to 70 here.
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

  /**
   * Called when the events up to a position will never be delivered here. Every client is told. Example: after event 7 the broker
   * skips to 20, and a client had event 30 on another instance. Now it gets all after 20 live, and its replay ends at 20.
   */
  skipTo (position: number): void {
    const { work, registry, history, loader, scheduler } = this.#parts
    work.begin()
    try {
      this.#position = position
      this.#newestId = this.head('')
      history.skipTo(position)
      loader.beginAt(position)
      // It waits in line like an event, so that each client gets the older events first.
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

  /** Notes a client for which more waits than one write takes. */
  overfull (client: Client): void {
    this.#overfull.push(client)
  }

  /** Notes a client for which more waits than `maxBufferedBytes`. */
  tooSlow (client: Client): void {
    this.#tooSlow.push(client)
  }

  /** Called after pushes, when all clients have the event in line. Writes to the overfull clients and ends the slow ones. */
  settleWrites (): void {
    const { work, slowLog } = this.#parts
    this.batches.forgetMemos()
    if (this.#overfull.length > 0 || this.#tooSlow.length > 0) {
      work.begin()
      try {
        for (const client of this.#overfull.splice(0)) client.flush()
        this.endSlow()
      } finally {
        work.end()
      }
    }
    slowLog.report()
  }

  /** Ends the slow clients. Called in a piece of work. */
  endSlow (): void {
    if (this.#tooSlow.length === 0) return
    const { counters, slowLog } = this.#parts
    for (const client of this.#tooSlow.splice(0)) {
      if (client.closed) continue
      counters.slowDisconnects++
      slowLog.count('slowClients')
      this.#endSlow(client)
    }
    slowLog.report()
  }

  /**
   * What an awaited publish waits for. Without it, a loop of awaited publishes would give timers and sockets no turn, and the
   * scheduler no turn to visit clients.
   * @returns `null` where little was put in line, in little time; else it resolves after a turn. Where much was put in line, all
   *   clients have had their turn by then
   */
  turn (): Promise<void> | null {
    return this.#roundBytes <= ROUND_BYTES ? turnAfter() : this.#parts.scheduler.settled()
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
   * The broker's newest id. A failure is caught here, because heartbeats ask for it: else it would end every idle client.
   * @param otherwise the result where the broker fails
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

/** Whether a client at an event's target gets the event. */
function gets (client: Client, target: string, name: string, except: string): boolean {
  return (target !== BROADCAST || client.broadcast) && (client.names === null || client.names.has(name)) && (except === '' || client.id !== except)
}
