// Clients that read so many bytes a second, of a stream of states.
import { connect, type Socket } from 'node:net'
import { ChunkReader } from '../chunk-reader.js'
import { now } from '../payload.js'
import { serve } from '../rpc.js'

/** Between two reads, in milliseconds. */
const TURN = 50
const NUMBER = /\{"n":"(\d+)"/g

/** What a client has had, and when. */
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
  /** When, and how many bytes it had read. */
  readonly samples: Array<[time: number, read: number]> = []
  readonly ended: Promise<never>
  #read = 0

  constructor (path: string, id: number) {
    // What is read ahead of its turn has left the server, as what the kernel holds.
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

/** How many of the first samples hold a condition, which those behind them do not. */
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

/** The last sample that is not later. */
function sampleAt<Sample extends readonly [time: number, ...values: number[]]> (samples: readonly Sample[], time: number): Sample {
  return samples[Math.max(0, countWhile(samples, ([at]) => at <= time) - 1)]!
}

const methods = {
  /** Connects, and reads all until every client has so many events. */
  async connect ({ path, count, events }: { path: string, count: number, events: number }): Promise<void> {
    clients = Array.from({ length: count }, (_, id) => new Client(path, id))
    while (clients.some(({ reader }) => reader.numbers.length < events)) {
      for (const client of clients) while (client.read(Infinity) > 0);
      await Promise.race([new Promise(resolve => setTimeout(resolve, 10)), ...clients.map(({ ended }) => ended)])
    }
  },

  /** From here on reads at a rate. */
  pace (bytesPerSecond: number): void {
    let last = now()
    const credits = clients.map(() => 0)
    reading = setInterval(() => {
      const time = now()
      for (const [i, client] of clients.entries()) {
        credits[i]! += (time - last) * bytesPerSecond / 1e6
        // What there was nothing to read for is not read later at once.
        credits[i] = Math.min(bytesPerSecond, credits[i]! - client.read(Math.floor(credits[i]!)))
      }
      last = time
    }, TURN)
  },

  /**
   * How far behind keys were, in seconds: from when one changed until its next value was read.
   * @param times when each event was published
   * @param samples of each client, at the server: when, bytes that the kernel had taken, bytes that waited
   * @returns at most: how long after all was read that the kernel held and that waited when the key changed; how long after all
   *   was read that the kernel held; how long the rest of it took
   */
  judge ({ symbols, times, samples }: { symbols: number, times: readonly number[], samples: ReadonlyArray<ReadonlyArray<readonly [number, number, number]>> }) {
    clearInterval(reading)
    const worst = { excess: 0, lag: 0, lap: 0 }
    for (const [id, { samples: reads, reader, socket }] of clients.entries()) {
      const there = samples[id]!
      /** When it had read so many bytes. */
      const readAt = (bytes: number): number => reads[countWhile(reads, ([, read]) => read < bytes)]?.[0] ?? Infinity
      const judge = (number: number, readIt: number): void => {
        const changed = times[number]
        // What has changed before the samples begin is of the first state.
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
      // What it has not read yet.
      for (const before of had.values()) judge(before + symbols, reads.at(-1)![0])
      socket.destroy()
    }
    return worst
  }
}

export type PacedMethods = typeof methods

serve(methods)
