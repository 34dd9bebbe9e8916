// The broker's contract: where events are ordered, and how every instance gets them. It must not know of HTTP or the wire
// format.

/**
 * An event on its way through a broker, which carries it and does not look inside.
 * @category Brokers
 */
export interface BrokerEvent {
  /** Where it goes: channel names, `''` for broadcasts, or NUL and a client id. Never empty. */
  readonly targets: readonly string[]
  /** The event's name: 1 to 256 characters without CR, LF and NUL. */
  readonly name: string
  /** Serialised data. */
  readonly data: string
  /** Milliseconds for a `retry:` field; -1 for none. */
  readonly retry: number
  /** A client id that does not get it; `''` for none. */
  readonly except: string
  /** Whether it may be compressed in one block with others. */
  readonly compress: boolean
  /** Whose state it says, of those of its name on each of its targets; `''` where it says none. */
  readonly key: string
  /** With a key: that state is to be forgotten. */
  readonly remove: boolean
  /** Whether its data is text as it was given, not serialised. */
  readonly raw: boolean
  /** Delivered live only: it needs no id, and nothing of it is kept. */
  readonly transient: boolean
  /** Those of its targets for which it is kept. */
  readonly kept: readonly string[]
}

/**
 * What {@link Broker.publish} gives back.
 * @category Brokers
 */
export interface BrokerReceipt {
  /** What clients are told as the event's id; `null` where the event is transient. */
  readonly id: string | null
  /** What {@link BrokerSink.deliver} returned for this event, or {@link BrokerSink.recipients} where it is delivered later. */
  readonly recipients: number
}

/**
 * An event of the past, as a broker that keeps events gives it back.
 * @category Brokers
 */
export interface BrokerPastEvent {
  /** As it was published. */
  readonly event: BrokerEvent
  /** This instance's number of it, as {@link BrokerSink.deliver} has them. */
  readonly position: number
  /** What clients are told as its id. */
  readonly id: string
  /** When it was accepted, in milliseconds of `Date.now()`. */
  readonly time: number
}

/**
 * What a broker keeps of one target.
 * @category Brokers
 */
export interface BrokerPast {
  /**
   * Oldest first. Of those with a key the newest of each event name and key, `historySize` of these; of the others
   * `historySize`, and as many that only remove a state.
   */
  readonly events: readonly BrokerPastEvent[]
  /** The position of the newest event of the target that is not among them and is lost; 0 where none is. */
  readonly floor: number
  /** The position up to which this is all of the target's: at least what had come here when the broker was asked. */
  readonly known: number
}

/**
 * A place that another instance told a client of, and that this one has not come to.
 * @category Brokers
 */
export interface BrokerPlaceAhead {
  /** The number that the event will have here. */
  readonly position: number
  /** True once it has come to it; false where there is no such place after all. */
  readonly arrived: Promise<boolean>
}

/**
 * A stream somewhere in the cluster.
 * @category Brokers
 */
export interface BrokerMember {
  /** The client's id, which other streams may share. */
  readonly clientId: string
  /** What the route gave. A broker between processes may carry it as JSON. */
  readonly metadata: unknown
  /** All that it is in now. */
  readonly channels: readonly string[]
}

/**
 * A stream in the channel that was asked for.
 * @category Brokers
 */
export interface BrokerPresent {
  /** The client's id, which other streams may share. */
  readonly clientId: string
  /** What its route gave. */
  readonly metadata: unknown
  /** Which instance it is connected to. */
  readonly instance: string
}

/**
 * Who is connected, over all instances.
 * @category Brokers
 */
export interface BrokerPresence {
  /** This instance's name in it. */
  readonly instance: string
  /**
   * A stream of this instance is there, or is in other channels than before.
   * @param key of the stream, unlike any other of this instance; the same until it is gone
   */
  set (key: string, member: BrokerMember): void
  /**
   * A stream of this instance is gone.
   * @param key what {@link BrokerPresence.set} was given for it
   */
  delete (key: string): void
  /** Who is in a channel, this instance's included. */
  in (channel: string): BrokerPresent[]
}

