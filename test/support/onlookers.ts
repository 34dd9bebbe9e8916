// Clients that are connected while something else fails. Each of them must get all events for it, in order and once. After
// the failure, the hub must know no other client.
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { received, type Open, type OpenStream, type ReceivedEvent } from './open.js'

const CHANNEL = 'onlookers'

export class Onlookers {
  readonly streams: OpenStream[] = []
  readonly #app: FastifyInstance
  readonly #published: ReceivedEvent[] = []

  static async open (app: FastifyInstance, open: Open, count = 3): Promise<Onlookers> {
    const onlookers = new Onlookers(app)
    for (let i = 0; i < count; i++) onlookers.streams.push(await open(CHANNEL, { broadcast: false, replay: 'none' }))
    return onlookers
  }

  private constructor (app: FastifyInstance) {
    this.#app = app
  }

  async publish (t: Test): Promise<void> {
    const data = this.#published.length
    const { id, recipients } = await this.#app.sse.toChannel(CHANNEL, 'seen', data)
    t.equal(recipients, this.streams.length)
    this.#published.push({ id, event: 'seen', data: String(data) })
  }

  /** Publishes once more and checks everything. */
  async check (t: Test): Promise<void> {
    await this.publish(t)
    for (const stream of this.streams) t.strictSame(await received(stream), this.#published)
    const count = this.streams.length
    t.match(this.#app.sse.stats(), { clients: count, channels: 1, dropped: 0, bufferedBytes: 0 })
    t.equal(this.#app.sse.clientCount(), count)
  }
}
