// A real Prometheus with the configuration of the example, except for the address of the app and the interval.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort, without } from './programs.js'
import { root } from './root.js'

/** For a test's options. */
export const withoutPrometheus = without('prometheus')

/** A sample of Prometheus's HTTP API: its labels, its time and its value. */
export interface PrometheusSample {
  readonly metric: Readonly<Record<string, string>>
  readonly value: readonly [time: number, value: string]
}

export class Prometheus {
  readonly #url: string

  private constructor (port: number) {
    this.#url = `http://127.0.0.1:${port}/api/v1`
  }

  /**
   * Starts a Prometheus that scrapes the app five times a second. When the test ends, the process is killed and its folder is
   * removed.
   */
  static async start (t: Test, appPort: number): Promise<Prometheus> {
    const folder = mkdtempSync(join(tmpdir(), 'sse-prometheus-'))
    const file = join(folder, 'prometheus.yml')
    const configuration = readFileSync(`${root}examples/metrics/prometheus.yml`, 'utf8')
    writeFileSync(file, configuration.replaceAll('127.0.0.1:3000', `127.0.0.1:${appPort}`).replace('scrape_interval: 5s', 'scrape_interval: 200ms'))
    const port = await freePort()
    const child = spawn('prometheus', [`--config.file=${file}`, `--storage.tsdb.path=${join(folder, 'data')}`, `--web.listen-address=127.0.0.1:${port}`, '--log.level=warn'],
      { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let over = false
    for (const stream of [child.stdout, child.stderr]) stream.on('data', part => { output += part })
    const exited = once(child, 'exit').then(() => { over = true })
    t.teardown(async () => {
      child.kill('SIGKILL')
      await exited
      rmSync(folder, { recursive: true })
    })
    const prometheus = new Prometheus(port)
    while (!await fetch(`http://127.0.0.1:${port}/-/ready`).then(({ ok }) => ok, () => false)) {
      if (over) throw new Error(`prometheus ended: ${output}`)
      await pause()
    }
    return prometheus
  }

  async query (query: string): Promise<PrometheusSample[]> {
    return (await this.#ask<{ result: PrometheusSample[] }>('query', { query })).result
  }

  /** All values of a label in the series of a selector. */
  async labelValues (label: string, selector: string): Promise<string[]> {
    return await this.#ask(`label/${label}/values`, { 'match[]': selector })
  }

  /** Repeats a query until a condition holds. That may take another scrape. */
  async until (query: string, holds: (samples: PrometheusSample[]) => boolean): Promise<PrometheusSample[]> {
    for (;;) {
      const samples = await this.query(query)
      if (holds(samples)) return samples
      await pause()
    }
  }

  async #ask<Data> (path: string, parameters: Record<string, string>): Promise<Data> {
    const response = await fetch(`${this.#url}/${path}?${new URLSearchParams(parameters).toString()}`)
    const { status, data, error } = await response.json() as { status: string, data: Data, error?: string }
    if (status !== 'success') throw new Error(`${error}: ${JSON.stringify(parameters)}`)
    return data
  }
}

/** What `promtool` complains of in a text of metrics. It is empty if all is well. */
export function lint (metrics: string): string {
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: metrics, encoding: 'utf8' })
  return status === 0 ? '' : `${stdout}${stderr}` || `ended with ${status}`
}

async function pause (): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, 50))
}
