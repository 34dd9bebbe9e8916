// The results of a run: checks that hold or do not hold, and tables of figures.
import { summary } from '../bench/statistics.js'

export interface Check {
  readonly name: string
  readonly ok: boolean
  /** The figures that the check saw. */
  readonly found: string
  /** Whether it depends on how busy the machine is and how long the run is. Such a check counts only in a full run. */
  readonly full: boolean
}

export interface Outcome {
  readonly title: string
  readonly checks: readonly Check[]
  /** A table. Its first row is the head. */
  readonly figures: ReadonlyArray<readonly string[]>
  /** All measurements, for example to draw them. */
  readonly samples: readonly unknown[]
}

export class Checks {
  readonly all: Check[] = []

  /** Adds a check that must hold in every run. */
  that (name: string, ok: boolean, found: string): void {
    this.all.push({ name, ok, found, full: false })
  }

  /** Adds a check that two figures are the same. */
  same (name: string, one: number, other: number): void {
    this.that(name, one === other, `${whole(one)} and ${whole(other)}`)
  }

  /** Adds a check that must hold in a full run on a machine that does nothing else. */
  full (name: string, ok: boolean, found: string): void {
    this.all.push({ name, ok, found, full: true })
  }
}

export function median (values: readonly number[]): number {
  return summary(values).median
}

/** The second fifth and the last one. In the second, caches and history are full already; a leak has grown by the last. */
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
