// The measured process: it runs one subject and publishes through it.
import type { Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { channelCost, replayCost, type Channels, type Replays } from '../in-process.js'
import { flood, flow, rate, single, type Flood, type Flow, type Rate, type Single } from '../pace.js'
import { now, payloadOf } from '../payload.js'
import { serve } from '../rpc.js'
import { SUBJECTS, type SubjectName } from '../subjects/index.js'
import type { SubjectOptions } from '../subjects/subject.js'

const name = process.argv[2] as SubjectName
const options: SubjectOptions = JSON.parse(process.argv[3]!)
const subject = await SUBJECTS[name](options)
const sockets = new Set<Socket>()
subject.server.on('connection', (socket: Socket) => {
  sockets.add(socket)
  socket.on('close', () => sockets.delete(socket))
})
// Some peers reject when a client leaves.
process.on('unhandledRejection', () => {})

const methods = {
  port: () => (subject.server.address() as { port: number }).port,
  flood: (how: Flood) => flood(subject, how),
  single: (how: Single) => single(subject, sockets, how),
  rate: (how: Rate) => rate(subject, sockets, how),
  flow: (how: Flow) => flow(payload => subject.publish('all', payload), how),
  insist: (how: Flow) => flow(payload => subject.insist!('all', payload), how),
  fill: ({ count, size }: { count: number, size: number }) =>
    subject.fill!(Array.from({ length: count }, (_, index) => payloadOf(index + 1, size))),
  /** Publishes without a client, on one core. It tells how many publishes there are in a second. */
  async publish ({ milliseconds, size }: { milliseconds: number, size: number }): Promise<number> {
    const payload = payloadOf(1, size)
    const startedAt = now()
    const end = startedAt + milliseconds * 1000
    let count = 0
    do {
      for (let index = 0; index < 1000; index++) await subject.publish('all', payload)
      count += 1000
    } while (now() < end)
    return count / (now() - startedAt) * 1e6
  },
  channels: (how: Channels) => channelCost(how),
  replays: (how: Replays) => replayCost(how),
  /** The CPU time until now in microseconds, and the memory now in bytes. */
  async usage () {
    const { user, system } = process.cpuUsage()
    const { rss } = process.memoryUsage()
    return { cpu: user + system, rss, peak: process.resourceUsage().maxRSS * 1024 }
  },
  /** Resident bytes after garbage collection. */
  async resident (): Promise<number> {
    for (let times = 0; times < 3; times++) {
      gc!()
      await setTimeout(100)
    }
    return process.memoryUsage().rss
  }
}

export type ServerMethods = typeof methods

serve(methods)
