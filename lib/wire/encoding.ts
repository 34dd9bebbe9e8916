// In which form a client's stream goes out. It must not know of clients or sockets.
import { PlainBatch, type Batch, type Frame } from './batch.js'
import { Chunk } from './chunk.js'

/** What one who replays is given of an event. */
export interface EncodableText {
  readonly text: string
  /** Bytes of `text` in UTF-8. */
  readonly size: number
  /** Whether it may be compressed together with others. */
  readonly compress: boolean
}

export interface Encoding {
  /** Tells it apart from others: what is encoded alike is shared. */
  readonly key: string
  /** The list of a client for which nothing waits. */
  readonly empty: Batch
  /** What the hub says by itself: a greeting, a heartbeat. */
  encode (chunk: Chunk): Chunk
  /**
   * Events that wait for one client alone.
   * @param size their sizes' sum
   */
  join (frames: readonly Frame[], size: number): Chunk
  /** Events in bytes that outlive the turn. */
  lasting (events: readonly EncodableText[], size: number): Chunk
}

/** As it is. */
export class Plain implements Encoding {
  readonly key = ''
  readonly empty: Batch = new PlainBatch(null, null)

  encode (chunk: Chunk): Chunk {
    return chunk
  }

  join (frames: readonly Frame[], size: number): Chunk {
    return Chunk.join(frames.map(frame => frame.chunk()), size)
  }

  lasting (events: readonly EncodableText[], size: number): Chunk {
    let text = ''
    for (const event of events) text += event.text
    return Chunk.lasting(text, size)
  }
}
