// Takes an event from the application to the broker: checks it, serialises it once, and has it accepted or refused. It must not
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
import { idOf, keptOf } from './targets.js'
import { turnAfter } from './turns.js'
import type { Work } from './work.js'

/** The public interface has a type for each kind of options. This is one type for all of them. */
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

  /** Refuses every publish from now on. */
  close (): void {
    this.#closed = true
  }

  /** @param targets checks the targets and returns them */
  publish (targets: () => string[], name: string, data: unknown, options: SSEPublishOptions | undefined): Published {
    try {
      if (this.#closed) throw new SSE_ERR_CLOSED()
      const checked = options === undefined ? {} : checkPublishOptions(options)
      const to = targets()
      const transient = checked.transient === true
      const raw = checked.raw === true
      const remove = checked.remove === true
      // An event that removes a state needs no data.
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
        // An event for one client is compressed alone. Together with data that others may choose, its length would tell about its
        // content.
        compress: checked.compress ?? idOf(to[0]!) === null,
        kept: transient ? [] : keptOf(to)
      }
      return this.#accepted(event, checked.idempotencyKey ?? '')
    } catch (error) {
      return this.#refused(error)
    }
  }

  #accepted (event: BrokerEvent, idempotencyKey: string): Published {
    // A broker of this process delivers inside the call. What the application is told of that waits until `end`.
    this.#work.begin()
    try {
      const receipt = this.#broker.publish(event, idempotencyKey)
      if ('then' in receipt) {
        return handled(Promise.resolve(receipt).then(receipt => {
          this.#diagnostics.published(event, receipt)
          // The broker may have answered without a turn of the event loop.
          const turn = turnAfter()
          return turn === null ? receipt : turn.then(() => receipt)
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
    const turn = turnAfter()
    return handled(turn === null ? Promise.reject(error) : turn.then(() => { throw error }))
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
    // UTF-8 takes at most three bytes for each UTF-16 unit. So a short text need not be measured: with a limit of 65,536 bytes,
    // one of up to 21,845 units.
    if (text.length * 3 > maxEventBytes) {
      const size = Buffer.byteLength(text)
      if (size > maxEventBytes) throw new SSE_ERR_EVENT_TOO_LARGE(name, size, maxEventBytes)
    }
    return text
  }
}

/** The same promise. Its rejection does not end the process when nobody awaits it. */
function handled<Value> (promise: Promise<Value>): Promise<Value> {
  promise.catch(() => {})
  return promise
}
