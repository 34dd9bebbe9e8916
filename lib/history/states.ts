// Reads the present states of a channel for the application. This file must not know of clients.
import type { SSEState } from '../../types/index.js'
import { answerWithin, unavailable } from '../broker-failure.js'
import type { History } from './history.js'
import type { HistoryLoader } from './loader.js'
import { readEvent } from '../wire/format.js'

export class States {
  readonly #history: History
  readonly #loader: HistoryLoader

  constructor (history: History, loader: HistoryLoader) {
    this.#history = history
    this.#loader = loader
  }

  /**
   * The states that a target's events of one name set; the one that changed last is at the end.
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
    try {
      await answerWithin(this.#loader.answerTimeout, complete)
    } catch (error) {
      throw unavailable(error)
    }
  }
}

/** The application's own serializer may write something that is not JSON. Its text is returned as it is. */
function parsed (data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    return data
  }
}
