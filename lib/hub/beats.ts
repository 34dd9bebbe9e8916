// What a heartbeat says: a comment or an event of the application's choice, with the newest event's id for clients that were not
// told that one yet. It must not know when heartbeats are due.
import { Chunk } from '../wire/chunk.js'
import { formatComment, formatEvent } from '../wire/format.js'

interface Beat {
  readonly chunk: Chunk
  /** The newest event's id. */
  readonly head: string
}

export class Beats {
  readonly #event: string | null
  readonly #head: (otherwise: string) => string
  /** Made once for all clients: without an id, and with the newest event's. */
  readonly #plain: Chunk
  #withHead: Beat | null = null

  /**
   * @param event the name of the heartbeats' event; `null` for a comment
   * @param head tells the newest event's id, or what it is given where that is not known
   */
  constructor (event: string | null, head: (otherwise: string) => string) {
    this.#event = event
    this.#head = head
    this.#plain = this.#format(null)
  }

  /** @param told the newest event's id that the client was told */
  for (told: string): Beat {
    const head = this.#head(told)
    if (told === head) return { chunk: this.#plain, head }
    if (this.#withHead?.head !== head) this.#withHead = { chunk: this.#format(head), head }
    return this.#withHead
  }

  #format (id: string | null): Chunk {
    const text = this.#event === null ? formatComment(id) : formatEvent(id, this.#event, '{}', -1)
    return Chunk.fromText(text, Buffer.byteLength(text))
  }
}
