// A real Redis of the test's own: on a free port, with a folder of its own.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { freePort, without } from './programs.js'

/** For a test's options. */
export const withoutRedis = without('redis-server')

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

  /** It is killed, and its folder removed, when the test ends. */
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

  /** Starts it, anew where it was killed, and waits until it answers. */
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

  /** Puts its append-only file aside as it is now. */
  copy (): void {
    rmSync(this.#aside, { recursive: true, force: true })
    cpSync(join(this.folder, 'appendonlydir'), this.#aside, { recursive: true })
  }

  /** Puts the copy in the place of its append-only file, while it does not run. */
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
    const client = new Redis({ ...options, port: this.port })
    client.on('error', () => {})
    t.teardown(() => client.disconnect())
    return client
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
