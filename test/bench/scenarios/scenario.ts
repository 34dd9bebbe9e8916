// What a scenario is: its subjects, what it does with each of them, and its goals.
import type { Bench } from '../bench.js'
import { PEERS, type SubjectName } from '../subjects/index.js'

/** The results of one run of one subject. The key is the name of the figure. */
export type Figures = Record<string, number>

export interface Goal {
  /** The name by which the command selects it. */
  readonly name: string
  readonly figure: string
  readonly unit: string
  /** The subject whose figure is judged. Without it, that is `ours`. */
  readonly of?: SubjectName
  /** What the figure is compared with: the best of the peers, or another subject. With `null`, the figure itself is judged. */
  readonly versus: 'peers' | SubjectName | null
  readonly atLeast?: number
  readonly atMost?: number
}

export interface Scenario {
  readonly title: string
  readonly subjects: readonly SubjectName[]
  /** Subjects that run in the first round only. Their figures are for information, because no goal needs more. */
  readonly once?: readonly SubjectName[]
  /** Whether the subjects may run at the same time. This is for scenarios that do not measure time. */
  readonly together?: boolean
  /** Why the scenario can't be run on this machine, or `false` if it can. */
  readonly skip?: string | false
  run (bench: Bench, subject: SubjectName): Promise<Figures>
  /** A goal without a bound is a figure for information. */
  readonly goals: readonly Goal[]
}

export const ALL: readonly SubjectName[] = ['ours', ...PEERS]
/** Bytes of an event's data. */
export const SIZE = 100
