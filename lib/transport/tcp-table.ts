// Knows which TCP connections of this machine have a peer that does not answer, and since when. Only Linux tells that, in
// /proc/self/net/tcp and tcp6. All hubs of the process share one table. It has no timer: it is read when a hub asks for it. It must
// not know of streams.
import { close, closeSync, open, openSync, read, readSync } from 'node:fs'
import type { Socket } from 'node:net'
import { connectionKey, readRows, type UnansweredRow } from './tcp-rows.js'

interface Unanswered {
  readonly tries: number
  /** The time at which the kernel makes the next try. The peer has answered if `tries` is the same long after it. */
  readonly due: number
  readonly since: number
}

const TCP = '/proc/self/net/tcp'
const TCP6 = '/proc/self/net/tcp6'
/** The kernel gives at most a page in one read. */
const BUFFER = 8192
/** The longest part of the time that reading may take is one of so many. It takes 0.3 s for 100,000 connections. */
const SHARE = 20
/** How late the kernel's next try may be: some timers of Linux run an eighth of their time late. */
const LATE = 1.125
const LATE_MS = 1000

class TcpTable {
  /** Whether this system has such a table. */
  readonly isReadable = isReadable()
  /** Grows with each reading that found peers that do not answer. */
  version = 0
  #unanswered: ReadonlyMap<string, Unanswered> = new Map()
  /** The peers' ports of these connections. Most connections have another port, and need no look at their addresses. */
  #ports: ReadonlySet<number> = new Set()
  #readAt = -Infinity
  #took = 0
  #reading: Promise<void> | null = null

  /**
   * Reads the table, if the last time was at least `period` milliseconds ago. It does not wait for the end. The kernel's part of the
   * work is done in Node's thread pool, and each 27 connections take 20 µs of the event loop.
   */
  refresh (now: number, period: number): void {
    if (!this.isReadable || this.#reading !== null) return
    const age = now - this.#readAt
    const least = Math.max(period, SHARE * this.#took)
    if (age < least) return
    // After a long pause, two tries without an answer may be of two separate times.
    if (age > 3 * least) this.#unanswered = new Map()
    this.#readAt = now
    this.#reading = this.#read().finally(() => {
      this.#took = performance.now() - now
      this.#reading = null
    })
  }

  /** Resolves when the table is not being read. It never rejects. */
  async settled (): Promise<void> {
    await this.#reading
  }

  /** Since when the peer of a connection has answered nothing; `now` where it answers, or has nothing to answer. */
  unansweredSince (socket: Socket, now: number): number {
    if (!this.#ports.has(socket.remotePort!)) return now
    return this.#unanswered.get(connectionKey(socket))?.since ?? now
  }

  async #read (): Promise<void> {
    const unanswered = new Map<string, Unanswered>()
    const ports = new Set<number>()
    const add = (row: UnansweredRow): void => {
      unanswered.set(row.key, this.#next(row, performance.now()))
      ports.add(row.port)
    }
    await readTable(TCP, 8, add)
    await readTable(TCP6, 32, add)
    this.#unanswered = unanswered
    this.#ports = ports
    if (ports.size > 0) this.version++
  }

  /**
   * An answer sets the kernel's count to 0. Between two readings it may have been 0 and grown again. Example: it was 2, and the third
   * try was due at 10 s. At 13 s it is 2 again. So the peer has answered meanwhile, and the time begins anew.
   */
  #next ({ key, tries, wait }: UnansweredRow, now: number): Unanswered {
    const before = this.#unanswered.get(key)
    const due = now + wait * LATE + LATE_MS
    if (before === undefined || tries < before.tries) return { tries, due, since: now }
    if (tries > before.tries) return { tries, due, since: before.since }
    return now > before.due ? { tries, due, since: now } : before
  }
}

/**
 * Resolves at the end of a table, or where reading fails: a system has no IPv6, or the process may open no more files. Callbacks take
 * two thirds of the time that a `FileHandle` takes.
 */
function readTable (path: string, digits: number, found: (row: UnansweredRow) => void): Promise<void> {
  return new Promise(resolve => {
    open(path, (error, file) => {
      if (error !== null) return resolve()
      const buffer = Buffer.allocUnsafeSlow(BUFFER)
      let kept = 0
      const more = (): void => read(file, buffer, kept, BUFFER - kept, null, (error, length) => {
        if (error !== null || length === 0) return close(file, () => resolve())
        kept = readRows(buffer, kept + length, digits, found)
        more()
      })
      more()
    })
  })
}

/** Some containers hide the file, or show an empty one. */
function isReadable (): boolean {
  if (process.platform !== 'linux') return false
  try {
    const file = openSync(TCP, 'r')
    try {
      const buffer = Buffer.alloc(BUFFER)
      return /^ +sl +local_address /.test(buffer.toString('latin1', 0, readSync(file, buffer)))
    } finally {
      closeSync(file)
    }
  } catch {
    return false
  }
}

export const tcpTable = new TcpTable()
