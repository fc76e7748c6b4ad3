import { type PageSet, runsOf, type WorkingSet, workingSetToBytes } from 'varve/working-sets'
import type { FactorValue } from './experiment.js'
import type { ExplanationRow } from './explanation-row.js'

/** The lines of a rows file: docs/formats/experiment-rows-v1.md. */
export interface HeaderRow {
  readonly kind: 'experiment'
  readonly version: 1
  readonly experiment: string
  readonly question: string
  readonly startedAt: string
  readonly seed: number
  readonly plan: string
  readonly factors: Readonly<Record<string, readonly FactorValue[]>>
  readonly compare: {
    readonly factor: string
    readonly baseline: Readonly<Record<string, FactorValue>>
    /** Default `totalMs`. */
    readonly measure?: string
  }
  readonly environment: Readonly<Record<string, string>>
}

export interface CellRow {
  readonly kind: 'cell'
  readonly round: number
  readonly cell: Readonly<Record<string, FactorValue>>
  readonly at: number
  readonly tookMs: number
  /** Of the machine, over a minute, when the measuring began. */
  readonly load?: number
  readonly correct: boolean
  readonly failure?: string
  readonly measures: Readonly<Record<string, number>>
  readonly phasesMs: Readonly<Record<string, number>>
}

export interface SetRow {
  readonly kind: 'set'
  readonly name: string
  readonly about: Readonly<Record<string, FactorValue>>
  /** A working-set file, base64. */
  readonly workingSet: string
  readonly zero: readonly (readonly [start: number, count: number])[]
}

/** `zero`: pages that are zero in the set's image. */
export const setRow = (
  name: string,
  about: SetRow['about'],
  workingSet: WorkingSet,
  zero: PageSet,
): SetRow => ({
  kind: 'set',
  name,
  about,
  workingSet: workingSetToBytes(workingSet).toString('base64'),
  zero: [...runsOf(zero)].map(({ start, count }) => [start, count] as const),
})

export type Row = HeaderRow | CellRow | SetRow | ExplanationRow

/** Everything of one file. */
export interface ExperimentRows {
  readonly header: HeaderRow
  readonly cells: readonly CellRow[]
  readonly sets: readonly SetRow[]
  readonly explanations: readonly ExplanationRow[]
}
