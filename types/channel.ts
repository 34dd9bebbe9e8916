// What the application can ask about a channel: its streams and its states. It must not know of the hub.
import type { SSEEventData, SSEEventName, SSEMetadata } from './schemas.js'

/** A stream in a channel, on this instance or another one. */
export interface SSEPresence {
  /** The client's id. Other streams may share it. */
  readonly clientId: string
  /** What the route gave. Over Redis it is a copy that was sent as JSON. */
  readonly metadata: SSEMetadata
  /** The name of the instance that the stream is connected to. It is random and new with each start. */
  readonly instance: string
}

/** A state of a channel: the newest event of one name and key. */
export interface SSEState<Name extends SSEEventName = SSEEventName> {
  /** The key of the state. */
  readonly key: string
  /** The data that was published last for this key, as its schema describes it. */
  readonly data: SSEEventData<Name>
  /** The id of that event. The id of the last state in a list is a place to resume from. */
  readonly id: string
}
