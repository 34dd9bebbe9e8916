// Collects the figures that `stats()` and the metrics tell. It must not know who reads them.
import type { Broker, SSEStats } from '../../types/index.js'
import type { History } from '../history/history.js'
import type { Counters } from '../observe/counters.js'
import type { HubLog } from './hub-log.js'
import type { Registry } from './registry.js'

export class Stats {
  readonly #broker: Broker
  readonly #registry: Registry
  readonly #bufferedBytes: () => number
  readonly #counters: Counters
  readonly #history: History
  readonly #log: HubLog
  readonly #startedAt = performance.now()

  constructor (broker: Broker, registry: Registry, bufferedBytes: () => number, counters: Counters, history: History, log: HubLog) {
    this.#broker = broker
    this.#registry = registry
    this.#bufferedBytes = bufferedBytes
    this.#counters = counters
    this.#history = history
    this.#log = log
  }

  read (): SSEStats {
    return { ...this.#own(), broker: this.#broker.stats?.() ?? null }
  }

  /** For metrics: when the broker fails to give its figures, the other figures are still told. */
  readAnyhow (): SSEStats {
    try {
      return this.read()
    } catch (error) {
      this.#log.error({ err: error }, 'the broker could not tell how it is')
      return { ...this.#own(), broker: null }
    }
  }

  #own (): Omit<SSEStats, 'broker'> {
    return {
      clients: this.#registry.clients.size,
      channels: this.#registry.channelCount,
      ...this.#counters,
      bufferedBytes: this.#bufferedBytes(),
      historyEvents: this.#history.count,
      historyBytes: this.#history.bytes,
      uptime: performance.now() - this.#startedAt
    }
  }
}
