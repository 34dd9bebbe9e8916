/**
 * `connect()`: an `EventSource` that is typed by the server's schemas and does not give up, for browsers and Node.
 * @module fastify-sse-hub/client
 */
// It must not know the hub's code. It must not use the types of one platform: it is compiled with the DOM's types alone, and
// with Node's alone.
import type { Static, TSchema } from '@sinclair/typebox'

/** The data that a listener gets: what the event's schema describes, or the type itself where it is no TypeBox schema. */
export type StreamData<Type> = [Type] extends [TSchema] ? Static<Type> : Type

/**
 * The state of a stream:
 * - `'connecting'`: the stream was requested, and there is no answer yet
 * - `'open'`: events can arrive
 * - `'reconnecting'`: the stream was lost, was silent, or could not be reached; it comes back by itself
 * - `'refused'`: the answer was no stream, e.g. a 401 or a 503, and `EventSource` gave up, or it could not be made; a new one is made
 *   later
 * - `'closed'`: `close()` or the signal closed the stream
 */
export type StreamState = 'connecting' | 'open' | 'reconnecting' | 'refused' | 'closed'

/** An event as it arrived (WHATWG HTML 9.2.6). */
export interface StreamEvent {
  /** The event's name. `'message'` where the server gave none. */
  readonly type: string
  /** The data as the server wrote it, not parsed. */
  readonly data: string
  /** The id of this event. Where it has none, the id of the last event that had one. `''` where none had. */
  readonly lastEventId: string
}

/** What an `EventSource` tells about a failure. npm `eventsource` tells the status as `code`, a browser tells nothing. */
export interface StreamFailure {
  /** The status of the answer, e.g. 401. */
  readonly code?: number | undefined
  /** What went wrong, in the implementation's words. */
  readonly message?: string | undefined
}

/** The part of an `EventSource` that is used (WHATWG HTML 9.2.2). */
export interface EventSourceLike {
  /** 0: connecting or reconnecting. 1: open. 2: closed for good. */
  readonly readyState: number
  // Each implementation has event types of its own. Only `any` is assignable to all of them.
  /** Called for `open`, for `error`, and for each event name that has a listener. */
  addEventListener (type: string, listener: (event: any) => void): void
  /** Closes the connection for good. */
  close (): void
}

/** The part of an `AbortSignal` that is used (WHATWG DOM 3.2). */
export interface AbortSignalLike {
  /** Whether the signal was aborted. Then a stream is not opened. */
  readonly aborted: boolean
  /** Called at each opening of a stream. */
  addEventListener (type: 'abort', listener: () => void): void
  /** Called when the stream is closed, so that a signal that lives longer does not keep the stream in memory. */
  removeEventListener (type: 'abort', listener: () => void): void
}

/** Options of `connect()`. All times are milliseconds. */
export interface StreamOptions<Events extends object = Record<string, unknown>> {
  /**
   * A listener for each event name, `message` for events without a name. Data is parsed as JSON. Data that is no JSON is given
   * as its text. What a listener throws or rejects with is given to `onError` and stops nothing: the event counts as received.
   */
  readonly on?: { readonly [Name in keyof Events]?: (data: StreamData<Events[Name]>, event: StreamEvent) => void }
  /** Events whose data is given as its text, even if it looks like JSON: those that are published with `raw`. Default: none. */
  readonly raw?: ReadonlyArray<Extract<keyof Events, string>>
  /** Turns text into data. It is the counterpart of the hub's `serializer`. Default: JSON, else the text. */
  readonly parse?: (text: string, event: string) => unknown
  /**
   * Called for the hub's `sse:open`, once for each connection. `recovered` is true when nothing is missing since the last event
   * that arrived. It is false on a first visit, and where something may be lost: then load the state again. It is not called
   * where the hub's `greeting` is off.
   */
  readonly onOpen?: (opened: { readonly clientId: string, readonly recovered: boolean }) => void
  /**
   * Called for the hub's `sse:gap`: events were lost while the stream was open. `lost` is how many, `null` where nobody knows.
   */
  readonly onGap?: (gap: { readonly lost: number | null }) => void
  /**
   * Called at each change, and never before `connect()` has returned. With `'reconnecting'` and `'refused'` it gets what the
   * `EventSource` tells about the reason.
   */
  readonly onState?: (state: StreamState, failure?: StreamFailure) => void
  /**
   * Called with what a listener or `parse` threw, and with what `EventSource` threw when it was made again. Default: the platform's
   * `reportError()`, else `console.error()`.
   */
  readonly onError?: (error: unknown) => void
  /**
   * Opens the stream again after `timeout` without an event. The hub must have the same `heartbeatEvent`. The timeout must be
   * longer than the hub's `heartbeatInterval`, and longer than its `retry` and `reconnectSpread` together. Example: with the
   * hub's defaults of 30 s, and 3 + 5 s, take 45 s. Only events with a listener are heard: give an empty listener to those that
   * you do not want. Default: none.
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
   * An implementation of `EventSource`: where the platform has none, as Node, or for headers of your own. Default: the
   * platform's.
   */
  readonly EventSource?: new (url: string, init?: { withCredentials?: boolean }) => EventSourceLike
  /** Whether cookies are sent to another origin. Default false. */
  readonly withCredentials?: boolean
  /**
   * The first wait after a refusal. It is doubled each time. The real wait is random, from half of it to all of it: with 5000
   * it is 2.5 to 5 s, then 5 to 10 s. Default 5000.
   */
  readonly wait?: number
  /** The longest wait. Default 60000. */
  readonly maxWait?: number
  /** The id of the event after which the stream begins, e.g. the last id of the hub's `state()`. Default: none. */
  readonly lastEventId?: string
  /** The query parameter for that id, as the hub's option of this name. Default `'lastEventId'`. */
  readonly lastEventIdQuery?: string
}

