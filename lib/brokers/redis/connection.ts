// The broker's two connections to Redis: one writes, one reads, so that a read that waits holds up no publish. It must not know
// what is written or read.
import { RedisClock } from './clock.js'
import { duplicate, type Client } from './duplicate.js'
import { PUBLISH, TIME, VOUCH } from './script.js'

/** How long a read waits in Redis for a new entry, in milliseconds. */
export const BLOCK = 1000

/** How long the sockets wait for an answer, in milliseconds. The reader's waits longer, since Redis itself waits for `BLOCK`. */
const WRITER_TIMEOUT = 5000
const READER_TIMEOUT = BLOCK + 3000

type Scripts = Record<'ssePublish' | 'sseTime' | 'sseVouch', (...args: unknown[]) => Promise<unknown>>

export class RedisConnection {
  /** How often the writer has reconnected. */
  reconnects = 0
  /** How often the writer lost its connection. What was on its way then is sent again, and Redis may have executed it already. */
  losses = 0
  /** How long the last measured round trip took, in milliseconds; `null` before the first one. */
  roundTrip: number | null = null
  readonly writer: Client
  readonly reader: Client
  readonly #listeners: Array<() => void> = []
  readonly #key: string
  readonly #clock = new RedisClock()
  #measured = false
  #closed = false

  /** @param key any key of the hub */
  constructor (template: Client | string, key: string, onError: (error: Error) => void) {
    this.#key = key
    this.writer = duplicate(template, WRITER_TIMEOUT)
    this.reader = duplicate(template, READER_TIMEOUT)
    for (const client of [this.writer, this.reader]) client.on('error', onError)
    this.writer.defineCommand('ssePublish', { lua: PUBLISH })
    // A cluster sends a command without a key to any node, and each node has a clock of its own.
    this.writer.defineCommand('sseTime', { numberOfKeys: 1, lua: TIME })
    this.writer.defineCommand('sseVouch', { numberOfKeys: 1, lua: VOUCH })
    for (const event of ['close', '-node']) this.writer.on(event, () => { this.losses++ })
    let before = false
    this.writer.on('ready', () => {
      if (before) this.reconnects++
      before = true
      this.#measured = false
      this.measure().catch(onError)
    })
  }

  /** Whether the writer sends a command at once. */
  get ready (): boolean {
    return this.#measured && this.writer.status === 'ready' && !this.#closed
  }

  /** The listener is called each time the writer becomes ready. */
  onReady (listener: () => void): void {
    this.#listeners.push(listener)
  }

  /** A moment of `performance.now()` by Redis's clock, in milliseconds. It is too early rather than too late. */
  clock (moment: number): number {
    return this.#clock.at(moment)
  }

  /** Measures a round trip, and Redis's clock with it. The writer is ready only after that: deadlines need the clock. */
  async measure (): Promise<void> {
    const before = performance.now()
    const [seconds, micros] = await (this.writer as Client & Scripts).sseTime(this.#key) as [string, string]
    const after = performance.now()
    this.roundTrip = after - before
    if (!this.#measured) this.#clock.reset()
    this.#clock.add(Number(seconds) * 1000 + Number(micros) / 1000, after)
    if (this.#measured) return
    this.#measured = true
    for (const listener of this.#listeners) listener()
  }

  publish (keys: readonly string[], args: ReadonlyArray<string | number>): Promise<unknown> {
    return (this.writer as Client & Scripts).ssePublish(keys.length, ...keys, ...args)
  }

  /**
   * Whether some instance vouches that Redis still has what it had; the script `VOUCH` has the rules.
   * @param knows whether this instance has read up to `n`, and so may vouch itself
   */
  async vouch (meta: string, epoch: string, n: number, knows: boolean): Promise<boolean> {
    return await (this.writer as Client & Scripts).sseVouch(meta, epoch, n, knows ? '1' : '0') === 1
  }

  close (): void {
    this.#closed = true
    this.writer.disconnect()
    this.reader.disconnect()
  }
}
