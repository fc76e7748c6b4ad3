import { compareSets, type PageSet, presentPages } from 'varve/working-sets'
import type { FunctionInput, LabFunction } from '../functions/function-types.js'
import { bringIntoCache, dropFromCache } from './cache-state.js'
import { type EngineSetting, engineSettings, restoreBy, restoreVanilla } from './contenders.js'
import type { ExperimentLab, Measured } from './experiment.js'
import {
  type FunctionSnapshot,
  type FunctionSnapshotOptions,
  functionWork,
  measureColdBoot,
  measureWarm,
  prepareFunction,
  recordFunction,
} from './function-snapshot.js'
import { measureVms } from './measure-vms.js'

/** A function's snapshot with the working set of one invocation in it. */
export interface FunctionWithSet extends FunctionSnapshot {
  readonly setName: string
  readonly setPages: { readonly readOnly: number; readonly written: number }
  readonly present: PageSet
}

/** Boots a guest with a function, captures it, and records its working set on its input A. */
export async function prepareWithSet(
  lab: Omit<ExperimentLab, 'factors'>,
  fn: LabFunction,
  options: FunctionSnapshotOptions = {},
): Promise<FunctionWithSet> {
  const of = await prepareFunction(lab, fn, options)
  try {
    return await withSet(lab, of)
  } catch (error) {
    await of[Symbol.asyncDispose]()
    throw error
  }
}

/** The working set of one invocation on input A, for a snapshot that is there. */
export async function withSet(
  lab: Omit<ExperimentLab, 'factors'>,
  of: FunctionSnapshot,
): Promise<FunctionWithSet> {
  const setName = 'input-a'
  lab.say(`${of.fn.name}: recording its working set`)
  const { workingSet } = await recordFunction(of, of.fn.inputs.a, lab, {
    save: setName,
    show: { name: `${of.fn.name}, ${of.tag}, input A`, about: { function: of.fn.name }, explain: true },
  })
  return {
    ...of,
    setName,
    setPages: { readOnly: workingSet.readOnly.pages, written: workingSet.written.pages },
    present: presentPages(workingSet),
  }
}

/**
 * How the set fits another input: that input is recorded too, and pages are compared. Counts of the sets, the
 * same in each round; two recordings of one input differ by some pages as well.
 */
export async function fitOf(
  of: FunctionWithSet,
  input: FunctionInput,
  name: string,
  lab: Omit<ExperimentLab, 'factors'>,
): Promise<{ readonly unusedPages: number; readonly missedPages: number }> {
  lab.say(`${of.fn.name}: recording ${name}`)
  const { workingSet } = await recordFunction(of, input, lab, {
    show: { name: `${of.fn.name}, ${of.tag}, ${name}`, about: { function: of.fn.name } },
  })
  const { onlyAPages, onlyBPages } = compareSets(of.present, presentPages(workingSet))
  return { unusedPages: onlyAPages, missedPages: onlyBPages }
}

export interface FunctionCell {
  /** `warm VM`, `cold boot`, `vanilla`, a name of `engineSettings`, or a setting of one's own. */
  readonly restore: string | EngineSetting
  /** Of everything that a restore may read. */
  readonly cache: 'cold' | 'warm'
  /** Default the function's input A. */
  readonly input?: FunctionInput
  /** How many restores at once. Default 1. */
  readonly clones?: number
  /** How the set fits this input, see `fitOf`; for rows of restores that use it. */
  readonly fit?: Readonly<Record<string, number>>
}

/** From the request to the function's checked result, in one of the ways to get there. */
export async function measureFunction(
  of: FunctionWithSet,
  { restore, cache, input = of.fn.inputs.a, clones = 1, fit = {} }: FunctionCell,
  lab: Omit<ExperimentLab, 'factors'>,
): Promise<Measured> {
  if (cache === 'cold') dropFromCache(of.files)
  else bringIntoCache(of.files)
  if (restore === 'warm VM') return measureWarm(of, input, lab)
  if (restore === 'cold boot') return measureColdBoot(of, input, lab)
  const { binary, runtimeDirectory, signal } = lab
  const launch = { binary, runtimeDirectory, signal }
  const common = { ...functionWork(of, input, lab), clones }
  if (restore === 'vanilla')
    return measureVms({ ...common, start: () => restoreVanilla(of.snapshot, launch) })
  const setting: EngineSetting | undefined =
    typeof restore === 'object' ? restore : engineSettings[restore as keyof typeof engineSettings]
  if (setting === undefined) throw new Error(`there is no way to restore that is named ${String(restore)}`)
  const {
    correct,
    measures,
    phasesMs = {},
  } = await measureVms({
    ...common,
    start: () => restoreBy(setting, of.store, of.tag, { ...launch, set: of.setName }),
  })
  const { readOnly, written } = of.setPages
  const ofSet = setting.set ? { setReadOnlyPages: readOnly, setWrittenPages: written, ...fit } : {}
  return { correct, measures: { ...measures, ...ofSet }, phasesMs }
}
