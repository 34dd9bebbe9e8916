// The contract of a broker: it puts events in one order, and every instance gets them from it. It must not know of HTTP or the
// wire format.

/**
 * An event on its way through a broker. The broker passes it on unchanged.
 * @category Brokers
 */
export interface BrokerEvent {
  /** Where the event is sent: channel names, `''` for broadcasts, or NUL and a client id. Never empty. */
  readonly targets: readonly string[]
  /** The event's name: 1 to 256 well-formed characters without CR, LF and NUL. */
  readonly name: string
  /** The data as text. */
  readonly data: string
  /** The `retry:` field in milliseconds. -1 for none. */
  readonly retry: number
  /** A client id that does not get the event. `''` for none. */
  readonly except: string
  /** Whether the event may be compressed in one block with others. */
  readonly compress: boolean
  /** The key, where the event is a state: of each target, event name and key only the newest counts. `''` for none. */
  readonly key: string
  /** With a key: the state of this key is to be forgotten. */
  readonly remove: boolean
  /** Whether `data` is the text that was given (true), or was serialised (false). */
  readonly raw: boolean
  /** The event is delivered live only. It needs no id, and nothing of it is kept. */
  readonly transient: boolean
  /** The targets for which the event is kept: some of `targets`, all or none. */
  readonly kept: readonly string[]
}

/**
 * What {@link Broker.publish} returns.
 * @category Brokers
 */
export interface BrokerReceipt {
  /** The event's id, as clients get it. `null` for a transient event. */
  readonly id: string | null
  /**
   * What {@link BrokerSink.deliver} returned for this event. Where the event is delivered later, what
   * {@link BrokerSink.recipients} returned.
   */
  readonly recipients: number
}

/**
 * A past event, as a broker that keeps events returns it.
 * @category Brokers
 */
export interface BrokerPastEvent {
  /** The event as it was published. */
  readonly event: BrokerEvent
  /** This instance's number of the event, of the same series as in {@link BrokerSink.deliver}. */
  readonly position: number
  /** The event's id, as clients get it. */
  readonly id: string
  /** When the broker accepted the event, in milliseconds of `Date.now()`. */
  readonly time: number
}

/**
 * What a broker keeps of one target.
 * @category Brokers
 */
export interface BrokerPast {
  /**
   * The kept events, oldest first: the newest `historySize` events without a key, the newest event of each pair of event
   * name and key for the newest `historySize` pairs, and `historySize` events that only remove a state. Example: with
   * `historySize` 50 there are at most 150.
   */
  readonly events: readonly BrokerPastEvent[]
  /**
   * The position of the newest lost event of the target. 0 where none is lost. Example: the broker had events at 1 to 9 and
   * keeps those at 5 to 9. The floor is 4. A state that a newer one replaced is not lost.
   */
  readonly floor: number
  /** Up to this position `events` is complete. It covers at least what had arrived here when the broker was asked. */
  readonly known: number
}

/**
 * A place in the order that a client knows from another instance, and that this instance has not reached yet. Example: a client
 * had event 12 on another instance, and here event 10 is the newest.
 * @category Brokers
 */
export interface BrokerPlaceAhead {
  /** The position that the event will have here. */
  readonly position: number
  /** Resolves to true when this instance has reached the place, and to false where there is no such place. */
  readonly arrived: Promise<boolean>
}

/**
 * A stream, with its channels.
 * @category Brokers
 */
export interface BrokerMember {
  /** The client's id. Other streams may share it. */
  readonly clientId: string
  /** What the route gave. A broker between processes may send it as JSON. */
  readonly metadata: unknown
  /** All channels that the stream is in now. */
  readonly channels: readonly string[]
}

/**
 * A stream in the channel that {@link BrokerPresence.in} was asked for.
 * @category Brokers
 */
export interface BrokerPresent {
  /** The client's id. Other streams may share it. */
  readonly clientId: string
  /** What the route gave. */
  readonly metadata: unknown
  /** The name of the instance that the stream is connected to. */
  readonly instance: string
}

/**
 * The streams of all instances.
 * @category Brokers
 */
export interface BrokerPresence {
  /** This instance's name. */
  readonly instance: string
  /**
   * The hub calls it when a stream of this instance opens, and when its channels change.
   * @param key of the stream: different from all others of this instance, and the same until the stream ends
   */
  set (key: string, member: BrokerMember): void
  /**
   * The hub calls it when a stream of this instance has ended.
   * @param key the one that {@link BrokerPresence.set} had for the stream
   */
  delete (key: string): void
  /** The streams in a channel, this instance's included. */
  in (channel: string): BrokerPresent[]
}

/**
 * The state of a broker.
 * @category Brokers
 */
