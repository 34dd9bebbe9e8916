// A real Redis. A test that stops, fills, empties or configures a Redis starts its own, on a free port and with its own folder. A
// test that only uses one gets a database of the Redis that `test/run.ts` starts for all files.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { freePort, pathOf, without } from './programs.js'

/** For a test's options. */
export const withoutRedis = without('redis-server')

/** The environment variable with the port of the shared Redis. */
const SHARED = 'TEST_REDIS_PORT'

/** Starts a Redis for all files, and puts its port into their environment. Returns the function that ends it. */
export async function startSharedRedis (env: NodeJS.ProcessEnv): Promise<() => Promise<void>> {
  if (pathOf('redis-server') === '') return async () => {}
  const ends: Array<() => unknown> = []
  const server = await RedisServer.start({ teardown: end => { ends.push(end) } }, '--databases', '1000')
  env[SHARED] = String(server.port)
  return async () => { for (const end of ends) await end() }
}

/** What a test may use of a Redis that other tests may use as well. */
export interface RedisDatabase {
  readonly port: number
  readonly db: number
  readonly url: string
  readonly connect: (t: Test) => Redis
}

/** An empty database, of the shared Redis if there is one. Otherwise the test starts its own Redis. */
export async function redisDatabase (t: Test): Promise<RedisDatabase> {
  const shared = process.env[SHARED]
  const port = shared === undefined ? (await RedisServer.start(t)).port : Number(shared)
  // Database 0 counts the databases that are taken.
  const admin = connect(t, { port })
  const db = await admin.incr('databases')
  admin.disconnect()
  return { port, db, url: `redis://127.0.0.1:${port}/${db}`, connect: t => connect(t, { port, db }) }
}

function connect (t: Test, options: { readonly port: number, readonly password?: string, readonly db?: number }): Redis {
  const client = new Redis({ ...options })
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  return client
}

export class RedisServer {
  readonly port: number
  readonly folder: string
  readonly #args: readonly string[]
  #child: ChildProcess | null = null

  private constructor (port: number, folder: string, args: readonly string[]) {
    this.port = port
    this.folder = folder
    this.#args = args
  }

  /** Starts a Redis. When the test ends, it is killed and its folder is removed. */
  static async start (t: Pick<Test, 'teardown'>, ...args: string[]): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), mkdtempSync(join(tmpdir(), 'sse-redis-')), args)
    t.teardown(async () => {
      await server.kill()
      rmSync(server.folder, { recursive: true, force: true })
    })
    await server.run()
    return server
  }

  get url (): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Starts it, also again after it was killed. Resolves when it accepts connections. */
  async run (): Promise<void> {
    const child = spawn('redis-server', ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.folder, '--save', '', ...this.#args], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#child = child
    let output = ''
    await new Promise<void>((resolve, reject) => {
      child.stdout.on('data', part => {
        output += part
        if (output.includes('Ready to accept connections')) resolve()
      })
      child.once('exit', code => reject(new Error(`redis-server ended with ${code}: ${output}`)))
    })
  }

  /** Copies its append-only file as it is now. */
  copy (): void {
    rmSync(this.#aside, { recursive: true, force: true })
    cpSync(join(this.folder, 'appendonlydir'), this.#aside, { recursive: true })
  }

  /** Replaces its append-only file by the copy. It must not run then. */
  restore (): void {
    const file = join(this.folder, 'appendonlydir')
    rmSync(file, { recursive: true, force: true })
    cpSync(this.#aside, file, { recursive: true })
  }

  get #aside (): string {
    return join(this.folder, 'aside')
  }

  signal (signal: NodeJS.Signals): void {
    this.#child!.kill(signal)
  }

  async kill (): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  /** A client for the test itself. */
  connect (t: Test, options: { readonly password?: string, readonly db?: number } = {}): Redis {
    return connect(t, { ...options, port: this.port })
  }
}

/** A real Redis Cluster: three masters, each with a third of the slots. */
export async function startRedisCluster (t: Test, password: string): Promise<RedisServer[]> {
  const busPorts = [await freePort(), await freePort(), await freePort()]
  const servers = await Promise.all(busPorts.map(async busPort => await RedisServer.start(t, '--cluster-enabled', 'yes', '--cluster-port', String(busPort), '--requirepass', password)))
  const clients = servers.map(server => server.connect(t, { password }))
  for (const [i, client] of clients.entries()) {
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1))
    await client.call('CLUSTER', 'ADDSLOTSRANGE', String(Math.ceil(16_384 / 3 * i)), String(Math.ceil(16_384 / 3 * (i + 1)) - 1))
    if (i > 0) await client.call('CLUSTER', 'MEET', '127.0.0.1', String(servers[0]!.port), String(busPorts[0]))
  }
  for (const client of clients) {
    const formed = async (): Promise<boolean> => {
      const info = await client.cluster('INFO') as string
      return info.includes('cluster_state:ok') && info.includes('cluster_size:3')
    }
    while (!await formed()) await new Promise(resolve => setTimeout(resolve, 20))
  }
  return servers
}
