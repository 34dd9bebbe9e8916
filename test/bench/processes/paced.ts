// Clients that read a stream of states at a given rate of bytes.
import { connect, type Socket } from 'node:net'
import { ChunkReader } from '../chunk-reader.js'
import { now } from '../payload.js'
import { serve } from '../rpc.js'

/** Milliseconds between two reads. */
const TURN = 50
const NUMBER = /\{"n":"(\d+)"/g

/** Notes which events a client has read, and when. */
class Reader extends ChunkReader {
  readonly numbers: Array<[number: number, time: number]> = []
  #rest = ''

  protected readBody (bytes: Buffer, at: number, end: number): void {
    const text = this.#rest + bytes.toString('latin1', at, end)
    const last = text.lastIndexOf('\n\n') + 2
    for (const [, digits] of text.slice(0, last).matchAll(NUMBER)) this.numbers.push([Number(digits), now()])
    this.#rest = text.slice(last)
  }
}

class Client {
  readonly reader = new Reader()
  readonly socket: Socket
  /** The time of each read, and how many bytes the client had read until then. */
  readonly samples: Array<[time: number, read: number]> = []
  readonly ended: Promise<never>
  #read = 0

  constructor (path: string, id: number) {
    // Bytes that Node reads ahead have left the server, like those in the kernel's buffers. So Node may read only 1 KB ahead.
    this.socket = connect({ path, readableHighWaterMark: 1024 } as never)
    this.ended = new Promise((_resolve, reject) => this.socket.on('close', () => reject(new Error(`client ${id} was closed`))))
    this.ended.catch(() => {})
    this.socket.on('error', () => {})
    this.socket.write(`GET /events?slow=${id} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n`)
    this.socket.on('readable', () => {})
  }

  read (most: number): number {
    const count = Math.min(most, this.socket.readableLength)
    const bytes: Buffer | null = count === 0 ? this.socket.read(0) : this.socket.read(count)
    if (bytes !== null) {
      this.#read += bytes.length
      this.reader.read(bytes, bytes.length)
    }
    this.samples.push([now(), this.#read])
    return bytes?.length ?? 0
  }
}

let clients: Client[] = []
let reading: NodeJS.Timeout | undefined

/** How many samples there are before the first one that does not hold the condition. */
function countWhile<Sample> (samples: readonly Sample[], holds: (sample: Sample) => boolean): number {
  let low = 0
  let high = samples.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (holds(samples[middle]!)) low = middle + 1
    else high = middle
  }
  return low
}

/** The last sample at or before a time. */
function sampleAt<Sample extends readonly [time: number, ...values: number[]]> (samples: readonly Sample[], time: number): Sample {
  return samples[Math.max(0, countWhile(samples, ([at]) => at <= time) - 1)]!
}

const methods = {
  /** Connects, and reads everything until every client has this number of events. */
  async connect ({ path, count, events }: { path: string, count: number, events: number }): Promise<void> {
    clients = Array.from({ length: count }, (_, id) => new Client(path, id))
    while (clients.some(({ reader }) => reader.numbers.length < events)) {
      for (const client of clients) while (client.read(Infinity) > 0);
      await Promise.race([new Promise(resolve => setTimeout(resolve, 10)), ...clients.map(({ ended }) => ended)])
    }
  },

  /** From now on the clients read at a rate. */
  pace (bytesPerSecond: number): void {
    let last = now()
    const credits = clients.map(() => 0)
    reading = setInterval(() => {
      const time = now()
      for (const [i, client] of clients.entries()) {
        credits[i]! += (time - last) * bytesPerSecond / 1e6
        // If there was nothing to read, the client does not read faster later to make up for it.
        credits[i] = Math.min(bytesPerSecond, credits[i]! - client.read(Math.floor(credits[i]!)))
      }
      last = time
    }, TURN)
  },

  /**
   * How late the new values of keys were, in seconds: from the change of a key until its next value was read.
   * @param times when each event was published
   * @param samples for each client, at the server: the time, bytes that the kernel had taken, bytes that waited in the process
   * @returns the worst of each: `lag` is the time from the reading of all bytes that the kernel had when the key changed.
   *   `excess` is the time from the reading of all bytes that the kernel had and that waited. `lap` is the reading time of the
   *   bytes that waited.
   */
  judge ({ symbols, times, samples }: { symbols: number, times: readonly number[], samples: ReadonlyArray<ReadonlyArray<readonly [number, number, number]>> }) {
    clearInterval(reading)
    const worst = { excess: 0, lag: 0, lap: 0 }
    for (const [id, { samples: reads, reader, socket }] of clients.entries()) {
      const there = samples[id]!
      /** When the client had read this number of bytes. */
      const readAt = (bytes: number): number => reads[countWhile(reads, ([, read]) => read < bytes)]?.[0] ?? Infinity
      const judge = (number: number, readIt: number): void => {
        const changed = times[number]
        // What changed before the first sample belongs to the initial states.
        if (changed === undefined || changed < there[0]![0]) return
        const [, taken, waiting] = sampleAt(there, changed)
        const due = readAt(taken + waiting)
        worst.excess = Math.max(worst.excess, (readIt - due) / 1e6)
        worst.lag = Math.max(worst.lag, (readIt - readAt(taken)) / 1e6)
        if (due < Infinity) worst.lap = Math.max(worst.lap, (due - readAt(taken)) / 1e6)
      }
      const had = new Map<number, number>()
      for (const [number, time] of reader.numbers) {
        const before = had.get(number % symbols)
        had.set(number % symbols, number)
        if (before === undefined) continue
        if (number <= before) throw new Error(`a key of client ${id} went from ${before} to ${number}`)
        judge(before + symbols, time)
      }
      // These are the changes that the client has not read yet.
      for (const before of had.values()) judge(before + symbols, reads.at(-1)![0])
      socket.destroy()
    }
    return worst
  }
}

export type PacedMethods = typeof methods

serve(methods)