export interface BrokerStats {
  /** Whether the broker accepts events now. */
  readonly state: 'ready' | 'unavailable'
  /** How often the connection was restored since start. */
  readonly reconnects: number
  /** Publishes that failed since start. */
  readonly publishFailures: number
  /** Entries since start that were no events. */
  readonly malformed: number
  /** Events that the broker had and that were not delivered here, when this was last measured. */
  readonly lag: number
  /** The duration of the last round trip in milliseconds. `null` where none was measured. */
  readonly roundTrip: number | null
}

/**
 * The hub's side of the contract. A broker gets it when it starts.
 * @category Brokers
 */
export interface BrokerSink {
  /**
   * Delivers one event. The broker calls it once for each event, also for those that this instance published. The order is the
   * same on every instance. The broker never calls it inside another call of it.
   * @param position this instance's number of the event: each is larger than the one before
   * @param id the event's id, as clients get it, without CR, LF and NUL; `null` for a transient event
   * @returns how many clients of this instance the event was for
   */
  deliver (event: BrokerEvent, position: number, id: string | null): number
  /**
   * Says that the events up to a position were not delivered here and never will be: at the start, or when the broker has lost
   * some. Every connected client is told. What `past` returns may fill the gap. Example: after event 7 the broker skips to 20.
   * Clients are told that events are missing, and the next event is at 21 or later.
   * @param position not less than that of the last delivered event; the next event's is larger
   */
  skipTo (position: number): void
  /** How many clients of this instance an event would be for now. */
  recipients (event: BrokerEvent): number
  /** Says that a stream of another instance joined or left a channel. */
  presence (change: 'join' | 'leave', channel: string, member: BrokerMember, instance: string): void
  /** How many events without a key to keep per target, and the states of how many keys. 0 for none. */
  readonly historySize: number
  /** How long to keep events, in milliseconds. `Infinity` for no limit. */
  readonly historyMaxAge: number
  /** Where the broker may log. */
  readonly log: BrokerLog
}

/**
 * The part of a logger that a broker uses. The hub gives a child of `fastify.log`.
 * @category Brokers
 */
export interface BrokerLog {
  /** For a fault that the broker repairs by itself. */
  warn (details: object, message: string): void
  /** For a fault that a person must look at. */
  error (details: object, message: string): void
}

/**
 * Puts events in order and gives all of them to every instance. An instance sends its clients only what comes back through
 * {@link BrokerSink.deliver}, so that all clients see one order. One broker serves one hub.
 * @category Brokers
 */
export interface Broker {
  /**
   * Called once, before anything is published. What it throws or rejects with, the plugin's registration rejects with. Then
   * {@link Broker.close} is not called: a broker that fails to start lets go of its connections by itself.
   */
  start (sink: BrokerSink): void | Promise<void>
  /**
   * Accepts an event, or fails with nothing stored. Where the broker can't know which, the error's `inDoubt` is true. A second
   * publish with the same `idempotencyKey` stores nothing and returns the first one's id. A broker in the same process may
   * deliver the event inside this call.
   * Rejects with {@link SSE_ERR_BROKER_UNAVAILABLE}. The hub turns any other error into one that is in doubt.
   * @param idempotencyKey `''` for none
   */
  publish (event: BrokerEvent, idempotencyKey: string): BrokerReceipt | Promise<BrokerReceipt>
  /** The id of the newest delivered event, or of the place before the first one. A client may resume from it. */
  head (): string
  /**
   * Finds the position of the event whose id a client brought. All events before it were delivered or skipped here. `-1` where
   * the id is no place in today's order: it is malformed, of another epoch or not given yet, or it is so old that nobody can
   * say which events came after it.
   */
  position (id: string): number | BrokerPlaceAhead
  /**
   * What the broker keeps of some targets, up to the position at which this instance began to deliver, and after it. The hub
   * asks for what happened before this instance began. A broker that keeps nothing leaves it out.
   */
  past? (targets: readonly string[]): Promise<ReadonlyMap<string, BrokerPast>>
  /**
   * How long a new stream waits for what `past` and {@link BrokerPlaceAhead.arrived} answer, in milliseconds. Default: 5000. A
   * stream that got no answer in time begins without it, and is told `recovered: false`.
   */
  readonly answerTimeout?: number
  /** The streams of all instances. A broker within one process leaves it out, because the hub knows all streams. */
  readonly presence?: BrokerPresence
  /** For {@link SSEHub.stats} and the metrics. It is called often and must answer from memory. A broker may leave it out. */
  stats? (): BrokerStats
  /**
   * Called once, after the last client is disconnected, or where the registration fails after the start. The hub waits up to 2
   * seconds for it. A failure is logged, also a later one.
   */
  close (): void | Promise<void>
}
