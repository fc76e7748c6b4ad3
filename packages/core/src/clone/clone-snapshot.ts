import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import { engines } from '../restore/engines/all-engines.js'
import { Phases } from '../restore/phases.js'
import { type ChosenEngine, planRestore } from '../restore/plan-restore.js'
import { restoreBy } from '../restore/restore-machine.js'
import { assertAsked, type RestoreOptions } from '../restore/restore-options.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import { asClones, assertCounts, type Clones, inOrder, makeClones, type OnCloneFailure } from './clones.js'
import { type EachClone, ownOptions } from './own-options.js'

/** Options of `cloneMachines` of a snapshot. */
export interface CloneOptions extends Omit<RestoreOptions, 'record' | 'beforeLoad' | 'machine'> {
  /** How many restores run at a time. Default 4. */
  readonly parallel?: number | undefined
  /**
   * What differs between clones: a tap device of its own, say. Wins over the other options. `number` counts
   * the clones from 1.
   */
  readonly each?: EachClone | undefined
  /**
   * If one cannot be made: `stop` (default) all and throw, as a snapshot can be cloned again; or `keep` the
   * others, and list it in `failed`.
   */
  readonly onFailure?: OnCloneFailure | undefined
}

export async function cloneSnapshot(
  store: SnapshotStore,
  ref: string,
  count: number,
  { parallel, each, onFailure = 'stop', ...options }: CloneOptions,
): Promise<Clones<RunningMachine | PausedMachine>> {
  assertCounts(count, parallel)
  assertAsked(options)
  // Once, and not by all of them at the same time.
  const chosen = await share(store, ref, options)
  const how = { parallel, onFailure, onProgress: options.onProgress }
  const { made, failed } = await makeClones(count, how, (number) =>
    restoreBy(chosen, store, ref, ownOptions(number, options, each)),
  )
  return asClones(inOrder(made), failed, {})
}

/** Chooses the engine of all clones, and makes what they share. */
async function share(store: SnapshotStore, ref: string, options: RestoreOptions): Promise<ChosenEngine> {
  const { signal, onProgress } = options
  await using snapshot = await store.open(ref, { signal, onProgress })
  const { chosen } = await planRestore(store, snapshot, options, new Phases(), undefined)
  await engines[chosen.engine].prepareShared?.(snapshot, { signal, onProgress })
  return chosen
}
