// Programs in their own processes. TypeScript is run from its source. `.mjs` files use the built package, as users do.
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import type { Readable } from 'node:stream'
import type { Test } from 'tap'
import { root } from './root.js'

/** It only prints, and gets no input. */
export type Program = ChildProcessByStdio<null, Readable, Readable>

export interface ProgramOptions {
  readonly args?: readonly string[]
  readonly nodeArgs?: readonly string[]
  readonly env?: Record<string, string>
}

/**
 * Runs a program. Its path is relative to the repository. It is killed when the test ends. tap records no coverage in it,
 * because that would be of tsx's output, whose lines differ from the source's.
 */
export function spawnProgram (t: Test, file: string, { args = [], nodeArgs = [], env = {} }: ProgramOptions = {}): Program {
  const loader = file.endsWith('.mjs') ? [] : ['--import', 'tsx']
  const child = spawn(process.execPath, [...nodeArgs, ...loader, file, ...args], {
    cwd: root,
    env: { ...process.env, ...env, _TAPJS_PROCESSINFO_COVERAGE_: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
    // No program needs this long. A program that hangs then fails its test and does not block it.
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

/** Resolves with all output when a program has ended. */
export async function ended (child: Program): Promise<Ended> {
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', text => { stdout += text })
  child.stderr.on('data', text => { stderr += text })
  const code = await new Promise<number | null>(resolve => child.once('close', resolve))
  return { code, stdout, stderr }
}
