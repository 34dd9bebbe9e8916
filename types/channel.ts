// What a channel holds: streams and states. It must not know of the hub.
import type { SSEEventData, SSEEventName, SSEMetadata } from './schemas.js'

/** A stream in a channel, on whichever instance. */
export interface SSEPresence {
  /** The client's id, which other streams may share. */
  readonly clientId: string
  /** What its route gave. Over Redis it went through JSON. */
  readonly metadata: SSEMetadata
  /** Which instance it is connected to: a random name, new with every start. */
  readonly instance: string
}

/** A state of a channel. */
export interface SSEState<Name extends SSEEventName = SSEEventName> {
  /** Whose state it is. */
  readonly key: string
  /** The newest that was published for this key, as its schema has it. */
  readonly data: SSEEventData<Name>
  /** The id of the event that said it. The last one's is a place to resume from. */
  readonly id: string
}
