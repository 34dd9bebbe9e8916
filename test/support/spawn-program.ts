// Programs in processes of their own: TypeScript from its source, `.mjs` with the built package, as its users have it.
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
 * Runs a program, its path relative to the repository. It is killed when the test ends.
 * tap records no coverage in it: that would be of tsx's output, whose lines are not those of the source.
 */
export function spawnProgram (t: Test, file: string, { args = [], nodeArgs = [], env = {} }: ProgramOptions = {}): Program {
  const loader = file.endsWith('.mjs') ? [] : ['--import', 'tsx']
  const child = spawn(process.execPath, [...nodeArgs, ...loader, file, ...args], {
    cwd: root,
    env: { ...process.env, ...env, _TAPJS_PROCESSINFO_COVERAGE_: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Far beyond what any takes: one that hangs fails its test instead of holding it up.
    timeout: 110_000
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
