import { VarveError } from '../errors.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import { fitWorkingSet } from '../store/fit-working-set.js'
import type { OpenSnapshot, SnapshotStore } from '../store/store-types.js'
import { chooseEngine, type EngineChoice, engineFacts } from './choose-engine.js'
import { flattenSnapshot } from './engines/file/file-engine.js'
import { composedFile } from './engines/patched/composed-file.js'
import { patchOf } from './engines/patched/patched-engine.js'
import { type Restored, type RestoreOptions, restoreMachine } from './restore-machine.js'

/** More VMM processes than one host should be asked for at once. */
const mostClones = 4096

export interface CloneOptions extends Omit<RestoreOptions, 'record' | 'beforeLoad' | 'machine'> {
  /** How many restores run at a time. Default 4. */
  readonly parallel?: number
  /** What differs between clones: a tap device of its own, say. Wins over the other options. */
  readonly each?: (number: number) => Partial<Pick<RestoreOptions, 'name' | 'networkOverrides' | 'vsockPath'>>
}

/**
 * Several machines from one snapshot, each with its own disks, vsock path and console. `name` becomes name-1, name-2, … Where
 * one fails, all are stopped and its error is thrown.
 */
export async function cloneMachines(
  store: SnapshotStore,
  ref: string,
  count: number,
  { parallel = 4, each, ...options }: CloneOptions = {},
): Promise<readonly Restored<RunningMachine | PausedMachine>[]> {
  for (const [what, value, most] of [
    ['clones', count, mostClones],
    ['parallel', parallel, mostClones],
  ] as const)
    if (!Number.isInteger(value) || value < 1 || value > most)
      throw new VarveError('INVALID_ARGUMENT', `${what} ${value} is not a whole number from 1 to ${most}`)
  const { engine: asked = 'auto', experimental = false, name, signal, onProgress } = options
  if (asked === 'auto' || asked === 'file' || (asked === 'patched' && experimental)) {
    // Once, and not by all of them at the same time.
    await using snapshot = await store.open(ref, { signal, onProgress })
    const engine = asked === 'auto' ? await chosenFor(store, snapshot, options) : asked
    if (engine === 'file') await flattenSnapshot(snapshot, { signal, onProgress })
    else if (engine === 'patched') await composedFile(snapshot, patchOf(snapshot).plan.composed, { signal })
  }
  const clones: Restored<RunningMachine | PausedMachine>[] = []
  let [begun, ready, failed] = [0, 0, false]
  const work = async () => {
    while (begun < count && !failed) {
      const number = ++begun
      try {
        clones[number - 1] = await restoreMachine(store, ref, {
          ...options,
          ...(name === undefined ? {} : { name: `${name}-${number}` }),
          // One of its own: Node warns if many listen to one.
          ...(signal && { signal: AbortSignal.any([signal]) }),
          ...each?.(number),
        })
        onProgress?.(`${++ready} of ${count} ready`)
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  const ended = await Promise.allSettled(Array.from({ length: Math.min(parallel, count) }, work))
  const failure = ended.find((it) => it.status === 'rejected')
  if (failure === undefined) return clones
  for (const clone of clones) await clone?.machine.stop()
  throw failure.reason
}

/** What each clone chooses for itself a moment later; a flat file that is there by then is taken. */
async function chosenFor(
  store: SnapshotStore,
  snapshot: OpenSnapshot,
  { workingSet, randomAccess = false, signal }: CloneOptions,
): Promise<EngineChoice['engine']> {
  const fitted =
    workingSet === undefined ? null : await fitWorkingSet(store, snapshot, workingSet, { signal })
  return chooseEngine(
    await engineFacts(snapshot, { workingSet: fitted?.workingSet ?? null, randomAccess, recorders: [] }),
  ).engine
}
