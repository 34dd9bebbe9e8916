/**
 * An `EventSource` that is typed by the server's schemas and does not give up, for browsers and Node: `connect()`.
 * @module fastify-sse-hub/client
 */
// It must not know the hub's code, nor lean on the types of one platform: it is compiled where there is no DOM, and where
// there is no Node.
import type { Static, TSchema } from '@sinclair/typebox'

/** What a listener is given: what the event's schema describes, or the type itself where it is no TypeBox schema. */
export type StreamData<Type> = [Type] extends [TSchema] ? Static<Type> : Type

/**
 * Where a stream is:
 * - `'connecting'`: it was asked for, and there is no answer yet
 * - `'open'`: events can come
 * - `'reconnecting'`: it was open, and was lost or silent; `EventSource` comes back by itself
 * - `'refused'`: the answer was no stream, e.g. a 401 or a 503, so that `EventSource` gave up; it is asked for again later
 * - `'closed'`: by `close()` or the signal
 */
export type StreamState = 'connecting' | 'open' | 'reconnecting' | 'refused' | 'closed'

/** An event as it came (WHATWG HTML 9.2.6). */
export interface StreamEvent {
  /** Its name; `'message'` where the server gave none. */
  readonly type: string
  /** As the server wrote it, not parsed. */
  readonly data: string
  /** The id of the last event that had one, itself included; `''` where none had. */
  readonly lastEventId: string
}

/** What an `EventSource` tells of a failure: npm `eventsource` the status as `code`, a browser nothing. */
export interface StreamFailure {
  /** The answer's status, e.g. 401. */
  readonly code?: number | undefined
  /** What went wrong, in the implementation's words. */
  readonly message?: string | undefined
}

/** What is used of an `EventSource` (WHATWG HTML 9.2.2). */
export interface EventSourceLike {
  /** 0 connecting or reconnecting, 1 open, 2 closed, for good. */
  readonly readyState: number
  // Each implementation has event types of its own, which only `any` is assignable to.
  /** For `open` and `error`, and each event name that is listened to. */
  addEventListener (type: string, listener: (event: any) => void): void
  /** Ends it for good. */
  close (): void
}

/** What is used of an `AbortSignal` (WHATWG DOM 3.2). */
export interface AbortSignalLike {
  /** Whether it has been. A stream is not opened then. */
  readonly aborted: boolean
  /** At each opening. */
  addEventListener (type: 'abort', listener: () => void): void
  /** When the stream is closed, so that a signal that outlives it does not hold it. */
  removeEventListener (type: 'abort', listener: () => void): void
}

/** Options of `connect()`. All times are milliseconds. */
export interface StreamOptions<Events extends object = Record<string, unknown>> {
  /**
   * A listener per event name, `message` for events without one. Data is parsed as JSON; what is no JSON is given as its
   * text. What a listener throws or rejects with goes to `onError` and breaks nothing: the event counts as received.
   */
  readonly on?: { readonly [Name in keyof Events]?: (data: StreamData<Events[Name]>, event: StreamEvent) => void }
  /** Events whose data is given as its text, even if it looks like JSON: those that are published with `raw`. */
  readonly raw?: ReadonlyArray<Extract<keyof Events, string>>
  /** Makes data of text, as the counterpart of the hub's `serializer`. Default: JSON, else the text. */
  readonly parse?: (text: string, event: string) => unknown
  /**
   * The hub's `sse:open`, once per connection. `recovered` is true when nothing is missing since the last event that
   * came; false on a first visit, and where something may be lost: load the state anew. Not called where `greeting` is off.
   */
  readonly onOpen?: (opened: { readonly clientId: string, readonly recovered: boolean }) => void
  /** The hub's `sse:gap`: events were lost while the stream was open. `lost` is how many; `null` where nobody knows. */
  readonly onGap?: (gap: { readonly lost: number | null }) => void
  /** At each change; with `'reconnecting'` and `'refused'`, what the `EventSource` tells of the reason. */
  readonly onState?: (state: StreamState, failure?: StreamFailure) => void
  /** What a listener, or `parse`, threw. Default: the platform's `reportError()`, else `console.error()`. */
  readonly onError?: (error: unknown) => void
  /**
   * Where the hub has the same `heartbeatEvent`: the stream is opened anew after `timeout` without an event. Take a timeout
   * longer than the hub's `heartbeatInterval`, and than its `retry` and `reconnectSpread` together. Only events that are
   * listened to are heard: give an empty listener to those that you don't want.
   */
  readonly heartbeat?: {
    /** The hub's `heartbeatEvent`. */
    readonly event: string
    /** How long silence may last, in milliseconds. */
    readonly timeout: number
  }
  /** Closes the stream for good when it is aborted. */
  readonly signal?: AbortSignalLike
  /**
   * An implementation of `EventSource`, where the platform has none (Node), or for headers of your own. Default: the
   * platform's.
   */
  readonly EventSource?: new (url: string, init?: { withCredentials?: boolean }) => EventSourceLike
  /** Whether cookies are sent to another origin. Default false. */
  readonly withCredentials?: boolean
  /** The first wait after a refusal, doubled each time; of each, a random part from its half on is waited. Default 5000. */
  readonly wait?: number
  /** What waits grow to. Default 60000. */
  readonly maxWait?: number
  /** The event to begin behind, e.g. the last id of the hub's `state()`. Default: none. */
  readonly lastEventId?: string
  /** The query parameter that tells it, as the hub's option of this name. Default `'lastEventId'`. */
  readonly lastEventIdQuery?: string
}

