// A copy of the compiled code in a temporary folder, in which one mutant after the other is put and tested. All that a test reads
// besides is linked. The package that programs import, `dist/`, is the same code, so that they run the mutant too.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { programOf } from '../files.js'
import { root } from '../support/root.js'

export interface Ended {
  readonly passed: boolean
  readonly output: string
  /** It had not ended within the limit. */
  readonly hung: boolean
  readonly ms: number
}

export class Workplace {
  readonly path = realpathSync(mkdtempSync(join(tmpdir(), 'mutants-')))
  /** The running test's process. It leads a group with all that the test starts. */
  #running: number | undefined

  constructor () {
    process.on('exit', () => this.#remove())
    for (const name of readdirSync(root)) {
      if (!['.git', 'build', 'dist', 'package.json'].includes(name)) symlinkSync(join(root, name), join(this.path, name))
    }
    for (const name of ['build', 'package.json']) cpSync(join(root, name), join(this.path, name), { recursive: true })
    symlinkSync('build', join(this.path, 'dist'))
    mkdirSync(join(this.path, 'build/run'), { recursive: true })
  }

  /** Runs test files in one process, up to the first failure. */
  async test (names: readonly string[], limit: number, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
    writeFileSync(join(this.path, 'build/run/tests.js'), programOf(names))
    const began = performance.now()
    const child = spawn(process.execPath, ['build/run/tests.js'], {
      cwd: this.path,
      env: { ...process.env, SEED: '1', TAP_BAIL: '1', TAP_TIMEOUT: '0', ...env },
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true
    })
    this.#running = child.pid
    let output = ''
    child.stdout.setEncoding('utf8').on('data', text => { output += text })
    let hung = false
    const timer = setTimeout(() => {
      hung = true
      this.#end()
    }, limit)
    const [code] = await once(child, 'exit')
    clearTimeout(timer)
    this.#end()
    child.stdout.destroy()
    return { passed: code === 0, output, hung, ms: performance.now() - began }
  }

  /** Puts a changed file in, and gives the function that puts the former one back. */
  change (file: string, text: string): () => void {
    const path = join(this.path, 'build', file)
    const before = readFileSync(path)
    writeFileSync(path, text)
    return () => writeFileSync(path, before)
  }

  #end (): void {
    try {
      if (this.#running !== undefined) process.kill(-this.#running, 'SIGKILL')
    } catch { /* All of them have ended. */ }
    this.#running = undefined
  }

  #remove (): void {
    this.#end()
    rmSync(this.path, { recursive: true, force: true })
  }
}
