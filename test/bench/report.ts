// Makes the rows of the report from the figures of all runs: for each goal our figure, the figure it is compared with, and
// whether the goal is met.
import type { Figures, Goal, Scenario } from './scenarios/scenario.js'
import { number, summary, type Summary } from './statistics.js'
import { PEERS, type SubjectName } from './subjects/index.js'

/** The runs of one scenario for each subject, in the order of the rounds, or the error of a subject that failed. */
export type Runs = Map<SubjectName, Figures[] | Error>

export interface Row {
  readonly goal: string
  readonly scenario: string
  readonly unit: string
  /** The subject whose figure is judged. */
  readonly of: string
  readonly subjects: Readonly<Record<string, Summary | { readonly failed: string } | { readonly skipped: string }>>
  /** The subject it is compared with; `judged` then has the ratio of the two for each run. With `null`, it has the figure. */
  readonly versus: string | null
  readonly judged: Summary | null
  readonly bound: string
  /** A goal is met if the median is on the right side, and missed if the whole interval is on the wrong side. */
  readonly verdict: 'met' | 'missed' | 'open' | 'failed' | 'skipped' | ''
}

export function rowsOf (scenario: Scenario, runs: Runs): Row[] {
  return scenario.goals.map(goal => rowOf(scenario, goal, runs))
}

/** The rows of a scenario that can't be run on this machine. */
export function skipped (scenario: Scenario, why: string): Row[] {
  return rowsOf(scenario, new Map()).map(row => ({ ...row, subjects: { [row.of]: { skipped: why } }, verdict: 'skipped' }))
}

function rowOf (scenario: Scenario, goal: Goal, runs: Runs): Row {
  const figures = new Map<SubjectName, Summary>()
  const subjects: Record<string, Summary | { failed: string }> = {}
  for (const [subject, outcome] of runs) {
    if (outcome instanceof Error) {
      subjects[subject] = { failed: outcome.message.split('\n', 1)[0]! }
    } else {
      const result = summary(outcome.map(run => run[goal.figure]!))
      figures.set(subject, result)
      subjects[subject] = result
    }
  }
  const more = goal.atLeast !== undefined
  const versus = goal.versus === 'peers' ? best(figures, more) : goal.versus
  const of = goal.of ?? 'ours'
  const ours = figures.get(of)
  const other = versus === null ? undefined : figures.get(versus)
  const judged = ours === undefined || (goal.versus !== null && other === undefined)
    ? null
    : other === undefined ? ours : summary(ours.runs.map((value, run) => value / other.runs[run]!))
  const bound = more ? `≥ ${number(goal.atLeast!)}` : goal.atMost === undefined ? '' : `≤ ${number(goal.atMost)}`
  return { goal: goal.name, scenario: scenario.title, unit: goal.unit, of, subjects, versus, judged, bound, verdict: verdict(goal, judged) }
}

function best (figures: ReadonlyMap<SubjectName, Summary>, more: boolean): SubjectName | null {
  const peers = PEERS.filter(peer => figures.has(peer))
  const sign = more ? -1 : 1
  peers.sort((a, b) => sign * (figures.get(a)!.median - figures.get(b)!.median))
  return peers[0] ?? null
}

function verdict ({ atLeast, atMost }: Goal, judged: Summary | null): Row['verdict'] {
  if (judged === null) return 'failed'
  if (atLeast === undefined && atMost === undefined) return ''
  const [low, high] = judged.interval95
  const met = atLeast === undefined ? judged.median <= atMost! : judged.median >= atLeast
  if (met) return 'met'
  const missed = atLeast === undefined ? low > atMost! : high < atLeast
  return missed ? 'missed' : 'open'
}

/** The rows as a Markdown table. */
export function table (rows: readonly Row[]): string {
  const lines = rows.map(({ goal, unit, scenario, of, subjects, versus, judged, bound, verdict }) => {
    const result = (name: string): string => {
      const of = subjects[name]
      return of === undefined ? '' : 'skipped' in of ? `skipped: ${of.skipped}` : 'failed' in of ? `failed: ${of.failed}` : spread(of)
    }
    const ratio = judged === null ? '' : `${number(judged.median)} (${judged.interval95.map(number).join(' to ')})`
    const others = Object.keys(subjects).filter(name => name !== of && name !== versus).map(name => `${name}: ${result(name)}`)
    return [goal, scenario, unit, of === 'ours' ? result(of) : `${of}: ${result(of)}`, versus === null ? '' : `${versus}: ${result(versus)}`, versus === null ? '' : ratio, bound, verdict, others.join('; ')]
  })
  const head = ['goal', 'scenario', 'figure', 'fastify-sse-hub', 'set against', 'ratio (95 %)', 'goal', 'verdict', 'others']
  return [head, head.map(() => '---'), ...lines].map(cells => `| ${cells.join(' | ')} |`).join('\n')
}

function spread ({ median, min, max }: Summary): string {
  return min === max ? number(median) : `${number(median)} (${number(min)}–${number(max)})`
}