/**
 * How a broker is.
 * @category Brokers
 */
export interface BrokerStats {
  /** Whether it takes events now. */
  readonly state: 'ready' | 'unavailable'
  /** How often the connection came back, since start. */
  readonly reconnects: number
  /** Publishes that failed, since start. */
  readonly publishFailures: number
  /** Entries that were none, since start. */
  readonly malformed: number
  /** Events that it had and that were not delivered here, when that was looked at last. */
  readonly lag: number
  /** Milliseconds of the last round trip; `null` where none was measured. */
  readonly roundTrip: number | null
}

/**
 * The hub's side, given to a broker at its start.
 * @category Brokers
 */
export interface BrokerSink {
  /**
   * Hands over one event. Called in the broker's order, the same on every instance, once per event, those that this
   * instance published included, and never from within itself.
   * @param position this instance's number of the event: they grow
   * @param id what clients are told, without CR, LF and NUL; `null` where the event is transient
   * @returns how many clients of this instance the event was for
   */
  deliver (event: BrokerEvent, position: number, id: string | null): number
  /**
   * Says that events up to a position never came here and won't: at the start, or when the broker has lost some. Every
   * client that is connected is told. What `past` gives may fill the hole.
   * @param position not less than the last one delivered; the next event's is larger
   */
  skipTo (position: number): void
  /** How many clients of this instance an event would be for now. */
  recipients (event: BrokerEvent): number
  /** A stream of another instance came to a channel, or left one. */
  presence (change: 'join' | 'leave', channel: string, member: BrokerMember, instance: string): void
  /** Events to keep per target, and of those with a key so many keys; 0 for none. */
  readonly historySize: number
  /** For how many milliseconds they are kept; `Infinity` for no limit. */
  readonly historyMaxAge: number
  /** Where it may log. */
  readonly log: BrokerLog
}

/**
 * What a broker needs of a logger. The hub's is a child of `fastify.log`.
 * @category Brokers
 */
export interface BrokerLog {
  /** For what the broker gets over by itself. */
  warn (details: object, message: string): void
  /** For what needs somebody to look at it. */
  error (details: object, message: string): void
}

/**
 * Orders events and hands every instance all of them. An instance delivers only what comes back through `deliver`,
 * so that all clients see one order. One broker serves one hub.
 * @category Brokers
 */
export interface Broker {
  /** Called once, before anything is published. What it throws or rejects with, the registration of the plugin rejects with. */
  start (sink: BrokerSink): void | Promise<void>
  /**
   * Accepts an event, or fails with nothing stored; where that can't be known, the error's `inDoubt` is true.
   * The same `idempotencyKey` stores once, and answers with the first one's id. A broker that is in the same
   * process may deliver within the call.
   * @param idempotencyKey `''` for none
   * Rejects with {@link SSE_ERR_BROKER_UNAVAILABLE}; of any other error the hub makes one that is in doubt.
   */
  publish (event: BrokerEvent, idempotencyKey: string): BrokerReceipt | Promise<BrokerReceipt>
  /** The newest delivered event's id, or of the place before the first one: a client may resume from it. */
  head (): string
  /**
   * The position of an id that a client brought: of the event itself, all before it having been delivered or passed
   * over. `-1` where the id is no place in today's order: from another epoch, malformed, not given yet, or so old that
   * nobody can say what came behind it.
   */
  position (id: string): number | BrokerPlaceAhead
  /**
   * What is kept of some targets, up to the position at which this instance began to deliver and beyond it: where the
   * hub has to ask because it began later. A broker that keeps nothing leaves it out.
   */
  past? (targets: readonly string[]): Promise<ReadonlyMap<string, BrokerPast>>
  /** Left out by a broker within one process: the hub knows who is there. */
  readonly presence?: BrokerPresence
  /** For {@link SSEHub.stats} and the metrics: asked often, so that it answers from memory. A broker may leave it out. */
  stats? (): BrokerStats
  /** Called once, after the last client has gone. */
  close (): void | Promise<void>
}
