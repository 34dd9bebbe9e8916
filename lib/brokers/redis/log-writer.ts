// Calls the script that writes to the log. It must not know of deadlines that pass, retries or callers.
import { randomBytes } from 'node:crypto'
import type { BrokerEvent } from '../../../types/broker.js'
import { randomId } from '../../client/client-id.js'
import type { Batch, PendingEvent } from './batch.js'
import type { RedisConnection } from './connection.js'
import type { Keys } from './keys.js'

/** What the script answers. Its file says what each means. */
export type Answer = ['OK', first: string, time: string] | ['EXPIRED'] | ['STORED'] | ['ORDER'] | ['EPOCH', epoch: string]

/** How far this instance has read the log. */
interface Standing {
  readonly epoch: string
  /** The number of the newest event. */
  readonly n: number
  /** The milliseconds in the id of the newest entry. */
  readonly time: number
}

export interface LogWriterSettings {
  readonly keys: Keys
  readonly historySize: number
  readonly historyAge: number
  readonly logAge: number
  standing (): Standing
}

interface Call {
  readonly epoch: string
  /** 0 if it is no publisher's batch: the script then checks neither order nor deadline. */
  readonly number?: number
  /** The batch that must be stored before this one; 0 for none. */
  readonly after?: number
  readonly deadline?: number
  readonly events?: readonly PendingEvent[]
  readonly reset?: boolean
  readonly presence?: string
}

export class LogWriter {
  /** This publisher's name. Redis remembers its newest batch, so that a batch that is sent again is stored once. */
  readonly publisher = randomBytes(9).toString('base64url')
  readonly #connection: RedisConnection
  readonly #settings: LogWriterSettings
  /** The epoch that Redis named last; `''` once the reader has reached it. */
  #named = ''

  constructor (connection: RedisConnection, settings: LogWriterSettings) {
    this.#connection = connection
    this.#settings = settings
  }

  /**
   * The epoch to write to. Redis may name a new epoch before the reader has come to it: the reader is in A, Redis answers
   * `EPOCH B`, and from then on all is written to B.
   */
  get epoch (): string {
    return this.#named === '' ? this.#settings.standing().epoch : this.#named
  }

  /** The reader has come to another epoch. */
  adopted (): void {
    this.#named = ''
  }

  /** @param after the number of the batch that must be stored before; 0 for none */
  append ({ epoch, number, deadline, events }: Batch, after: number): Promise<Answer> {
    return this.#toNamed({ epoch, number, after, deadline, events })
  }

  /** Appends an entry about presence to the epoch in force. */
  async announce (presence: string): Promise<void> {
    let answer: Answer
    do answer = await this.#toNamed({ epoch: this.epoch, presence })
    while (answer[0] === 'EPOCH')
  }

  /** Makes an epoch if there is none. With `reset` it replaces this one, which can't be trusted any more. */
  async renew (epoch: string, reset: boolean): Promise<void> {
    await this.#call({ epoch, reset })
  }

  async #toNamed (call: Call): Promise<Answer> {
    const answer = await this.#call(call)
    if (answer[0] === 'EPOCH') this.#named = answer[1]
    return answer
  }

  async #call ({ epoch, number = 0, after = 0, deadline = Infinity, events = [], reset = false, presence = '' }: Call): Promise<Answer> {
    const { keys, historySize, historyAge, logAge, standing } = this.#settings
    const { epoch: read, n, time } = standing()
    // 48 random bits from a pool: to ask the system for them took 9 µs a batch.
    const proposed = randomId().slice(0, 8)
    const [histories, states, orders] = [keys.histories(epoch), keys.states(epoch), keys.orders(epoch)]
    const names = [keys.meta, keys.log, keys.last(epoch), keys.last(proposed), keys.publisher(this.publisher)]
    const args: Array<string | number> = [
      epoch, proposed, epoch === read ? n : 0, time, this.publisher, number, after,
      deadline === Infinity ? 9e15 : Math.floor(this.#connection.clock(deadline)), historySize, historyAge, logAge,
      reset ? '1' : '0', presence, events.length
    ]
    for (const { event, packed, key } of events) {
      const kept = historySize === 0 || event.transient ? [] : event.kept
      if (key !== '') names.push(keys.idempotency(key))
      const state = event.key === '' ? '' : stateField(event)
      for (const target of kept) {
        if (state === '' || event.remove) names.push(histories + target)
        if (state !== '') names.push(states + target, orders + target)
      }
      args.push(packed, key === '' ? '0' : '1', kept.length, state, event.remove ? '1' : '0')
    }
    return await this.#connection.publish(names, args) as Answer
  }
}

/** The field of a state in its hash. A line break parts name and key: no event's name has one. */
function stateField ({ name, key }: BrokerEvent): string {
  return `${name}\n${key}`
}
