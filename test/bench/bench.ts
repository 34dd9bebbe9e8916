// What a scenario works with: processes, and how large it may be on this machine.
import { RedisServer } from '../support/redis-server.js'
import { fileLimit, mostClients } from './files.js'
import { Process } from './rpc.js'
import type { LoadMethods } from './processes/load.js'
import type { PingerMethods } from './processes/pinger.js'
import type { ServerMethods } from './processes/server.js'
import type { SubjectName } from './subjects/index.js'
import type { SubjectOptions } from './subjects/subject.js'

/** How long a run may take, in milliseconds. */
const DEADLINE = 180_000

/** A server and its clients, in processes of their own. */
export interface Setup {
  readonly server: Process<ServerMethods>['call']
  readonly load: Process<LoadMethods>['call']
  readonly pinger: Process<PingerMethods>['call']
  readonly port: number
}

/** The instances that a scenario needs. */
export interface Cluster {
  readonly subject: SubjectName
  readonly instances: number
  /** The settings of the Redis that the instances share, or `null` for no Redis. */
  readonly redis: readonly string[] | null
}

/** Instances and their clients. They and Redis share the cores: no process has its own. */
export interface ClusterSetup {
  readonly redis: RedisServer | null
  readonly servers: ReadonlyArray<Process<ServerMethods>>
  readonly load: Process<LoadMethods>['call']
}

export class Bench {
  /** What was made smaller, and why. */
  readonly notes = new Set<string>()
  readonly #quick: boolean
  /** Flags for Node in the measured process. */
  readonly #flags: readonly string[]

  /**
   * @param quick for a small run that only shows that everything works. Its figures mean nothing.
   * @param profiles a folder for CPU profiles of the measured processes
   */
  constructor (quick: boolean, profiles: string | undefined) {
    this.#quick = quick
    this.#flags = profiles === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profiles}`]
  }

  /** How many clients there can be, if a scenario wants this number. */
  clients (wanted: number): number {
    if (this.#quick) return Math.min(wanted, 60)
    if (wanted <= mostClients) return wanted
    this.notes.add(`${mostClients} clients in place of ${wanted}: a process may open ${fileLimit} files (ulimit -n)`)
    return mostClients
  }

  /** How long, or how often, something may be done, if a scenario wants this number. */
  amount (wanted: number): number {
    return this.#quick ? Math.ceil(wanted / 50) : wanted
  }

  async with<Result> (subject: SubjectName, options: SubjectOptions, work: (setup: Setup) => Promise<Result>): Promise<Result> {
    const server = new Process<ServerMethods>('server', [subject, JSON.stringify(options)], 0, this.#flags)
    const load = new Process<LoadMethods>('load', [], 1)
    const pinger = new Process<PingerMethods>('pinger', [], 1)
    try {
      return await inTime(async () => {
        const port = await server.call.port()
        return await work({ server: server.call, load: load.call, pinger: pinger.call, port })
      })
    } finally {
      await Promise.all([server.end(), load.end(), pinger.end()])
    }
  }

  async cluster<Result> ({ subject, instances, redis: settings }: Cluster, work: (setup: ClusterSetup) => Promise<Result>): Promise<Result> {
    let removeRedis = async (): Promise<void> => {}
    const processes: Array<{ end (): Promise<void> }> = []
    try {
      const redis = settings === null
        ? null
        : await RedisServer.start({ teardown: callback => { removeRedis = async () => { await callback() } } }, ...settings)
      const options: SubjectOptions = { hub: {}, ...(redis !== null && { redis: redis.url }) }
      const servers = Array.from({ length: instances }, () => new Process<ServerMethods>('server', [subject, JSON.stringify(options)], null, this.#flags))
      const load = new Process<LoadMethods>('load', [], null)
      processes.push(...servers, load)
      return await inTime(() => work({ redis, servers, load: load.call }))
    } finally {
      await Promise.all(processes.map(process => process.end()))
      await removeRedis()
    }
  }
}

async function inTime<Result> (work: () => Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`took more than ${DEADLINE / 1000} s`)), DEADLINE)
  })
  try {
    return await Promise.race([deadline, work()])
  } finally {
    clearTimeout(timer)
  }
}
