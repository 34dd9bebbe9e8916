// Programs in processes of their own: an example from its source, `.mjs` with the built package, as its users have it, and
// the tests' own programs from what `npm run build:tests` made of them.
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import type { Readable } from 'node:stream'
import type { Test } from 'tap'
import { root } from './root.js'

/** What prints, and is told nothing. */
export type Program = ChildProcessByStdio<null, Readable, Readable>

export interface ProgramOptions {
  readonly args?: readonly string[]
  readonly nodeArgs?: readonly string[]
  readonly env?: Record<string, string>
}

/**
 * The environment of a program. Without tap's loader, which tap puts into NODE_OPTIONS: it takes as long as the program itself
 * takes to start, and the coverage of what it loads (tsx's output, the built package) is not recorded.
 */
export function programEnv (env: Record<string, string> = {}): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...own } = process.env
  return { ...own, ...env }
}

/** Runs a program, its path relative to the repository. It is killed when the test ends. */
export function spawnProgram (t: Test, file: string, { args = [], nodeArgs = [], env = {} }: ProgramOptions = {}): Program {
  const compiled = file.startsWith('test/') ? `build/${file.replace(/\.ts$/, '.js')}` : file
  const loader = compiled.endsWith('.ts') ? ['--import', 'tsx'] : []
  const child = spawn(process.execPath, [...nodeArgs, ...loader, compiled, ...args], {
    cwd: root,
    env: programEnv(env),
    stdio: ['ignore', 'pipe', 'pipe'],
    // Far beyond what any takes: one that hangs fails its test instead of holding it up.
    timeout: 280_000
  })
  child.stdout.setEncoding('utf8')
  child.stderr.setEncoding('utf8')
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Resolves when a program has ended, with all that it printed. */
export async function ended (child: Program): Promise<Ended> {
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', text => { stdout += text })
  child.stderr.on('data', text => { stderr += text })
  const code = await new Promise<number | null>(resolve => child.once('close', resolve))
  return { code, stdout, stderr }
}
