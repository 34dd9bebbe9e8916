// Finds the clients that vanished without a word: nothing that is sent to their machine is answered. The kernel takes bytes for such
// a client for many minutes, so nothing else tells. It must not know how an answer is noticed.
import type { Http2Session } from 'node:http2'
import type { Client } from '../client/client.js'
import { tcpTable } from '../transport/tcp-table.js'

/** Limits of the time between two looks at the system's table of connections, in milliseconds. */
const MIN_PERIOD = 250
const MAX_PERIOD = 4000
/** The longest time between two pings, where the hub sends no heartbeats. */
const MAX_PING = 15_000
/** How long Node's ten TCP keep-alive probes take, in milliseconds. They are one second apart. */
const PROBES = 10_000
/** The shortest time before them. Node takes whole seconds. */
const MIN_DELAY = 1000

export class Vanishing {
  readonly #stallTimeout: number
  readonly #period: number
  /** Milliseconds without a packet after which the system asks a client; 0 for never. */
  readonly #keepAliveDelay: number
  /** Milliseconds between two pings; 0 for none. */
  readonly #pingPeriod: number
  /** Whether this walk looks for vanished clients. */
  #looks = false
  /** Whether this walk has met a client that is old enough for a look at the table. */
  #suspects = false
  #version = 0
  /** HTTP/2 sessions of which a client was cut, with the last one. They outlive their streams, with what waits in them. */
  readonly #cut = new Map<Http2Session, Client>()

  /**
   * The system's table tells of all clients to which something was sent. Where it can't be read, or where no heartbeats are sent,
   * clients are asked: by TCP keep-alive, or by pings.
   * @param interval milliseconds without a write after which a client gets a heartbeat; Infinity for none
   * @param stallTimeout milliseconds without an answer after which a client has vanished; Infinity for never
   */
  constructor (interval: number, stallTimeout: number) {
    const asks = stallTimeout !== Infinity && (interval === Infinity || !tcpTable.isReadable)
    this.#stallTimeout = stallTimeout
    this.#period = Math.max(MIN_PERIOD, Math.min(MAX_PERIOD, stallTimeout / 4))
    this.#keepAliveDelay = asks ? keepAliveDelay(interval, stallTimeout) : 0
    this.#pingPeriod = asks ? Math.min(interval, Math.max(MIN_PERIOD, Math.min(MAX_PING, stallTimeout))) : 0
  }

  /** Called once, when a client comes. */
  watch (client: Client): void {
    if (this.#keepAliveDelay > 0) client.keepAlive(this.#keepAliveDelay)
  }

  /** A walk through all clients begins. */
  begin (): void {
    this.#suspects = false
    this.#looks = this.#stallTimeout !== Infinity && (this.#pingPeriod > 0 || this.#version !== tcpTable.version)
    this.#version = tcpTable.version
  }

  /** Whether a client has vanished. */
  has (client: Client, now: number): boolean {
    if (!this.#suspects && now - client.openedAt >= this.#period) this.#suspects = client.overTcp
    return this.#looks && now - client.unansweredSince(now, this.#pingPeriod) >= this.#stallTimeout
  }

  /**
   * A client was cut, as vanished or as stalled. A client that has vanished may count as stalled first: HTTP/2 lets 64 KiB of a
   * stream leave the process without an answer.
   */
  cut (client: Client): void {
    if (client.session !== null) this.#cut.set(client.session, client)
  }

  /** The walk ends. By now all streams of a session whose peer is gone are cut. */
  end (now: number): void {
    if ((this.#suspects || this.#cut.size > 0) && this.#stallTimeout !== Infinity) tcpTable.refresh(now, this.#period)
    for (const [session, client] of this.#cut) {
      if (session.destroyed) this.#cut.delete(session)
      else if (now - client.unansweredSince(now, this.#pingPeriod) >= this.#stallTimeout) client.endSession('destroy')
    }
  }

  /** Called when no walk follows. Resolves when nothing is under way. */
  async close (): Promise<void> {
    for (const client of this.#cut.values()) client.endSession('destroy')
    this.#cut.clear()
    await tcpTable.settled()
  }
}

/**
 * On Linux a probe is sent only while nothing waits for an answer, so the ten probes must end before the next heartbeat: with one
 * each 30 s, they begin after 19 s. Other systems send them in any case.
 */
function keepAliveDelay (interval: number, stallTimeout: number): number {
  const latest = process.platform === 'linux' ? Math.min(stallTimeout, interval - MIN_DELAY) : stallTimeout
  return Math.max(MIN_DELAY, latest - PROBES)
}
