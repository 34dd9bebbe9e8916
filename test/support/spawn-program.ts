// Programs in their own processes. Examples run from their source. `.mjs` files use the built package, as users do. The
// tests' own programs run from what `npm run build:tests` has compiled.
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
 * The environment of a program, without tap's loader, which tap puts into NODE_OPTIONS. The loader takes as long as the program
 * itself takes to start, and records no coverage of what the program loads (tsx's output, the built package).
 */
export function programEnv (env: Record<string, string> = {}): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...own } = process.env
  return { ...own, ...env }
}

/** Runs a program. Its path is relative to the repository. It is killed when the test ends. */
export function spawnProgram (t: Test, file: string, { args = [], nodeArgs = [], env = {} }: ProgramOptions = {}): Program {
  const compiled = file.startsWith('test/') ? `build/${file.replace(/\.ts$/, '.js')}` : file
  const loader = compiled.endsWith('.ts') ? ['--import', 'tsx'] : []
  const child = spawn(process.execPath, [...nodeArgs, ...loader, compiled, ...args], {
    cwd: root,
    env: programEnv(env),
    stdio: ['ignore', 'pipe', 'pipe'],
    // No program needs this long. A program that hangs then fails its test and does not block it.
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

/** Resolves with all output when a program has ended. */
export async function ended (child: Program): Promise<Ended> {
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', text => { stdout += text })
  child.stderr.on('data', text => { stderr += text })
  const code = await new Promise<number | null>(resolve => child.once('close', resolve))
  return { code, stdout, stderr }
}
