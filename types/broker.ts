// The broker's contract: where events are ordered. It must not know of clients, HTTP or the wire format.

/** An event on its way through a broker, which carries it and does not look inside. */
export interface BrokerEvent {
  /** Where it goes: channel names, `''` for broadcasts, or NUL and a client id. Never empty. */
  readonly targets: readonly string[]
  readonly name: string
  /** Serialised data. */
  readonly data: string
  /** Milliseconds for a `retry:` field; -1 for none. */
  readonly retry: number
  /** A client id that does not get it; `''` for none. */
  readonly except: string
  /** Delivered live only: it needs no id, and nothing of it is kept. */
  readonly transient: boolean
}

/**
 * The hub's side: hands over one event. Called in the broker's order, the same on every instance, once per event,
 * those that this instance published included, and never from within itself.
 * @param position this instance's number of the event, one more than the last one's
 * @param id what clients are told, without CR, LF and NUL; `null` where the event is transient
 * @returns how many clients of this instance the event was for
 */
export type Deliver = (event: BrokerEvent, position: number, id: string | null) => number

/** What `publish` gives back. */
export interface BrokerReceipt {
  readonly id: string | null
  /** What `Deliver` returned for this event. */
  readonly recipients: number
}

/**
 * Orders events and hands every instance all of them. An instance delivers only what comes back through `Deliver`,
 * so that all clients see one order. One broker serves one hub.
 */
export interface Broker {
  /** Called once, before anything is published. */
  start (deliver: Deliver): void | Promise<void>
  /**
   * Accepts an event, or fails with nothing stored; where that can't be known, the error's `inDoubt` is true.
   * The same `idempotencyKey` stores once, and answers with the first one's receipt. A broker that is in the same
   * process may deliver within the call.
   */
  publish (event: BrokerEvent, idempotencyKey: string): BrokerReceipt | Promise<BrokerReceipt>
  /** The newest delivered event's id, or of the place before the first one: a client may resume from it. */
  head (): string
  /**
   * The position of an id that a client brought: of the event itself, all before it having been delivered or passed
   * over. `-1` where the id is no place in today's order: from another epoch, malformed, not yet given.
   */
  position (id: string): number
  /** Called once, after the last client has gone. */
  close (): void | Promise<void>
}
