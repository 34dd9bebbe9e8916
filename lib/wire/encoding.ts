// The form in which a client's stream is sent: plain here, gzip in compression.ts. It must not know of clients or sockets.
import { PlainBatch, type Batch, type Frame } from './batch.js'
import { Chunk } from './chunk.js'

/** A kept event, as a replay reads it. */
export interface EncodableText {
  readonly text: string
  /** Bytes of `text` in UTF-8. */
  readonly size: number
  /** Whether it may be compressed together with other events. */
  readonly compress: boolean
}

export interface Encoding {
  /** Equal for encodings that make the same bytes, so that these can be shared. `''` for plain. */
  readonly key: string
  /** The list of a client for which no event waits. */
  readonly empty: Batch
  /** Encodes what the hub itself sends: a greeting, a heartbeat. */
  encode (chunk: Chunk): Chunk
  /**
   * Encodes events that wait for one client alone.
   * @param size the sum of their sizes
   */
  join (frames: readonly Frame[], size: number): Chunk
  /**
   * Encodes events of a replay, into memory that may be kept for long.
   * @param size the sum of their sizes
   */
  lasting (events: readonly EncodableText[], size: number): Chunk
}

/** Sends the stream as it is. */
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
