// Which code of `lib/` each test file runs, by V8's own coverage. What is known of a test file is kept in `node_modules/.cache`
// until the file, `lib/` or `test/support/` changes.
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from '../support/root.js'
import type { Workplace } from './workplace.js'

/** No test file takes longer, even on a busy machine. */
const LIMIT = 300_000

export interface Covered {
  readonly passed: boolean
  readonly ms: number
  /** By compiled file, the places in it that were run: from, up to, from, up to ... */
  readonly places: Record<string, readonly number[]>
}

interface Script {
  readonly url: string
  readonly functions: ReadonlyArray<{ readonly ranges: ReadonlyArray<{ readonly startOffset: number, readonly endOffset: number, readonly count: number }> }>
}

/** Marks what a script ran. An inner range counts more than the range around it. */
function mark (ran: Uint8Array, { functions }: Script): void {
  const own = new Uint8Array(ran.length)
  const ranges = functions.flatMap(each => each.ranges).sort((a, b) => a.startOffset - b.startOffset || b.endOffset - a.endOffset)
  for (const { startOffset, endOffset, count } of ranges) own.fill(count > 0 ? 1 : 0, startOffset, endOffset)
  own.forEach((value, place) => { ran[place]! |= value })
}

function edges (ran: Uint8Array): number[] {
  const places: number[] = []
  for (let place = 0; place <= ran.length; place++) {
    if ((ran[place] ?? 0) !== (ran[place - 1] ?? 0)) places.push(place)
  }
  return places
}

async function cover (place: Workplace, name: string): Promise<Covered> {
  const folder = join(place.path, 'coverage-of-one')
  rmSync(folder, { recursive: true, force: true })
  const { passed, ms } = await place.test([name], LIMIT, { NODE_V8_COVERAGE: folder })
  mkdirSync(folder, { recursive: true })
  const prefix = pathToFileURL(join(place.path, 'build/')).href
  const ran = new Map<string, Uint8Array>()
  for (const file of readdirSync(folder)) {
    for (const script of (JSON.parse(readFileSync(join(folder, file), 'utf8')) as { result: Script[] }).result) {
      if (!script.url.startsWith(`${prefix}lib/`)) continue
      const path = script.url.slice(prefix.length)
      const places = ran.get(path) ?? new Uint8Array(readFileSync(join(place.path, 'build', path), 'utf8').length)
      ran.set(path, places)
      mark(places, script)
    }
  }
  return { passed, ms, places: Object.fromEntries(Array.from(ran, ([path, places]) => [path, edges(places)])) }
}

/** Tells apart what is in `lib/` and `test/support/`. */
function hashOf (build: string): string {
  const hash = createHash('sha256')
  for (const file of readdirSync(build, { recursive: true, encoding: 'utf8' }).sort()) {
    if (/^(?:lib|test\/support)\/.*\.js$/.test(file)) hash.update(file).update(readFileSync(join(build, file)))
  }
  return hash.digest('hex')
}

/** What each of these test files covers. */
export async function coverageOf (names: readonly string[], places: readonly Workplace[]): Promise<Map<string, Covered>> {
  const folder = `${root}node_modules/.cache/mutants/`
  mkdirSync(folder, { recursive: true })
  const build = join(places[0]!.path, 'build')
  const common = hashOf(build)
  const covered = new Map<string, Covered>()
  const left = names.values()
  await Promise.all(places.map(async place => {
    for (const name of left) {
      const file = `${folder}${name.replaceAll('/', '-')}.json`
      const hash = createHash('sha256').update(common).update(readFileSync(join(build, `test/${name}.test.js`))).digest('hex')
      let known: { hash: string, covered: Covered } | undefined
      try { known = JSON.parse(readFileSync(file, 'utf8')) } catch { /* It was not run yet. */ }
      if (known?.hash !== hash) {
        known = { hash, covered: await cover(place, name) }
        writeFileSync(file, JSON.stringify(known))
      }
      covered.set(name, known.covered)
    }
  }))
  return covered
}

/** Whether a place was run. */
export function runs ({ places }: Covered, file: string, place: number): boolean {
  const from = (places[file] ?? []).findLastIndex(edge => edge <= place)
  return from !== -1 && from % 2 === 0
}

/** How near a test is to a file: the file's share of all code that the test runs. */
export function nearness ({ places }: Covered, file: string): number {
  const sizeOf = (edges: readonly number[] = []): number => edges.reduce((sum, edge, index) => sum + (index % 2 === 0 ? -edge : edge), 0)
  return sizeOf(places[file]) / Object.values(places).reduce((sum, edges) => sum + sizeOf(edges), 0)
}
