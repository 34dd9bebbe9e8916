// Reads the present states of a channel for the application. This file must not know of clients.
import type { SSEState } from '../../types/index.js'
import { answerWithin, unavailable } from '../broker-failure.js'
import { Cache } from './cache.js'
import type { History } from './history.js'
import type { HistoryLoader } from './loader.js'
import { readEvent } from '../wire/format.js'

/** What all answers may take in the cache, in bytes. With a small history it is a quarter of that, as for the blocks of replays. */
const MAX_CACHE_BYTES = 16 * 1024 * 1024

/** The states of one event name, as the application gets them. */
interface Answer {
  readonly states: readonly SSEState[]
  /** `History.statesMark` when it was made. */
  readonly mark: string
  /** Bytes of the events' text. The states themselves may take two or three times as much, if their data has many small parts. */
  readonly cost: number
}

export class States {
  readonly #history: History
  readonly #loader: HistoryLoader
  readonly #answers: Cache<Answer>

  constructor (history: History, loader: HistoryLoader, historyMaxBytes: number) {
    this.#history = history
    this.#loader = loader
    this.#answers = new Cache(Math.min(MAX_CACHE_BYTES, historyMaxBytes / 4))
  }

  /**
   * The states that a target's events of one name set; the one that changed last is at the end. The array is the caller's. The
   * states in it are frozen, because other calls get the same ones until a state of the target changes.
   * @throws SSE_ERR_BROKER_UNAVAILABLE
   */
  async of (target: string, event: string): Promise<SSEState[]> {
    await this.#complete(target)
    this.#history.expireOf([target])
    const key = `${target}\n${event}`
    const mark = this.#history.statesMark(target)
    let answer = this.#answers.take(key)
    if (answer?.mark !== mark) answer = this.#read(target, event, mark)
    if (answer.states.length > 0) this.#answers.put(key, answer)
    return [...answer.states]
  }

  #read (target: string, event: string, mark: string): Answer {
    const states: SSEState[] = []
    let cost = 0
    for (const { key, raw, text, size } of this.#history.states(target, event)) {
      const { data, id } = readEvent(text)
      states.push(frozen({ key, data: raw ? data : parsed(data), id } as SSEState))
      cost += size
    }
    return { states, mark, cost }
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

/** Freezes a value with all that is in it. Not by recursion: the data may be deeper than the stack. */
function frozen<Value> (value: Value): Value {
  const left: unknown[] = [value]
  for (let part = left.pop(); part !== undefined; part = left.pop()) {
    if (typeof part !== 'object' || part === null) continue
    Object.freeze(part)
    for (const inner of Object.values(part)) if (typeof inner === 'object') left.push(inner)
  }
  return value
}
