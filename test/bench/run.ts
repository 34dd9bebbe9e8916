// The command: runs the scenarios one after the other, with every subject in every round, and shows the results.
//   npm run bench -- [scenario …] [--rounds N] [--json FILE] [--profile FOLDER] [--quick]
import { writeFile } from 'node:fs/promises'
import { cpus, release } from 'node:os'
import { parseArgs } from 'node:util'
import { Bench } from './bench.js'
import { rowsOf, skipped, table, type Row, type Runs } from './report.js'
import { pins } from './rpc.js'
import { SCENARIOS } from './scenarios/index.js'
import type { Figures, Scenario } from './scenarios/scenario.js'
import { number } from './statistics.js'
import { SUBJECTS, type SubjectName } from './subjects/index.js'

const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    subject: { type: 'string', multiple: true },
    json: { type: 'string' },
    profile: { type: 'string' },
    quick: { type: 'boolean', default: false }
  }
})
const names = new Set(SCENARIOS.flatMap(({ goals }) => goals.map(({ name }) => name)))
const unknown = wanted.filter(name => !names.has(name))
const unknownSubjects = (options.subject ?? []).filter(name => !(name in SUBJECTS))
const rounds = options.quick ? 1 : Number(options.rounds)
if (unknown.length > 0 || unknownSubjects.length > 0 || !(rounds >= 1)) {
  console.error(`Usage: npm run bench -- [scenario …] [--rounds N] [--subject NAME …] [--json FILE] [--profile FOLDER] [--quick]
Scenarios: ${[...names].join(', ')}
Subjects: ${Object.keys(SUBJECTS).join(', ')}`)
  process.exit(2)
}

const bench = new Bench(options.quick, options.profile)
const scenarios = SCENARIOS.filter(({ goals }) => wanted.length === 0 || goals.some(({ name }) => wanted.includes(name)))

function progress (text: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`)
}

async function runScenario (scenario: Scenario, label: string): Promise<Row[]> {
  progress(`${label} ${scenario.title}`)
  if (typeof scenario.skip === 'string') return skipped(scenario, scenario.skip)
  const subjects = scenario.subjects.filter(subject => options.subject?.includes(subject) ?? true)
  const runs: Runs = new Map(subjects.map(subject => [subject, []]))
  const once = async (subject: SubjectName, round: number): Promise<void> => {
    const before = runs.get(subject)!
    // A subject that has failed once gives no figure.
    if (before instanceof Error) return
    try {
      const figures = await scenario.run(bench, subject)
      before.push(figures)
      progress(`${label}   ${round}/${rounds} ${subject}: ${show(figures)}`)
    } catch (error) {
      runs.set(subject, error as Error)
      progress(`${label}   ${round}/${rounds} ${subject} failed: ${(error as Error).message}`)
    }
  }
  for (let round = 1; round <= rounds; round++) {
    const present = subjects.filter(subject => round === 1 || scenario.once?.includes(subject) !== true)
    if (scenario.together === true) await Promise.all(present.map(subject => once(subject, round)))
    else for (const subject of present) await once(subject, round)
  }
  return rowsOf(scenario, runs)
}

function show (figures: Figures): string {
  return Object.entries(figures).map(([name, value]) => `${name} ${number(value)}`).join(', ')
}

const rows: Row[] = []
for (const [index, scenario] of scenarios.entries()) rows.push(...await runScenario(scenario, `[${index + 1}/${scenarios.length}]`))

const machine = `${cpus()[0]!.model.trim()}, ${cpus().length} cores, Linux ${release()}, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`
const notes = [...bench.notes]
if (!pins) notes.push('server and load client share their cores: there is no taskset, or only one core')
if (options.quick) notes.push('a quick run: it shows that all works, and its figures mean nothing')
console.log(`${table(rows)}\n\n${machine}; median and spread of ${rounds} runs.${notes.map(note => `\nNote: ${note}.`).join('')}`)
if (options.json !== undefined) await writeFile(options.json, JSON.stringify({ machine, rounds, notes, rows }, null, 2) + '\n')
process.exit(rows.some(({ verdict }) => verdict === 'failed' || (verdict === 'missed' && !options.quick)) ? 1 : 0)
