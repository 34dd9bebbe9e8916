// The present states of a channel, for those who ask. It must not know of clients.
import type { SSEState } from '../../types/index.js'
import { unavailable } from '../broker-failure.js'
import { SSE_ERR_BROKER_UNAVAILABLE } from '../errors.js'
import type { History } from './history.js'
import type { HistoryLoader } from './loader.js'
import { readEvent } from '../wire/format.js'

/** How long a broker has to tell what was before, in milliseconds. */
const PATIENCE = 5000

export class States {
  readonly #history: History
  readonly #loader: HistoryLoader

  constructor (history: History, loader: HistoryLoader) {
    this.#history = history
    this.#loader = loader
  }

  /**
   * What a target's events of a name say, the one that changed last at the end.
   * @throws SSE_ERR_BROKER_UNAVAILABLE
   */
  async of (target: string, event: string): Promise<SSEState[]> {
    await this.#complete(target)
    this.#history.expire()
    this.#history.expireOf([target])
    return Array.from(this.#history.states(target, event), ({ key, raw, text }) => {
      const { data, id } = readEvent(text)
      return { key, data: raw ? data : parsed(data), id } as SSEState
    })
  }

  async #complete (target: string): Promise<void> {
    const complete = this.#loader.complete([target], 0)
    if (complete === null) return
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new SSE_ERR_BROKER_UNAVAILABLE('it did not answer', false)), PATIENCE)
    })
    try {
      await Promise.race([complete, late])
    } catch (error) {
      throw unavailable(error)
    } finally {
      clearTimeout(timer)
    }
  }
}

/** What a serializer of the application's wrote may be something else than JSON. */
function parsed (data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    return data
  }
}