/** What {@link connect} returns. */
export interface Stream {
  /**
   * Opens the stream again at once, in any state, after the last event that arrived. Does nothing once the signal is aborted.
   */
  open (): void
  /** Closes the stream, until it is opened again. */
  close (): void
  /** The state now. {@link StreamOptions.onState} tells each change. */
  readonly state: StreamState
  /** The id of the last event that arrived. `''` before the first one. */
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

/** The longest time that a timer takes, in milliseconds. With a longer time, or no number, it would run at once. */
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
 * `EventSource` restores a lost connection by itself (WHATWG HTML 9.2.3). After an answer that is no stream it gives up. Then
 * a new one is made, with the id of the last event at the end of the query. The rest of the URL stays as it is.
 * @param url relative to that of the page, where there is one
 * @throws what `EventSource` throws at its first use, and `TypeError` where the URL is not valid, where there is no `EventSource`, or
 * where a time is not above 0 and at most 24 days: such a timer would run at once, again and again
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
  const address = new URL(typeof url === 'string' ? url : url.href, platform.document?.baseURI ?? platform.location?.href).href.split('#')[0]!
  const texts: readonly string[] = raw
  let state: StreamState = 'closed'
  let returned = false
  let source: EventSourceLike | undefined
  /** Opens the stream again: after a refusal, or when no event arrives. */
  let timer: ReturnType<typeof setTimeout> | undefined
  let wait: number

  /** Calls a function of the application. Its errors go to `onError`. */
  function guard (task: () => unknown): void {
    (async () => task())().catch(onError).catch(report)
  }

  function change (now: StreamState, failure?: StreamFailure): void {
    if (state === now) return
    state = now
    const tell = (): unknown => onState?.(now, failure)
    // It may use the stream, which its caller does not have yet.
    guard(returned ? tell : async () => { await undefined; return tell() })
  }

  function startIn (delay: number, next: StreamState): void {
    clearTimeout(timer)
    timer = setTimeout(() => start(next), delay)
  }

  function watch (): void {
    if (heartbeat !== undefined) startIn(heartbeat.timeout, 'reconnecting')
  }

  function refuse (failure: StreamFailure): void {
    // The wait is random, so that clients that are refused together do not all come back together.
    startIn(Math.min(wait, maxWait) * (1 + Math.random()) / 2, 'connecting')
    wait *= 2
    change('refused', failure)
  }

  /** A new EventSource knows no id and can't send the `Last-Event-ID` header. A signature may cover the rest of the query. */
  function addressNow (): string {
    if (lastEventId === '') return address
    return `${address}${address.includes('?') ? '&' : '?'}${encodeURIComponent(lastEventIdQuery)}=${encodeURIComponent(lastEventId)}`
  }

  function start (next: StreamState): void {
    stop()
    let opened: EventSourceLike
    try {
      opened = source = new Source(addressNow(), { withCredentials })
    } catch (error) {
      if (!returned) throw error
      guard(() => { throw error })
      return refuse(error as StreamFailure)
    }

    /** Some implementations still dispatch events for a while after `close()`. */
    function listen<Event> (type: string, listener: (event: Event) => void): void {
      opened.addEventListener(type, event => { if (source === opened) listener(event) })
    }

    function receive (name: string, listener: (data: never, event: StreamEvent) => unknown, read = parse): void {
      listen(name, (event: StreamEvent) => {
        // A server's event may be named `error` or `open`. Those of EventSource itself have no data.
        if (typeof event.data !== 'string') return
        // Some implementations have '' here for an event without an id.
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
        refuse(failure)
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
    wait = firstWait
    start('connecting')
    signal?.addEventListener('abort', close)
  }

  open()
  returned = true
  return {
    open,
    close,
    get state () { return state },
    get lastEventId () { return lastEventId }
  }
}
