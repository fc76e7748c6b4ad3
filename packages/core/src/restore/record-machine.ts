import { statSync } from 'node:fs'
import { VarveError } from '../errors.js'
import type { ImageId } from '../layer/layer-types.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import { pageSizeBytes } from '../memory/units.js'
import { pageServerClient } from '../page-server/client/page-server-client.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import type { OpenSnapshot } from '../store/snapshot-types.js'
import { isMappingOf, mappingsOf } from '../sys/mappings.js'
import { type AnyRecordOptions, recordTogether } from '../working-set/record.js'
import type { RecordedPages, RecorderName, RecordTarget } from '../working-set/recording.js'
import type { Json, WorkingSet } from '../working-set/working-set.js'
import { workingSetOf } from '../working-set/working-set-of.js'
import { isFlatBase } from './flat-file.js'

/** What to record, by which recorders, within which limits. */
export interface RecordMachineOptions extends AnyRecordOptions {
  /**
   * Together they must tell present pages and written pages: `['pagemap']`, `['faults']`, `['mincore',
   * 'diff']`. If several tell the same, the first counts.
   */
  readonly recorders: readonly RecorderName[]
  /** Kept in the working set as they are. */
  readonly notes?: Readonly<Record<string, Json>>
}

/**
 * The recording of a VM that came from a snapshot. `stop` once, dispose (which
 * ends it without a result) at will.
 */
export interface MachineRecording extends AsyncDisposable {
  /** Looks now: pages touched since the last look become a group of their own. */
  scan(): Promise<void>
  /** Ends it. `recorded`: what each recorder saw, in the order in which they were named. */
  stop(): Promise<{ readonly workingSet: WorkingSet; readonly recorded: readonly RecordedPages[] }>
}

/** A target whose pages are those of a known image. */
export interface ImageTarget extends RecordTarget {
  /** The image that the pages belong to. */
  readonly image: ImageId
  /** Pages of the image. */
  readonly pages: number
}

/**
 * Records around anything that a machine does, from now until `stop`. The machine was restored from a
 * snapshot in this store; may be paused still, or run; may be one that another process restored. `mincore`
 * needs a VM of which nothing is mapped yet: have `restoreMachine` start it (`record`).
 *
 * RECORDER_UNRELIABLE if the machine does not come from a snapshot here or was snapshotted since: its pages
 * then belong to no image that is kept.
 */
export async function recordMachine(
  machine: RunningMachine | PausedMachine,
  store: SnapshotStore,
  options: RecordMachineOptions,
): Promise<MachineRecording> {
  const { snapshotId, snapshotsTaken } = machine
  if (snapshotId === null || snapshotsTaken > 0)
    throw new VarveError(
      'RECORDER_UNRELIABLE',
      snapshotsTaken > 0
        ? `${machine.id} was snapshotted since it was restored, so the pages that it touches belong to no image`
        : `${machine.id} does not come from a snapshot`,
      { remedy: 'restore the snapshot that you want a working set of, and record that machine' },
    )
  await using snapshot = await store.open(snapshotId, { signal: options.signal })
  return await recordTarget(targetOf(machine, snapshot), options)
}

function targetOf(machine: RunningMachine | PausedMachine, snapshot: OpenSnapshot): ImageTarget {
  const { files, map, flatPath, entry } = snapshot
  const known = { vmm: machine.identity, machine, image: entry.id, pages: map.pages }
  // The file engine maps one of these two; with a page server no file is mapped, and the
  // mapped engine maps each layer.
  const flat = [flatPath, ...(isFlatBase(snapshot) ? files.slice(0, 1).map(({ path }) => path) : [])]
  const mapped = flat.find((path) => isMapped(machine.pid, path, map.pages))
  return mapped === undefined
    ? { ...known, files, map, faults: pageServerClient(machine.paths.directory, map.pages) }
    : { ...known, files: [{ path: mapped, storedPages: map.pages }], map: undefined }
}

/**
 * Whether all of the memory is mapped from this file; the `mapped` engine leaves runs of zeros without one.
 */
function isMapped(pid: number, path: string, pages: number): boolean {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
  if (stat === undefined) return false
  const mapped = mappingsOf(pid).filter((mapping) => isMappingOf(mapping, path, stat))
  return mapped.reduce((bytes, { start, end }) => bytes + end - start, 0) === pages * pageSizeBytes
}

/** As `recordMachine`, with the target known already. */
export async function recordTarget(
  target: ImageTarget,
  { recorders, notes = {}, ...options }: RecordMachineOptions,
): Promise<MachineRecording> {
  const joint = await recordTogether(target, recorders, options)
  return {
    scan: () => joint.scan(),
    stop: async () => {
      const recorded = await joint.stop()
      return { workingSet: workingSetOf(recorded, { ...target, notes }), recorded }
    },
    [Symbol.asyncDispose]: () => joint[Symbol.asyncDispose](),
  }
}
