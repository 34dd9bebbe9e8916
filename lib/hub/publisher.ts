// The way of an event from the application to the broker: checked, serialised once, accepted or refused. It must not
// know of clients.
import type { Broker, BrokerEvent, SSEPublished, SSEPublishOptions } from '../../types/index.js'
import { unavailable } from '../broker-failure.js'
import { SSE_ERR_CLOSED, SSE_ERR_EVENT_TOO_LARGE, SSE_ERR_INVALID_OPTION } from '../errors.js'
import { checkEventName } from '../names.js'
import { checkPublishOptions } from '../options.js'
import type { DataFormat } from '../schemas/data.js'
import type { Delivery } from './delivery.js'
import type { Diagnostics } from './diagnostics.js'
import type { HubLog } from './hub-log.js'
import { idOf } from './targets.js'
import type { Work } from './work.js'

/** The public interface types it by the options; in here, one type stands for all. */
export type Published = Promise<SSEPublished<any>>

export class Publisher {
  readonly #broker: Broker
  readonly #data: DataFormat
  readonly #maxEventBytes: number
  readonly #delivery: Delivery
  readonly #work: Work
  readonly #diagnostics: Diagnostics
  readonly #log: HubLog
  #closed = false

  constructor (broker: Broker, data: DataFormat, maxEventBytes: number, delivery: Delivery, work: Work, diagnostics: Diagnostics, log: HubLog) {
    this.#broker = broker
    this.#data = data
    this.#maxEventBytes = maxEventBytes
    this.#delivery = delivery
    this.#work = work
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
        kept: transient ? [] : this.#delivery.keptOf(to)
      }
      return this.#accepted(event, checked.idempotencyKey ?? '')
    } catch (error) {
      return this.#refused(error)
    }
  }

  #accepted (event: BrokerEvent, idempotencyKey: string): Published {
    // A broker of this process delivers within the call. What the application hears of that waits until the call is over.
    this.#work.begin()
    try {
      const receipt = this.#broker.publish(event, idempotencyKey)
      if ('then' in receipt) {
        return handled(Promise.resolve(receipt).then(receipt => {
          this.#diagnostics.published(event, receipt)
          return receipt
        }, error => this.#refused(unavailable(error))))
      }
      this.#diagnostics.published(event, receipt)
      const { id, recipients } = receipt
      const turn = this.#delivery.turn()
      return turn === null ? Promise.resolve({ id, recipients }) : turn.then(() => ({ id, recipients }))
    } catch (error) {
      throw unavailable(error)
    } finally {
      this.#work.end()
    }
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
}

/** A promise that can't crash the process where nobody awaits it. */
function handled<Value> (promise: Promise<Value>): Promise<Value> {
  promise.catch(() => {})
  return promise
}
