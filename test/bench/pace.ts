// The ways in which a measured server publishes.
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

/** Publishes as fast as the subject allows. All publishes of a turn of the event loop are awaited. */
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

/** @returns waits until the kernel has taken a write of every socket since the last call, and no socket has bytes queued */
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

/** Publishes an event only when all sockets have taken the event before. */
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
  /** Turns in which events are published. */
  readonly perSecond: number
  readonly count: number
  /** Events in a turn. */
  readonly perTurn?: number
  readonly channels?: number
  /**
   * Whether a turn also waits until all sockets have taken the events of the turn before. Without that, a busy machine delays
   * turns, and the server joins their events.
   */
  readonly apart?: boolean
  readonly size: number
  readonly content?: Content
}

/** Publishes at a rate. Each turn has its time. A turn that is late begins at once. */
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
  /** Events of this server only. */
  readonly perSecond: number
  readonly count: number
  readonly size: number
  /**
   * The number of the first event; `step` is the distance to the next one. With two servers, one has `first` 1 and `step` 2,
   * and its events are 1, 3, 5.
   */
  readonly first: number
  readonly step: number
  /** When the first event is due, in microseconds. */
  readonly startAt: number
}

/** How many publishes may follow each other before the event loop gets a turn. */
const TURN = 500

/**
 * Publishes at a rate, and does not wait for answers. Each event has its time. An event that is late is published at once.
 * @returns how many were refused, after all are answered
 */
export async function flow (publish: (payload: Payload) => unknown, { perSecond, count, size, first, step, startAt }: Flow): Promise<number> {
  let failed = 0
  let answered = 0
  let onAll = (): void => {}
  const all = new Promise<void>(resolve => { onAll = resolve })
  // Nothing is kept for an event. Otherwise the measurement would include the garbage collector's work for it.
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
