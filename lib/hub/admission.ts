// Decides whether one more stream may be opened, and logs the refused ones. It must not know of requests and replies.
import { CountLog } from '../observe/count-log.js'
import type { Counters } from '../observe/counters.js'
import { SSE_ERR_CLOSED, SSE_ERR_TOO_MANY_CLIENTS, SSE_ERR_TOO_MANY_CLIENTS_PER_KEY } from '../errors.js'
import { USUAL_RETRY, type HubOptions } from '../options.js'
import type { HubLog } from './hub-log.js'
import type { Registry } from './registry.js'

type Refusal = 'aboveMaxClients' | 'aboveMaxClientsPerKey' | 'whileClosing'

export class Admission {
  /** How long a refused client should wait before it tries again, in seconds. */
  readonly retryAfter: number
  /** Counts the refusals. Each refusal reports it, and so does the heartbeat. */
  readonly log: CountLog<Refusal>
  readonly #options: HubOptions
  readonly #registry: Registry
  readonly #counters: Counters
  #closed = false

  constructor (options: HubOptions, registry: Registry, counters: Counters, log: HubLog) {
    this.#options = options
    this.#registry = registry
    this.#counters = counters
    this.retryAfter = Math.ceil((options.retry ?? USUAL_RETRY) / 1000)
    this.log = new CountLog(log, 'streams were refused', ['aboveMaxClients', 'aboveMaxClientsPerKey', 'whileClosing'])
  }

  /** Refuses all streams from now on. */
  close (): void {
    this.#closed = true
  }

  /**
   * @param key the admission key, which `maxClientsPerKey` limits; `undefined` where the client has none
   * @throws SSE_ERR_CLOSED, SSE_ERR_TOO_MANY_CLIENTS, SSE_ERR_TOO_MANY_CLIENTS_PER_KEY
   */
  check (key: string | undefined): void {
    const { maxClients, maxClientsPerKey } = this.#options
    if (this.#closed) throw this.#refused('whileClosing', new SSE_ERR_CLOSED())
    if (key !== undefined && this.#registry.countOf(key) >= maxClientsPerKey) {
      throw this.#refused('aboveMaxClientsPerKey', new SSE_ERR_TOO_MANY_CLIENTS_PER_KEY(maxClientsPerKey))
    }
    if (this.#registry.places >= maxClients) throw this.#refused('aboveMaxClients', new SSE_ERR_TOO_MANY_CLIENTS(maxClients))
  }

  #refused (why: Refusal, error: Error): Error {
    this.#counters.refused++
    this.log.count(why)
    this.log.report()
    return error
  }
}
