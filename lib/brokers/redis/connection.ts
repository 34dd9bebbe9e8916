// Two connections of ours to Redis, one that writes and one that reads, made after the application's own client. That one
// is never closed.
import { Cluster, Redis } from 'ioredis'
import { PUBLISH, TIME, VOUCH } from './script.js'

/** How long a read waits in Redis for something new, in milliseconds. */
export const BLOCK = 1000

/** Round trips after which Redis's clock is taken anew. */
const OFFSETS = 8

type Client = Redis | Cluster
type Scripts = Record<'ssePublish' | 'sseTime' | 'sseVouch', (...args: unknown[]) => Promise<unknown>>

/**
 * What must hold whatever the application chose for its own client. Without a time limit on the socket a half-open
 * connection hangs for ever, with one on a command reads pile up on it, and without sending again a pending read is never
 * settled.
 */
function options (socketTimeout: number) {
  return {
    socketTimeout,
    connectTimeout: 2000,
    maxRetriesPerRequest: null,
    autoResendUnfulfilledCommands: true,
    enableOfflineQueue: true,
    enableAutoPipelining: false,
    // Its types don't say that these may be undone.
    commandTimeout: undefined as never,
    blockingTimeout: undefined as never,
    replyMapping: 'legacy' as const,
    stringNumbers: false,
    lazyConnect: false,
    retryStrategy: backoff,
    // It is a replica now: whoever is the master in its place is found by connecting again.
    reconnectOnError: ({ message }: Error) => message.startsWith('READONLY ')
  }
}

/** Milliseconds to wait before the next attempt: growing, with jitter, at most 2 s. */
export function backoff (attempt: number): number {
  return Math.min(2000, 50 * 2 ** Math.min(attempt - 1, 6)) * (0.5 + Math.random() / 2)
}

export class RedisConnection {
  /** How often the writer came back. */
  reconnects = 0
  /** How often the writer was lost: what was on its way then is sent again, and Redis may have had it before. */
  losses = 0
  /** Milliseconds that the last measured round trip took; `null` where none was. */
  roundTrip: number | null = null
  readonly writer: Client
  readonly reader: Client
  readonly #listeners: Array<() => void> = []
  readonly #key: string
  /** Of the last round trips, Redis's clock less `performance.now()` at their ends: it is that or more. */
  readonly #offsets: number[] = []
  #measured = false
  #closed = false

  /**
   * @param key any of the hub's
   */
  constructor (template: Client | string, key: string, onError: (error: Error) => void) {
    this.#key = key
    this.writer = duplicate(template, 5000)
    this.reader = duplicate(template, BLOCK + 3000)
    for (const client of [this.writer, this.reader]) client.on('error', onError)
    this.writer.defineCommand('ssePublish', { lua: PUBLISH })
    // A command without a key would go to any node of a cluster, and each has a clock of its own.
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

  /** Whether what is handed to the writer goes out at once. */
  get ready (): boolean {
    return this.#measured && this.writer.status === 'ready' && !this.#closed
  }

  /** Called whenever the writer has become ready. */
  onReady (listener: () => void): void {
    this.#listeners.push(listener)
  }

  /** A moment of `performance.now()` by Redis's clock, in milliseconds: rather too early, so that no deadline is late. */
  clock (moment: number): number {
    return moment + Math.max(...this.#offsets)
  }

  /** Takes the time of a round trip, and Redis's clock with it: only then is the writer ready. */
  async measure (): Promise<void> {
    const before = performance.now()
    const [seconds, micros] = await (this.writer as Client & Scripts).sseTime(this.#key) as [string, string]
    const after = performance.now()
    this.roundTrip = after - before
    if (!this.#measured) this.#offsets.length = 0
    this.#offsets.push(Number(seconds) * 1000 + Number(micros) / 1000 - after)
    if (this.#offsets.length > OFFSETS) this.#offsets.shift()
    if (this.#measured) return
    this.#measured = true
    for (const listener of this.#listeners) listener()
  }

  publish (keys: readonly string[], args: ReadonlyArray<string | number>): Promise<unknown> {
    return (this.writer as Client & Scripts).ssePublish(keys.length, ...keys, ...args)
  }

  async vouch (meta: string, epoch: string, n: number, knows: boolean): Promise<boolean> {
    return await (this.writer as Client & Scripts).sseVouch(meta, epoch, n, knows ? '1' : '0') === 1
  }

  close (): void {
    this.#closed = true
    this.writer.disconnect()
    this.reader.disconnect()
  }
}

function duplicate (template: Client | string, socketTimeout: number): Client {
  const overrides = options(socketTimeout)
  if (typeof template === 'string') return new Redis(template, overrides)
  if (template instanceof Cluster || 'nodes' in template) {
    const cluster = template as Cluster
    return cluster.duplicate([], { lazyConnect: false, enableOfflineQueue: true, enableAutoPipelining: false, scaleReads: 'master', clusterRetryStrategy: backoff, redisOptions: { ...cluster.options.redisOptions, ...overrides } } as never)
  }
  return template.duplicate(overrides)
}
