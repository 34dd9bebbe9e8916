// Measures the hub alone, in this process. The streams keep nothing.
import { MemoryBroker } from '../../lib/brokers/memory.js'
import { coreOf, Hub } from '../../lib/hub/hub.js'
import { hubOptions } from '../../lib/options.js'
import type { OutboxStream } from '../../lib/client/client-stream.js'
import { setTimeout } from 'node:timers/promises'
import { now, payloadOf } from './payload.js'
import { summary } from './statistics.js'

/** A hub with many channels and one subscriber for each. */
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

/** Rooms with kept events, and clients that connect one after the other. */
export interface Replays {
  readonly rooms: number
  /** Events in each room. They are published to one room after the other. */
  readonly events: number
  /** In how many rooms each client is. With 1,000 rooms no two of the first 1,000 clients are in the same ones. */
  readonly joined: number
  /** Whether each event excepts somebody else. */
  readonly except: boolean
  readonly clients: number
  readonly size: number
}

export interface ReplayCost {
  /** Microseconds for the visits in which a client gets the kept events, the median of all clients. */
  readonly perReplay: number
  /** Microseconds of the longest visit of the median client. */
  readonly perVisit: number
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
  readonly overtaken = false
  readonly overTcp = false
  chunks = 0
  write (chunks: readonly unknown[]): boolean {
    this.chunks += chunks.length
    return true
  }

  unansweredSince (now: number): number { return now }
  pingUnansweredSince (now: number): number { return now }
  keepAlive (): void {}
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

/** Clients that come before the measured ones, so that the code is compiled. They are in one room more: they share no bytes with them. */
const WARM_UP = 500
/** Clients in one turn of the event loop. */
const TURN = 50

/** The rooms of one client. The steps have no divisor in common with 1,000. */
function roomsOf (client: number, rooms: number, joined: number): string[] {
  const step = [1, 3, 7, 9, 11, 13, 17, 19][client % 8]!
  return Array.from({ length: Math.min(rooms, joined) }, (_, index) => `r${(client * 37 + index * step) % rooms}`)
}

export async function replayCost ({ rooms, events, joined, except, clients, size }: Replays): Promise<ReplayCost> {
  const hub = new Hub(hubOptions({ historySize: events, maxChannelsPerClient: joined + 1 }), new MemoryBroker(), log as never)
  const { connections, counters } = coreOf(hub)
  await coreOf(hub).start()
  for (let event = 0; event < events; event++) {
    for (let room = 0; room < rooms; room++) {
      await hub.toChannel(`r${room}`, 'message', payloadOf(event, size).data, except ? { except: `user-${event % 50}` } : {})
    }
  }
  /** The times of the visits of one client, in microseconds. */
  const visits = (channels: readonly string[]): number[] => {
    const client = connections.open(channels, {}, { lastEventId: () => null, admitsGzip: () => false })
    client.attach(new Sink())
    connections.enter(client, channels)
    client.onOpen()
    const end = counters.replayed + channels.length * events
    const times: number[] = []
    while (counters.replayed < end) {
      const startedAt = performance.now()
      client.visit(Math.floor(startedAt))
      times.push((performance.now() - startedAt) * 1000)
    }
    client.cut()
    return times
  }
  const replays: number[] = []
  const longest: number[] = []
  for (let index = -WARM_UP; index < clients; index++) {
    const times = visits(index < 0 ? roomsOf(-index, rooms, joined + 1) : roomsOf(index, rooms, joined))
    if (index >= 0) {
      replays.push(times.reduce((sum, time) => sum + time, 0))
      longest.push(Math.max(...times))
    }
    if (index % TURN === 0) await setTimeout(0)
  }
  return { perReplay: summary(replays).median, perVisit: summary(longest).median }
}
