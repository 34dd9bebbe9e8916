// Measures the hub alone, in this process. It has many channels with one subscriber each, and the streams keep nothing.
import { MemoryBroker } from '../../lib/brokers/memory.js'
import { coreOf, Hub } from '../../lib/hub/hub.js'
import { hubOptions } from '../../lib/options.js'
import type { OutboxStream } from '../../lib/client/client-stream.js'
import { setTimeout } from 'node:timers/promises'
import { now, payloadOf } from './payload.js'

export interface Channels {
  readonly count: number
  readonly publishes: number
  readonly size: number
}

export interface ChannelCost {
  /** Microseconds for a publish, including its write. */
  readonly perPublish: number
  /** Bytes of memory for a channel and its subscriber. */
  readonly perChannel: number
}

const log = { debug () {}, error () {}, warn () {}, child: () => log }

/** A stream that takes everything at once. */
class Sink implements OutboxStream {
  readonly open = true
  readonly piped = true
  readonly alive = true
  readonly finished = false
  readonly buffered = 0
  readonly left = 0
  readonly session = null
  chunks = 0
  write (chunks: readonly unknown[]): boolean {
    this.chunks += chunks.length
    return true
  }

  flushHead (): void {}
  end (): void {}
  abort (): void {}
  leave (): void {}
}

async function resident (): Promise<number> {
  for (let times = 0; times < 3; times++) {
    gc!()
    await setTimeout(50)
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

export async function channelCost ({ count, publishes, size }: Channels): Promise<ChannelCost> {
  const hub = new Hub(hubOptions({}), new MemoryBroker(), log as never)
  const { connections, counters, scheduler } = coreOf(hub)
  await coreOf(hub).start()
  const before = await resident()
  const sinks: Sink[] = []
  for (let index = 0; index < count; index++) {
    const channels = [`c${index}`]
    const client = connections.open(channels, {}, { lastEventId: () => null, admitsGzip: () => false })
    const sink = new Sink()
    sinks.push(sink)
    client.attach(sink)
    connections.enter(client, channels)
    client.onOpen()
  }
  await scheduler.settled()
  const perChannel = (await resident() - before) / count
  const greetings = sinks.reduce((sum, sink) => sum + sink.chunks, 0)
  // The step is coprime to the count, so it reaches all channels, in another order than that in which they were made.
  const step = 7919
  const startedAt = now()
  for (let index = 0; index < publishes; index++) {
    await hub.toChannel(`c${index * step % count}`, 'message', payloadOf(index, size).data)
  }
  await scheduler.settled()
  await scheduler.settled()
  const perPublish = (now() - startedAt) / publishes
  if (counters.delivered !== publishes) throw new Error(`${counters.delivered} of ${publishes} events were delivered`)
  if (greetings !== count) throw new Error(`${greetings} of ${count} clients were greeted`)
  return { perPublish, perChannel }
}
