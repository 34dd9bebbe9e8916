// Makes heartbeats: a comment, or an event with a name that the application gives. A client that was not told the newest event's
// id gets it with the heartbeat. Example: the newest event has the id 9 and was not for the client. The heartbeat has the id 9,
// so the client does not ask for older events when it reconnects. This file must not know when heartbeats are due.
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
  /** The heartbeat without an id. It is made once for all clients. */
  readonly #plain: Chunk
  /** The heartbeat with the newest event's id. It is made once for each id. */
  #withHead: Beat | null = null

  /**
   * @param event the name of the heartbeats' event; `null` for a comment
   * @param head returns the newest event's id, or its argument where that id is not known
   */
  constructor (event: string | null, head: (otherwise: string) => string) {
    this.#event = event
    this.#head = head
    this.#plain = this.#format(null)
  }

  /** @param told the newest id that the client was told; `null` where it must be told none */
  for (told: string | null): Beat {
    if (told === null) return { chunk: this.#plain, head: '' }
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