/** What {@link connect} gives. */
export interface Stream {
  /** Opens it again behind the last event that came, at once, whatever its state. After the signal it does nothing. */
  open (): void
  /** Ends it, until it is opened again. */
  close (): void
  /** Where it is now; {@link StreamOptions.onState} tells each change. */
  readonly state: StreamState
  /** The id of the last event that came; `''` before the first. */
  readonly lastEventId: string
}

/** What a platform may have. */
interface Platform {
  readonly EventSource?: StreamOptions['EventSource']
  readonly document?: { readonly baseURI: string }
  readonly location?: { readonly href: string }
  readonly reportError?: (error: unknown) => void
}

// The values of `readyState` (WHATWG HTML 9.2.2).
const CONNECTING = 0
const CLOSED = 2

const platform = globalThis as Platform

/** The longest time that a timer takes, in milliseconds: beyond it, as with no number, it would be due at once. */
const MAX_TIME = 2 ** 31 - 1

function parseJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function report (error: unknown): void {
  (platform.reportError ?? console.error)(error)
}

/**
 * Opens an event stream and keeps it open: `connect<typeof events>('/events', { on: { notification (data) {} } })`, where
 * `events` are the server's schemas, imported as a type, or `connect<{ notification: Notification }>(…)`.
 *
 * A lost connection is `EventSource`'s to restore (WHATWG HTML 9.2.3). After any answer other than a stream it gives up;
 * then a new one is made, with the last event's id in the query.
 * @param url relative to the page's, where there is one
 * @throws `TypeError` where the URL is none, where there is no `EventSource`, or where a time is none: one below 1 ms, or above
 * 24 days, would open stream after stream
 */
export function connect<Events extends object = Record<string, unknown>> (
  url: string | { readonly href: string },
  {
    on, raw = [], parse = parseJson, onOpen, onGap, onState, onError = report, heartbeat, signal,
    EventSource = platform.EventSource, withCredentials = false, wait: firstWait = 5000, maxWait = 60_000,
    lastEventId = '', lastEventIdQuery = 'lastEventId'
  }: StreamOptions<Events> = {}
): Stream {
  if (EventSource === undefined) throw new TypeError('No EventSource here: give one as an option, e.g. that of npm "eventsource"')
  for (const time of [firstWait, maxWait, heartbeat === undefined ? MAX_TIME : heartbeat.timeout]) {
    if (!(time > 0 && time <= MAX_TIME)) throw new TypeError('"wait", "maxWait" and the heartbeat\'s "timeout" must be milliseconds')
  }
  const Source = EventSource
  const target = new URL(typeof url === 'string' ? url : url.href, platform.document?.baseURI ?? platform.location?.href)
  const texts: readonly string[] = raw
  let state: StreamState = 'closed'
  let source: EventSourceLike | undefined
  /** Until it is opened anew: after a refusal, or when nothing comes. */
  let timer: ReturnType<typeof setTimeout> | undefined
  let wait: number

  /** Calls what is the caller's. */
  function guard (task: () => unknown): void {
    (async () => task())().catch(onError).catch(report)
  }

  function change (now: StreamState, failure?: StreamFailure): void {
    if (state === now) return
    state = now
    guard(() => onState?.(now, failure))
  }

  function startIn (delay: number, next: StreamState): void {
    clearTimeout(timer)
    timer = setTimeout(() => start(next), delay)
  }

  function watch (): void {
    if (heartbeat !== undefined) startIn(heartbeat.timeout, 'reconnecting')
  }

  function start (next: StreamState): void {
    stop()
    // A new EventSource knows of no id and can't set the header.
    if (lastEventId !== '') target.searchParams.set(lastEventIdQuery, lastEventId)
    const opened = source = new Source(target.href, { withCredentials })

    /** Some implementations go on for a while after `close()`. */
    function listen<Event> (type: string, listener: (event: Event) => void): void {
      opened.addEventListener(type, event => { if (source === opened) listener(event) })
    }

    function receive (name: string, listener: (data: never, event: StreamEvent) => unknown, read = parse): void {
      listen(name, (event: StreamEvent) => {
        // An event may be named as one of EventSource's own, `error` or `open`, which have no data.
        if (typeof event.data !== 'string') return
        // Some implementations have '' here for an event without an id of its own.
        lastEventId = event.lastEventId || lastEventId
        watch()
        guard(() => listener(read(event.data, name) as never, event))
      })
    }

    listen('open', () => {
      wait = firstWait
      watch()
      change('open')
    })
    listen('error', (failure: StreamFailure) => {
      if (opened.readyState === CONNECTING) {
        watch()
        change('reconnecting', failure)
      } else if (opened.readyState === CLOSED) {
        // A random part of it, so that those who are refused together don't all come back at once.
        startIn(Math.min(wait, maxWait) * (1 + Math.random()) / 2, 'connecting')
        wait *= 2
        change('refused', failure)
      }
    })
    receive('sse:open', greeting => onOpen?.(greeting), parseJson)
    receive('sse:gap', gap => onGap?.(gap), parseJson)
    if (heartbeat !== undefined) receive(heartbeat.event, () => {}, parseJson)
    for (const name in on) receive(name, on[name]!, texts.includes(name) ? text => text : parse)

    watch()
    change(next)
  }

  function stop (): void {
    clearTimeout(timer)
    source?.close()
    source = undefined
  }

  function close (): void {
    stop()
    signal?.removeEventListener('abort', close)
    change('closed')
  }

  function open (): void {
    if (signal?.aborted === true) return
    signal?.addEventListener('abort', close)
    wait = firstWait
    start('connecting')
  }

  open()
  return {
    open,
    close,
    get state () { return state },
    get lastEventId () { return lastEventId }
  }
}
