// How a server publishes.
import type { Socket } from 'node:net'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { channelOf, now, payloadOf, type Content } from './payload.js'
import type { Payload, Subject } from './subjects/subject.js'

export interface Published {
  /** The number of the last event. */
  readonly last: number
  /** When the first one was published, in microseconds. */
  readonly startedAt: number
}

export interface Flood {
  readonly milliseconds: number
  readonly perTurn: number
  readonly channels: number
  readonly size: number
  readonly content?: Content
}

/** As fast as the subject takes it: so many publishes a turn of the event loop, all awaited. */
export async function flood (subject: Subject, { milliseconds, perTurn, channels, size, content }: Flood): Promise<Published> {
  const startedAt = now()
  const end = startedAt + milliseconds * 1000
  let last = 0
  const pending = new Array<unknown>(perTurn)
  do {
    for (let index = 0; index < perTurn; index++) {
      last++
      pending[index] = subject.publish(channelOf(last, channels), payloadOf(last, size, content))
    }
    await Promise.all(pending)
    await setImmediate()
  } while (now() < end)
  return { last, startedAt }
}

export interface Single {
  readonly milliseconds: number
  readonly size: number
}

/**
 * @returns waits until every socket's write since the last call was accepted by the kernel, and nothing is queued
 */
function taken (sockets: ReadonlySet<Socket>, turn: () => Promise<unknown>): () => Promise<void> {
  const all = [...sockets]
  const written = all.map(socket => socket.bytesWritten)
  return async () => {
    for (let index = 0; index < all.length;) {
      const { writableLength, bytesWritten } = all[index]!
      if (writableLength === 0 && bytesWritten > written[index]!) written[index++] = bytesWritten
      else await turn()
    }
  }
}

/** Each event only when all sockets have taken the one before. */
export async function single (subject: Subject, sockets: ReadonlySet<Socket>, { milliseconds, size }: Single): Promise<Published> {
  const allHaveTaken = taken(sockets, setImmediate)
  const startedAt = now()
  const end = startedAt + milliseconds * 1000
  let last = 0
  do {
    last++
    await subject.publish('all', payloadOf(last, size))
    await allHaveTaken()
  } while (now() < end)
  return { last, startedAt }
}

export interface Rate {
  /** Turns with an event. */
  readonly perSecond: number
  readonly count: number
  /** Events of a turn. */
  readonly perTurn?: number
  readonly channels?: number
  /** Whether a turn also waits until all sockets have taken the one before: what a busy machine delays is not joined. */
  readonly apart?: boolean
  readonly size: number
  readonly content?: Content
}

/** At a rate: each turn's events at their time, or at once where that has passed. */
export async function rate (subject: Subject, sockets: ReadonlySet<Socket>, { perSecond, count, perTurn = 1, channels = 1, apart = false, size, content }: Rate): Promise<Published> {
  const allHaveTaken = taken(sockets, () => setTimeout(1))
  const startedAt = now()
  let last = 0
  for (let turn = 0; turn < count; turn++) {
    const due = startedAt + turn * 1e6 / perSecond
    const wait = (due - now()) / 1000
    if (wait > 0) await setTimeout(wait)
    const pending: unknown[] = []
    for (let index = 0; index < perTurn; index++) pending.push(subject.publish(channelOf(++last, channels), payloadOf(last, size, content)))
    await Promise.all(pending)
    if (apart) await allHaveTaken()
  }
  return { last, startedAt }
}

export interface Flow {
  /** This server's events alone. */
  readonly perSecond: number
  readonly count: number
  readonly size: number
  /** The first one's number, and from each to the next: those of the other servers are between. */
  readonly first: number
  readonly step: number
  /** When the first one is due, in microseconds. */
  readonly startAt: number
}

/** Publishes that may follow one another before the event loop has a turn. */
const TURN = 500

/**
 * At a rate, whatever comes back: each event at its time, or at once where that has passed, no answer waited for.
 * @returns how many were refused, once all are answered
 */
export async function flow (publish: (payload: Payload) => unknown, { perSecond, count, size, first, step, startAt }: Flow): Promise<number> {
  let failed = 0
  let answered = 0
  let onAll = (): void => {}
  const all = new Promise<void>(resolve => { onAll = resolve })
  // Nothing of an event is kept here: the garbage collector would be measured with it.
  const onAnswer = (): void => { if (++answered === count) onAll() }
  const onError = (): void => {
    failed++
    onAnswer()
  }
  for (let index = 0; index < count; index++) {
    const wait = (startAt + index * 1e6 / perSecond - now()) / 1000
    if (wait > 0) await setTimeout(wait)
    else if (index % TURN === 0) await setImmediate()
    Promise.resolve(publish(payloadOf(first + index * step, size))).then(onAnswer, onError)
  }
  await all
  return failed
}
