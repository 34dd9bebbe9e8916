// What a run has found: checks that hold or don't, and figures, as tables.
import { summary } from '../bench/statistics.js'

export interface Check {
  readonly name: string
  readonly ok: boolean
  /** What was found. */
  readonly found: string
  /** Whether it depends on how busy the machine is, and on the length of the run: then it only counts in a full run. */
  readonly full: boolean
}

export interface Outcome {
  readonly title: string
  readonly checks: readonly Check[]
  /** A table, its head first. */
  readonly figures: ReadonlyArray<readonly string[]>
  /** What was measured, for whoever wants to draw it. */
  readonly samples: readonly unknown[]
}

export class Checks {
  readonly all: Check[] = []

  /** What must hold in every run. */
  that (name: string, ok: boolean, found: string): void {
    this.all.push({ name, ok, found, full: false })
  }

  /** Two figures that must be the same. */
  same (name: string, one: number, other: number): void {
    this.that(name, one === other, `${whole(one)} and ${whole(other)}`)
  }

  /** What must hold in a full run, on a machine that does nothing else. */
  full (name: string, ok: boolean, found: string): void {
    this.all.push({ name, ok, found, full: true })
  }
}

export function median (values: readonly number[]): number {
  return summary(values).median
}

/** The second fifth and the last one: by then all that is kept is kept, and what goes on growing has had time to. */
export function fifths<Item> (items: readonly Item[]): { readonly second: readonly Item[], readonly last: readonly Item[] } {
  const fifth = Math.max(1, Math.floor(items.length / 5))
  return { second: items.slice(fifth, 2 * fifth), last: items.slice(-fifth) }
}

export function whole (value: number): string {
  return value.toLocaleString('en', { maximumFractionDigits: 0 })
}

export function show ({ title, checks, figures }: Outcome, isFull: boolean): string {
  const verdict = ({ ok, full }: Check): string => ok ? 'ok' : full && !isFull ? 'not judged' : 'FAILED'
  const table = figures.length === 0 ? [] : [markdown(figures), '']
  return [`## ${title}`, '', ...table, markdown([['check', 'found', ''], ...checks.map(check => [check.name, check.found, verdict(check)])])].join('\n')
}

function markdown ([head, ...rows]: ReadonlyArray<readonly string[]>): string {
  return [head!, head!.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |`).join('\n')
}
