// What a scenario is: who takes part, what is done with each, and what is to come out.
import type { Bench } from '../bench.js'
import { PEERS, type SubjectName } from '../subjects/index.js'

/** What one run of one subject gives, by the name of the figure. */
export type Figures = Record<string, number>

export interface Goal {
  /** Under which name it is asked for. */
  readonly name: string
  readonly figure: string
  readonly unit: string
  /** Whose figure it is, where it is not that of ours as it comes. */
  readonly of?: SubjectName
  /** What that is set against: the best of the peers, another subject, or nothing: then the figure itself is judged. */
  readonly versus: 'peers' | SubjectName | null
  readonly atLeast?: number
  readonly atMost?: number
}

export interface Scenario {
  readonly title: string
  readonly subjects: readonly SubjectName[]
  /** Who runs in the first round alone: for the record, where no goal asks for more. */
  readonly once?: readonly SubjectName[]
  /** Whether all subjects' runs may be at the same time: where no time is measured. */
  readonly together?: boolean
  /** Why it can't be run here; false where it can. */
  readonly skip?: string | false
  run (bench: Bench, subject: SubjectName): Promise<Figures>
  /** A goal without a bound is a figure for the record. */
  readonly goals: readonly Goal[]
}

export const ALL: readonly SubjectName[] = ['ours', ...PEERS]
/** Bytes of an event's data. */
export const SIZE = 100
