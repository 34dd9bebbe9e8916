// The way of an event from the application to the broker: checked, serialised once, accepted or refused. It must not
// know of clients.
import type { FastifyBaseLogger } from 'fastify'
import type { Broker, BrokerEvent, SSEPublished, SSEPublishOptions } from '../../types/index.js'
import type { DataFormat } from '../schemas/data.js'
import type { Diagnostics } from './diagnostics.js'
import { unavailable } from '../broker-failure.js'
import { SSE_ERR_CLOSED, SSE_ERR_EVENT_TOO_LARGE, SSE_ERR_INVALID_OPTION } from '../errors.js'
import { checkEventName } from '../names.js'
import { checkPublishOptions } from '../options.js'
import { idOf } from './targets.js'
import type { Scheduler } from '../client/scheduler.js'

/** Bytes fanned out within a round of visits after which an awaited publish waits for the round. */
const ROUND_BYTES = 32768

/** The public interface types it by the options; in here, one type stands for all. */
export type Published = Promise<SSEPublished<any>>

export class Publisher {
  readonly #broker: Broker
  readonly #data: DataFormat
  readonly #maxEventBytes: number
  readonly #scheduler: Scheduler
  /** Those of an event's targets for which it is kept. */
  readonly #kept: (targets: readonly string[]) => readonly string[]
  readonly #diagnostics: Diagnostics
  readonly #log: FastifyBaseLogger
  #closed = false
  #round = 0
  #roundBytes = 0

  constructor (broker: Broker, data: DataFormat, maxEventBytes: number, scheduler: Scheduler,
    kept: (targets: readonly string[]) => readonly string[], diagnostics: Diagnostics, log: FastifyBaseLogger) {
    this.#broker = broker
    this.#data = data
    this.#maxEventBytes = maxEventBytes
    this.#scheduler = scheduler
    this.#kept = kept
    this.#diagnostics = diagnostics
    this.#log = log
  }

  /** From here on publishing is refused. */
  close (): void {
    this.#closed = true
  }

  /**
   * Publishes one event.
   * @param targets checks and gives where it goes
   */
  publish (targets: () => string[], name: string, data: unknown, options: SSEPublishOptions | undefined): Published {
    try {
      if (this.#closed) throw new SSE_ERR_CLOSED()
      const checked = options === undefined ? {} : checkPublishOptions(options)
      const to = targets()
      const transient = checked.transient === true
      const raw = checked.raw === true
      const remove = checked.remove === true
      // What is to be forgotten need not be said once more.
      const text = remove && data === null ? this.#formatNothing(name) : this.format(name, data, raw)
      const key = checked.key ?? this.#data.eventKey(name, data)
      if (remove && key === '') throw new SSE_ERR_INVALID_OPTION('Option "remove" of a publish is invalid: there must be a key')
      const event: BrokerEvent = {
        targets: to,
        name,
        data: text,
        retry: checked.retry ?? -1,
        except: checked.except ?? '',
        key,
        remove,
        raw,
        transient,
        // What is for one client is not put into one block with what others may have chosen.
        compress: checked.compress ?? idOf(to[0]!) === null,
        kept: transient ? [] : this.#kept(to)
      }
      return this.#accepted(event, checked.idempotencyKey ?? '')
    } catch (error) {
      return this.#refused(error)
    }
  }

  #accepted (event: BrokerEvent, idempotencyKey: string): Published {
    let receipt
    try {
      receipt = this.#broker.publish(event, idempotencyKey)
    } catch (error) {
      throw unavailable(error)
    }
    if ('then' in receipt) {
      return handled(Promise.resolve(receipt).then(receipt => {
        this.#diagnostics.published(event, receipt)
        return receipt
      }, error => this.#refused(unavailable(error))))
    }
    this.#diagnostics.published(event, receipt)
    const { id, recipients } = receipt
    // A loop of awaited publishes would give sockets no turn to drain, and the scheduler none to visit.
    if (this.#roundBytes <= ROUND_BYTES) return Promise.resolve({ id, recipients })
    return this.#scheduler.settled().then(() => ({ id, recipients }))
  }

  #refused (error: unknown): Promise<never> {
    this.#log.error({ err: error }, 'publishing failed')
    return handled(Promise.reject(error))
  }

  #formatNothing (name: string): string {
    checkEventName(name)
    this.#data.checkKnown(name)
    return 'null'
  }

  /** @throws SSE_ERR_INVALID_EVENT_NAME, SSE_ERR_UNKNOWN_EVENT, SSE_ERR_INVALID_DATA, SSE_ERR_EVENT_TOO_LARGE */
  format (name: string, data: unknown, raw: boolean): string {
    checkEventName(name)
    const text = this.#data.format(name, data, raw)
    const maxEventBytes = this.#maxEventBytes
    // UTF-8 takes at most three bytes a UTF-16 unit.
    if (text.length * 3 > maxEventBytes) {
      const size = Buffer.byteLength(text)
      if (size > maxEventBytes) throw new SSE_ERR_EVENT_TOO_LARGE(name, size, maxEventBytes)
    }
    return text
  }

  /** Takes note of an event that was put in line for clients. */
  countFannedOut (size: number): void {
    if (this.#round !== this.#scheduler.round) {
      this.#round = this.#scheduler.round
      this.#roundBytes = 0
    }
    this.#roundBytes += size
  }
}

/** A promise that can't crash the process where nobody awaits it. */
function handled<Value> (promise: Promise<Value>): Promise<Value> {
  promise.catch(() => {})
  return promise
}
