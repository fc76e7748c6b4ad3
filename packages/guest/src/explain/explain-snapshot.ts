import {
  type BinaryPlaces,
  type RunningMachine,
  recordMachine,
  restoreMachine,
  type SnapshotStore,
  VarveError,
} from 'varve'
import { inspectStateFile, type MemoryRegion } from 'varve/state-files'
import { assertWorkingSetOf, type WorkingSet } from 'varve/working-sets'
import { guestAgent } from '../agent/guest-agent.js'
import { type ExplainOptions, explainPages } from './explain-pages.js'
import type { Explanation } from './explanation.js'

/** What a restore needs to know, and what is asked of the guest. */
export interface ExplainSnapshotOptions extends ExplainOptions, BinaryPlaces {
  /** Where the clone has its directory. Default: `runtimeDirectory()`. */
  readonly runtimeDirectory?: string | undefined
}

/**
 * Says who has the pages of a working set in the snapshot that it belongs to: restores a clone, asks its
 * agent, ends it. Pages that the work took from the kernel are `free`, because the snapshot was taken before.
 * Errors: those of `restoreMachine` and `explainPages`.
 */
export async function explainWorkingSet(
  store: SnapshotStore,
  workingSet: WorkingSet,
  options: ExplainSnapshotOptions = {},
): Promise<Explanation> {
  const { signal, firecracker, firecrackerDirectory, runtimeDirectory } = options
  const regions = await regionsOf(store, workingSet.image, signal)
  const { machine } = await restoreMachine(store, workingSet.image, {
    firecracker,
    firecrackerDirectory,
    runtimeDirectory,
    signal,
  })
  await using clone = machine
  return await explainPages(guestAgent(clone), workingSet, regions, options)
}

/**
 * Says who has pages of a machine now: those of `workingSet`, which must be of the machine's snapshot; by
 * default those that the machine has touched since its restore, as the recorder `pagemap` finds them (engine
 * `file`). The machine runs on.
 */
export async function explainMachine(
  machine: RunningMachine,
  store: SnapshotStore,
  { workingSet, ...options }: ExplainOptions & { readonly workingSet?: WorkingSet | undefined } = {},
): Promise<Explanation> {
  const { signal } = options
  const { snapshotId } = machine
  if (snapshotId === null)
    throw new VarveError('RECORDER_UNRELIABLE', `${machine.id} does not come from a snapshot`, {
      remedy: 'restore a snapshot, and explain that machine',
    })
  const set = workingSet ?? (await touchedPages(machine, store, signal))
  assertWorkingSetOf(set, snapshotId as WorkingSet['image'], set.pages)
  return await explainPages(guestAgent(machine), set, await regionsOf(store, snapshotId, signal), options)
}

async function touchedPages(
  machine: RunningMachine,
  store: SnapshotStore,
  signal: AbortSignal | undefined,
): Promise<WorkingSet> {
  await using recording = await recordMachine(machine, store, { recorders: ['pagemap'], signal })
  return (await recording.stop()).workingSet
}

async function regionsOf(
  store: SnapshotStore,
  ref: string,
  signal: AbortSignal | undefined,
): Promise<readonly MemoryRegion[]> {
  await using snapshot = await store.open(ref, { signal })
  return (await inspectStateFile(snapshot.statePath)).regions
}
