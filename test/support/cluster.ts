// What tests with several instances begin with: instances on one Redis, and readers on all of them.
import type { Test } from 'tap'
import { Instance, type InstanceOptions } from './instances.js'
import { Ledger } from './ledger.js'
import { Reader, type ReaderOptions } from './reader.js'

/** Channels for tests that need some. */
const CHANNELS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j']

/** The targets of events, in turn: one channel, sometimes two channels, and sometimes all clients. */
export const TARGETS: ReadonlyArray<readonly string[]> = [...CHANNELS.map(channel => [channel]), ['a', 'b'], ...CHANNELS.map(channel => [channel]), ['c', 'i'], []]

export class Cluster {
  readonly ledger = new Ledger()
  readonly instances: Instance[] = []
  readonly readers: Reader[] = []
  readonly #t: Test
  readonly #options: InstanceOptions
  #marks = 0
  #turn = 0

  private constructor (t: Test, options: InstanceOptions) {
    this.#t = t
    this.#options = options
  }

  static async start (t: Test, count: number, options: InstanceOptions): Promise<Cluster> {
    const cluster = new Cluster(t, options)
    await Promise.all(Array.from({ length: count }, () => cluster.add()))
    return cluster
  }

  /** Adds an instance. */
  async add (options: Partial<InstanceOptions> = {}): Promise<Instance> {
    const instance = await Instance.start(this.#t, this.ledger, { ...this.#options, ...options })
    this.instances.push(instance)
    return instance
  }

  /** Readers do not come back to this instance any more. */
  remove (instance: Instance): void {
    this.instances.splice(this.instances.indexOf(instance), 1)
  }

  /** Opens readers of two channels each on all instances. When a connection is closed, its reader comes back to another one. */
  async connect (count: number): Promise<void> {
    const channels = (i: number): string[] => [CHANNELS[i % 10]!, CHANNELS[(i * 3 + 1) % 10]!].filter((channel, at, all) => all.indexOf(channel) === at)
    await Promise.all(Array.from({ length: count }, (_, i) => this.reader({ name: `reader ${this.readers.length + i}`, channels: channels(i) })))
  }

  async reader (options: Omit<ReaderOptions, 'port'> & Partial<Pick<ReaderOptions, 'port'>>): Promise<Reader> {
    const reader = await Reader.open(this.#t, this.ledger, { port: () => this.next().port, ...options })
    this.readers.push(reader)
    return reader
  }

  /** Gives the instances in turn. */
  next (): Instance {
    return this.instances[this.#turn++ % this.instances.length]!
  }

  /** Resolves when every reader has everything that was published until now. */
  async settled (instance: Instance = this.instances[0]!): Promise<void> {
    const name = `mark ${++this.#marks}`
    instance.publish({ name, count: 1, targets: [[]], keyed: true })
    await instance.done(name)
    await Promise.all(this.readers.map(async reader => await reader.untilEvent(name, 1)))
  }
}
