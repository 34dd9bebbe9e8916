// Calls between the runner and the processes that it starts, over Node's IPC channel.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'

type Methods = Record<string, (argument: never) => unknown>

/** What a process offers, as the type of the object that has its methods. */
export type Remote<Offered extends Methods> = {
  [Name in keyof Offered]: (...argument: Parameters<Offered[Name]>) => Promise<Awaited<ReturnType<Offered[Name]>>>
}

interface Call { readonly id: number, readonly method: string, readonly argument: unknown }
interface Answer { readonly id: number, readonly result?: unknown, readonly error?: string }

/** For a started process: it answers the runner's calls, and ends when the runner ends. */
export function serve (methods: Methods): void {
  process.on('message', async ({ id, method, argument }: Call) => {
    try {
      const result = await methods[method]!(argument as never)
      process.send!({ id, result } satisfies Answer)
    } catch (error) {
      process.send!({ id, error: error instanceof Error ? error.stack ?? error.message : String(error) } satisfies Answer)
    }
  })
  process.on('disconnect', () => process.exit())
}

/** How long a process may take to end, in milliseconds. */
const END = 10_000

/** Whether the system can keep a process on one core. */
export const pins = availableParallelism() > 1 && spawnSync('taskset', ['-c', '0', 'true']).status === 0

/** For the runner: a process, kept on one core if the system can do that. */
export class Process<Offered extends Methods> {
  readonly call: Remote<Offered>
  readonly #child: ChildProcess
  readonly #calls = new Map<number, { resolve: (result: unknown) => void, reject: (error: Error) => void }>()
  #id = 0

  /**
   * @param program a program of `processes/`, or the URL of another compiled file
   * @param core the core on which it is kept, or `null` for any
   * @param flags flags for Node, in addition to those that all processes have
   * @param under a command that runs the process, such as `unshare` with its flags
   */
  constructor (program: 'server' | 'load' | 'pinger' | URL, args: readonly string[], core: number | null, flags: readonly string[] = [], under: readonly string[] = []) {
    const file = fileURLToPath(program instanceof URL ? program : import.meta.resolve(`./processes/${program}.js`))
    const name = basename(file, '.js')
    const command = [process.execPath, '--expose-gc', ...flags, file, ...args]
    command.unshift(...under)
    if (pins && core !== null) command.unshift('taskset', '-c', String(core))
    this.#child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.#child.on('message', ({ id, result, error }: Answer) => {
      const call = this.#calls.get(id)!
      this.#calls.delete(id)
      if (error === undefined) call.resolve(result)
      else call.reject(new Error(`${name} ${args.join(' ')}: ${error}`))
    })
    this.#child.on('exit', (code, signal) => {
      for (const { reject } of this.#calls.values()) reject(new Error(`${name} ${args.join(' ')} ended: ${signal ?? code}`))
    })
    this.call = new Proxy({} as Remote<Offered>, {
      get: (_, method) => (argument: unknown) => this.#call(String(method), argument)
    })
  }

  #call (method: string, argument: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#calls.set(++this.#id, { resolve, reject })
      this.#child.send({ id: this.#id, method, argument } satisfies Call, error => { if (error !== null) reject(error) })
    })
  }

  get pid (): number {
    return this.#child.pid!
  }

  signal (signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async end (): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.disconnect()
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END)
    await exit
    clearTimeout(timer)
  }
}
