// A server in a process of its own, run from its source as a user would run it.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

const root = fileURLToPath(new URL('../../', import.meta.url))

export interface ServerProcess {
  readonly child: ChildProcess
  /** Where it listens, e.g. `http://127.0.0.1:1234`. */
  readonly address: string
}

/** Starts a file on a free port and waits for the address in its output. It is killed when the test ends. */
export async function startServer (t: Test, file: string): Promise<ServerProcess> {
  const child = spawn(process.execPath, ['--import', 'tsx', file], {
    cwd: root,
    env: { ...process.env, NODE_OPTIONS: '', PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  const address = new Promise<string>((resolve, reject) => {
    const read = (part: Buffer): void => {
      output += part.toString()
      const found = /http:\/\/(?:127\.0\.0\.1|localhost|\[::1\]):\d+/.exec(output)
      if (found !== null) resolve(found[0])
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    child.on('exit', code => reject(new Error(`${file} ended with ${code}: ${output}`)))
  })
  return { child, address: await address }
}

/** Asks a server to end and resolves with its exit code. */
export async function stopServer ({ child }: ServerProcess): Promise<number | null> {
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit') as [number | null]
  return code
}
