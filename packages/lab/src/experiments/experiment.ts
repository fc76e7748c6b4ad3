import type { Explanation } from '@varve/guest'
import type { FirecrackerBinary } from 'varve'
import type { PageSet, WorkingSet } from 'varve/working-sets'

export type FactorValue = string | number | boolean
/** What an experiment varies: each factor with its values, in the order in which to show them. */
export type Factors = Readonly<Record<string, readonly FactorValue[]>>
/** One value for each factor. */
export type Cell<F extends Factors = Factors> = { readonly [Name in keyof F]: F[Name][number] }

/** What one measuring of a cell found; names and units in docs/formats/experiment-rows-v1.md. */
export interface Measured {
  /** The guest's answers, and its memory if it was looked at, were right. */
  readonly correct: boolean
  /** `undefined` and `null`: not measured. */
  readonly measures: Readonly<Record<string, number | null | undefined>>
  readonly phasesMs?: Readonly<Record<string, number>>
}

/** Where an experiment works. */
export interface ExperimentLab<F extends Factors = Factors> {
  /** A scratch directory on a disk, removed after the run. */
  readonly directory: string
  readonly runtimeDirectory: string
  readonly binary: FirecrackerBinary
  readonly kind: 'native' | 'nested'
  /** Those of the experiment, or what was chosen of them for this run. */
  readonly factors: F
  readonly signal: AbortSignal
  /** Talk for people, while it takes long. */
  say(text: string): void
  /**
   * Keeps a recorded set with the rows, for pictures and overlaps. One name, one set: a second is not kept.
   */
  keepSet(name: string, about: Readonly<Record<string, FactorValue>>, set: WorkingSet, zero: PageSet): void
  /**
   * Keeps who in the guest has the pages of the set of that name (`explainMachine`, `explainWorkingSet`),
   * for a table and a picture. Of more than 256 owners the smallest are added up.
   */
  keepExplanation(name: string, about: Readonly<Record<string, FactorValue>>, explanation: Explanation): void
}

/**
 * An experiment that is ready to measure; what it holds (snapshots, machines) goes when it is disposed of.
 */
export interface PreparedExperiment<F extends Factors = Factors> extends AsyncDisposable {
  /**
   * Measures one cell once and leaves nothing running. Throws if it cannot: a `VarveError` or a failed
   * assertion becomes a row without measures, anything else ends the run.
   */
  measure(cell: Cell<F>, about: { readonly round: number; readonly signal: AbortSignal }): Promise<Measured>
}

/**
 * A question to real VMs, as data: which cells, in which lab, held against what. Rows are the
 * result; reports are made of them.
 */
export interface Experiment<F extends Factors = Factors> {
  /** Of a-z, 0-9, '-'; at most 64. */
  readonly name: string
  /** What it asks, a sentence. */
  readonly question: string
  /** `micro` runs wherever there is KVM; `linux` in the nested lab if Linux guests do not boot. */
  readonly guest: 'micro' | 'linux'
  readonly factors: F
  /** Cells that make sense; default all combinations. */
  where?(cell: Cell<F>): boolean
  /** The factor whose values are held against each other, and the cell that ratios are against. */
  readonly compare: {
    readonly factor: keyof F & string
    readonly baseline: Partial<Cell<F>>
    /** The measure that counts. Default `totalMs`. */
    readonly measure?: string
  }
  /** How often each cell is measured unless told otherwise; emulated, all takes some thirty times as long. */
  readonly rounds: number | { readonly native: number; readonly nested: number }
  /** Default 1. */
  readonly seed?: number
  /**
   * Cells that are measured once beforehand and not counted: code is compiled,
   * helpers are fetched. Default none.
   */
  warmUp?(cell: Cell<F>): boolean
  prepare(lab: ExperimentLab<F>): Promise<PreparedExperiment<F>>
}

/**
 * Checks the types of an experiment, and nothing else: `export const experiment = defineExperiment({ … })`.
 */
export function defineExperiment<const F extends Factors>(experiment: Experiment<F>): Experiment<F> {
  return experiment
}
