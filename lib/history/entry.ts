// One event in history, and the memory that it takes. This file must not know how events are ordered or found.

/** The record, and what V8 adds to its strings. */
const EVENT_OVERHEAD = 240
/** For each target: one place in the target's line, and one in the event's list of targets. */
const PLACE_OVERHEAD = 32
/** For each target of an event with a key: one place in the target's map of keys. */
const KEY_OVERHEAD = 100

export interface KeptEvent {
  readonly position: number
  readonly name: string
  /** The client id that does not get the event; `''` for none. */
  readonly except: string
  /** Whether it may be compressed together with other events. */
  readonly compress: boolean
  /** The key of the state that it sets; `''` for none. */
  readonly key: string
  /** Whether it removes that state. */
  readonly remove: boolean
  /** Whether its data is text that the application gave, not serialised. */
  readonly raw: boolean
  /** Its text on the wire. */
  readonly text: string
  /** Bytes of `text` in UTF-8. */
  readonly size: number
}

/** `Target` is what history keeps of one target. A type parameter, because that type needs this one. */
export interface Entry<Target> extends KeptEvent {
  /** Not the targets' names: each event would keep the caller's strings alive. */
  readonly targets: readonly Target[]
  /** In milliseconds of `performance.now()`. */
  readonly time: number
  /** Bytes. */
  readonly cost: number
  /** How many targets still keep it. */
  holders: number
  /** Its neighbours among the entries of all targets. */
  older: Entry<Target> | null
  newer: Entry<Target> | null
}

export function entryOf<Target> (event: KeptEvent, targets: readonly Target[], time: number): Entry<Target> {
  return {
    position: event.position,
    name: event.name,
    except: event.except,
    compress: event.compress,
    key: event.key,
    remove: event.remove,
    raw: event.raw,
    text: event.text,
    size: event.size,
    targets,
    time,
    cost: costOf(event, targets.length),
    holders: targets.length,
    older: null,
    newer: null
  }
}

function costOf (event: KeptEvent, targets: number): number {
  const text = event.text.length === event.size ? event.size : 2 * event.text.length
  const state = event.key === '' ? 0 : KEY_OVERHEAD + stringBytes(event.key) + stringBytes(event.name)
  return text + stringBytes(event.name) + stringBytes(event.except) + stringBytes(event.key) + EVENT_OVERHEAD + (PLACE_OVERHEAD + state) * targets
}

/**
 * The most that V8 takes for a string: one byte a character if all are Latin-1, else two. Only ASCII is told apart, because
 * that is fast: `cafe` is 4 bytes, and `café` counts as 8, though V8 takes 4.
 */
export function stringBytes (text: string): number {
  return Buffer.byteLength(text) === text.length ? text.length : 2 * text.length
}
