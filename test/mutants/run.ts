// The command: changes `lib/` in one place at a time, and says which changes no test notices.
//   npm run mutants -- [FILE or FOLDER ...] [--sample N] [--seed N] [--jobs N] [--long]
import { readdirSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { all, groupOf, KINDS } from '../files.js'
import { Random } from '../support/random.js'
import { root } from '../support/root.js'
import { coverageOf, nearness, runs, type Covered } from './coverage.js'
import { equivalent } from './equivalent.js'
import { mutantsOf, type Mutant } from './mutate.js'
import { Workplace, type Ended } from './workplace.js'

/** So many test files, the nearest, run alone. The others share processes. */
const NEAREST = 3

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    sample: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    jobs: { type: 'string', default: String(availableParallelism()) },
    long: { type: 'boolean', default: false }
  }
})

const chosen = positionals.length > 0 ? positionals : ['hub', 'client', 'history', 'wire', 'transport'].map(room => `lib/${room}`)
const files = chosen.flatMap(path => statSync(`${root}${path}`).isFile()
  ? [path]
  : readdirSync(`${root}${path}`, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts')).sort().map(name => `${path}/${name}`))
const random = new Random(Number(options.seed))
const made = files.flatMap(mutantsOf).filter(({ source, key }) => equivalent[source]?.[key] === undefined)
const shuffled = made.map(mutant => ({ mutant, at: random.next() })).sort((a, b) => a.at - b.at).map(({ mutant }) => mutant)
const mutants = options.sample === undefined ? made : shuffled.slice(0, Number(options.sample))
console.log(`${mutants.length} of ${made.length} mutants, seed ${options.seed}`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))
const places = Array.from({ length: Number(options.jobs) }, () => new Workplace())
const covered = await coverageOf(all.filter(KINDS[options.long ? 'local' : 'quick']!), places)
for (const [name, { passed }] of covered) {
  if (!passed) console.log(`${name} fails without a mutant, so it is left out.`)
}

/** The processes to run. The first test files are near to the mutant's file, or short. */
function plan ({ file, start }: Mutant): string[][] {
  const names = [...covered].filter(([, each]) => each.passed && runs(each, file, start))
    .sort(([, a], [, b]) => nearness(b, file) / b.ms - nearness(a, file) / a.ms).map(([name]) => name)
  const groups = new Map<string, string[]>()
  for (const [index, name] of names.entries()) {
    const group = index < NEAREST ? name : groupOf(name)
    groups.set(group, [...groups.get(group) ?? [], name])
  }
  return [...groups.values()]
}

/** A process on a busy machine, with a mutant that costs time, takes longer. */
function limitOf (names: readonly string[]): number {
  return 15_000 + 4 * names.reduce((sum, name) => sum + (covered.get(name) as Covered).ms, 0)
}

/** The test that failed or hung: the last that began. */
function testOf ({ output }: Ended): string {
  const last = (pattern: RegExp): string => Array.from(output.matchAll(pattern)).at(-1)?.[1] ?? 'nothing was told'
  return `${last(/^# (\S+\/\S+)$/gm)}: ${last(/^# Subtest: (.*)$/gm)}`
}

const counts = { killed: 0, hung: 0, survived: 0 }
const left = mutants.values()
await Promise.all(places.map(async place => {
  for (const mutant of left) {
    const restore = place.change(mutant.file, mutant.text)
    let result: keyof typeof counts = 'survived'
    let by = ''
    for (const names of plan(mutant)) {
      const ended = await place.test(names, limitOf(names))
      // A test that fails on a busy machine only must not count.
      if (ended.passed || (!ended.hung && (await place.test(names, limitOf(names))).passed)) continue
      result = ended.hung ? 'hung' : 'killed'
      by = testOf(ended)
      break
    }
    restore()
    counts[result]++
    console.log(`${result.padEnd(8)} ${mutant.source}:${mutant.line}  ${mutant.change}  ${by}`)
    if (result === 'survived') console.log(`         ${mutant.key}`)
  }
}))
const { killed, hung, survived } = counts
console.log(`${killed} killed, ${hung} hung, ${survived} survived: ${Math.round(100 * (killed + hung) / mutants.length)} % noticed`)
