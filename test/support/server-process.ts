// A server in its own process. It is run from its source, as a user would run it.
import { once } from 'node:events'
import rootTest, { type Test } from 'tap'
import { spawnProgram, type Program } from './spawn-program.js'

export interface ServerProcess {
  readonly child: Program
  /** Where it listens, such as `http://127.0.0.1:1234`. */
  readonly address: string
}

/**
 * Starts a program and waits for the address in its output. It has a free port unless `env` names one. It is killed when the
 * test ends.
 */
export async function startServer (t: Test, file: string, env: Record<string, string> = {}, ...args: string[]): Promise<ServerProcess> {
  const child = spawnProgram(t, file, { args, env: { PORT: '0', ...env } })
  let output = ''
  const address = new Promise<string>((resolve, reject) => {
    const read = (part: string): void => {
      output += part
      const found = /https?:\/\/(?:127\.0\.0\.1|localhost|\[::1\]):\d+/.exec(output)
      if (found !== null) resolve(found[0])
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    child.on('exit', code => reject(new Error(`${file} ended with ${code}: ${output}`)))
  })
  return { child, address: await address }
}

let examples: Promise<ServerProcess> | undefined

/** The examples' server. It is started once, for all tests of this process that do not change it. */
export async function examplesServer (): Promise<ServerProcess> {
  return await (examples ??= startServer(rootTest, 'examples/server.ts'))
}

/** Asks a server to end, and resolves with its exit code. */
export async function stopServer ({ child }: ServerProcess): Promise<number | null> {
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit') as [number | null]
  return code
}
