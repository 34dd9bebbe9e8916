// Instances of an application. Each is a process of its own and uses the built package.
import { spawn, type ChildProcess } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { existsSync } from 'node:fs'
import type { Test } from 'tap'
import type { RedisBrokerOptions } from '../../lib/brokers/redis/index.js'
import type { SSEPluginOptions, SSEStats } from '../../lib/index.js'
import type { Ending, Ledger } from './ledger.js'
import { root } from './root.js'
import { programEnv } from './spawn-program.js'

export interface InstanceOptions {
  readonly broker: Omit<RedisBrokerOptions, 'client'>
  /** Options of an `ioredis` client that the application gives to the broker. */
  readonly client?: object
  /** Options of an `ioredis` cluster that the application gives to the broker. */
  readonly cluster?: { readonly nodes: readonly object[], readonly options?: object }
  readonly hub?: SSEPluginOptions
}

/** What a publisher does. See `processes/instance.js`. */
export interface Publisher {
  /** It must be unique in the test. */
  readonly name: string
  /** How many events it publishes. Without it, it publishes until `finish`. */
  readonly count?: number
  /** How many events may be unanswered. */
  readonly window?: number
  /** How many events it publishes at a time, every `every` milliseconds. */
  readonly burst?: number
  /** Milliseconds between two bursts. Without `burst`, it publishes as fast as events are answered. */
  readonly every?: number
  /** The channels of the events, in turn. An empty list is a broadcast. */
  readonly targets: ReadonlyArray<readonly string[]>
  /** Whether each event has an idempotency key. Then an event in doubt may be published again. */
  readonly keyed?: boolean
  /** Whether a rejected event is published again. */
  readonly retries?: boolean
}

export class Instance {
  readonly child: ChildProcess
  port = 0
  readonly #ledger: Ledger
  readonly #news = new EventEmitter()
  #exited = false

  private constructor (child: ChildProcess, ledger: Ledger) {
    this.child = child
    this.#ledger = ledger
  }

  /** Starts an instance. It is killed when the test ends. */
  static async start (t: Test, ledger: Ledger, options: InstanceOptions): Promise<Instance> {
    if (!existsSync(`${root}dist/lib/index.js`)) throw new Error('the package is not built: run "npm run build"')
    const child = spawn(process.execPath, ['test/support/processes/instance.js', JSON.stringify(options)], {
      cwd: root,
      env: programEnv(),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc']
    })
    const instance = new Instance(child, ledger)
    t.teardown(() => instance.kill())
    child.on('message', message => instance.#told(message as Record<string, unknown>))
    child.on('exit', () => {
      instance.#exited = true
      instance.#news.emit('exit')
    })
    instance.port = await instance.#until('port') as number
    return instance
  }

  publish (publisher: Publisher): void {
    this.child.send({ publish: publisher })
  }

  /** Resolves when a publisher has published its last event and all its events are answered. */
  async done (name: string): Promise<void> {
    while (!this.#done.has(name)) await this.#until('done')
  }

  readonly #done = new Set<string>()

  /** Stops a publisher. Resolves when all its events are answered. */
  async finish (name: string): Promise<void> {
    this.child.send({ finish: name })
    await this.done(name)
  }

  async stats (): Promise<SSEStats> {
    this.child.send({ stats: true })
    return await this.#until('stats') as SSEStats
  }

  /** Blocks the instance's event loop. */
  hold (milliseconds: number): void {
    this.child.send({ hold: milliseconds })
  }

  signal (signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** Closes the application, and resolves when the process has ended by itself. */
  async close (): Promise<void> {
    this.child.send({ close: true })
    await this.#ended()
  }

  async kill (): Promise<void> {
    this.child.kill('SIGKILL')
    await this.#ended()
  }

  async #ended (): Promise<void> {
    if (!this.#exited) await once(this.#news, 'exit')
  }

  #told (message: Record<string, unknown>): void {
    if (message['endings'] !== undefined) for (const ending of message['endings'] as Ending[]) this.#ledger.ended(ending)
    if (message['done'] !== undefined) this.#done.add(message['done'] as string)
    for (const [name, value] of Object.entries(message)) this.#news.emit(name, value)
  }

  async #until (news: string): Promise<unknown> {
    const told = new AbortController()
    const { signal } = told
    try {
      return await Promise.race([
        once(this.#news, news, { signal }).then(([value]) => value as unknown),
        once(this.#news, 'exit', { signal }).then(() => { throw new Error('the instance has ended') })
      ])
    } finally {
      told.abort()
    }
  }
}
