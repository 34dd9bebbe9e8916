// Asks the peers of HTTP/2 sessions whether they are there (RFC 9113 6.7). It must not know of streams.
import type { Http2Session } from 'node:http2'

interface Ping {
  sentAt: number
  answered: boolean
}

/** The last ping of each session, which has one stream or many. */
const pings = new WeakMap<Http2Session, Ping>()

/**
 * Since when the peer has left a ping unanswered; `now` where it has answered. It sends a ping if the last one was answered, and sent
 * at least `period` milliseconds ago.
 */
export function pingUnansweredSince (session: Http2Session, now: number, period: number): number {
  const last = pings.get(session)
  if (last?.answered === false) return last.sentAt
  if (session.destroyed || (last !== undefined && now - last.sentAt < period)) return now
  const ping: Ping = { sentAt: now, answered: false }
  // It says no while the application's own pings wait for their answers.
  if (session.ping(() => { ping.answered = true })) pings.set(session, ping)
  return now
}
