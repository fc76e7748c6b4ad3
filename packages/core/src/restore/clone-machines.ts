import { VarveError } from '../errors.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import { engines } from './engines/all-engines.js'
import { Phases } from './phases.js'
import { type ChosenEngine, planRestore } from './plan-restore.js'
import { restoreBy } from './restore-machine.js'
import { assertAsked, type RestoreOptions } from './restore-options.js'
import type { Restored } from './restored.js'

/** More VMM processes than one host should be asked for at once. */
const mostClones = 4096

/** Options of `cloneMachines`. */
export interface CloneOptions extends Omit<RestoreOptions, 'record' | 'beforeLoad' | 'machine'> {
  /** How many restores run at a time. Default 4. */
  readonly parallel?: number | undefined
  /**
   * What differs between clones: a tap device of its own, say. Wins over the other options. `number` counts
   * the clones from 1.
   */
  readonly each?: (number: number) => Partial<Pick<RestoreOptions, 'name' | 'networkOverrides' | 'vsockPath'>>
}

/** Disposing of them stops all that were not detached. */
export type Clones<Machine> = readonly Restored<Machine>[] & AsyncDisposable

/**
 * Several machines from one snapshot, each with its own disks, vsock path and console. `name` becomes
 * name-1, name-2, … All have the same engine, with `auto` too; what they can share is made once, before the
 * first. If one fails, all are stopped and its error is thrown. `ref` names the snapshot in the store;
 * `count` is how many machines.
 */
export function cloneMachines(
  store: SnapshotStore,
  ref: string,
  count: number,
  options: CloneOptions & {
    /** As in `RestoreOptions`; it decides the type of the machines. */
    readonly resume: false
  },
): Promise<Clones<PausedMachine>>
export function cloneMachines(
  store: SnapshotStore,
  ref: string,
  count: number,
  options?: CloneOptions & {
    /** As in `RestoreOptions`; it decides the type of the machines. */
    readonly resume?: true | undefined
  },
): Promise<Clones<RunningMachine>>
export function cloneMachines(
  store: SnapshotStore,
  ref: string,
  count: number,
  options: CloneOptions,
): Promise<Clones<RunningMachine | PausedMachine>>
export async function cloneMachines(
  store: SnapshotStore,
  ref: string,
  count: number,
  { parallel = 4, each, ...options }: CloneOptions = {},
): Promise<Clones<RunningMachine | PausedMachine>> {
  for (const [what, value, most] of [
    ['clones', count, mostClones],
    ['parallel', parallel, mostClones],
  ] as const)
    if (!Number.isInteger(value) || value < 1 || value > most)
      throw new VarveError('INVALID_ARGUMENT', `${what} ${value} is not a whole number from 1 to ${most}`)
  assertAsked(options)
  const { name, signal, onProgress } = options
  // Once, and not by all of them at the same time.
  const chosen = await share(store, ref, options)
  const clones: Restored<RunningMachine | PausedMachine>[] = []
  let [begun, ready, failed] = [0, 0, false]
  const work = async () => {
    while (begun < count && !failed) {
      const number = ++begun
      try {
        clones[number - 1] = await restoreBy(chosen, store, ref, {
          ...options,
          name: name && `${name}-${number}`,
          // One of its own: Node warns if many listen to one.
          signal: signal && AbortSignal.any([signal]),
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
  if (failure === undefined) return disposable(clones)
  for (const clone of clones) await clone?.machine.stop()
  throw failure.reason
}

/** The property is hidden, so that the list stays a list for comparisons and `console.log`. */
function disposable<Machine>(clones: readonly Restored<Machine>[]): Clones<Machine> {
  const dispose = async () => {
    const ended = await Promise.allSettled(clones.map((clone) => clone[Symbol.asyncDispose]()))
    const failure = ended.find((it) => it.status === 'rejected')
    if (failure !== undefined) throw failure.reason
  }
  return Object.defineProperty(clones, Symbol.asyncDispose, { value: dispose }) as Clones<Machine>
}

/** Chooses the engine of all clones, and makes what they share. */
async function share(store: SnapshotStore, ref: string, options: RestoreOptions): Promise<ChosenEngine> {
  const { signal, onProgress } = options
  await using snapshot = await store.open(ref, { signal, onProgress })
  const { chosen } = await planRestore(store, snapshot, options, new Phases(), undefined)
  await engines[chosen.engine].prepareShared?.(snapshot, { signal, onProgress })
  return chosen
}
