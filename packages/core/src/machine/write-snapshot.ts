import { chmodSync, existsSync, rmSync } from 'node:fs'
import { isVarveError, VarveError } from '../errors.js'
import { featureAvailability } from '../firecracker/api-availability.js'
import type { CallOptions } from '../firecracker/api-client.js'
import { assertDiffSafe, hasSlotBug } from '../firecracker/diff-safety.js'
import { requireAvailable } from '../firecracker/version.js'
import { errnoName } from '../sys/libc.js'
import { writeFailed } from '../sys/mutations.js'
import type { LiveVm } from './live-vm.js'

/** The two files of a snapshot. */
export interface SnapshotFiles {
  /** Where Firecracker writes the state file. Must not exist. */
  readonly statePath: string
  /**
   * Where Firecracker writes the memory file. Must not exist: into an existing one Firecracker would merge.
   */
  readonly memoryPath: string
}

/** What to write. */
export interface SnapshotOptions extends SnapshotFiles, CallOptions {
  /** Full: every page. Diff: the pages written since the last snapshot or load; holes elsewhere. */
  readonly type: 'Full' | 'Diff'
  /**
   * `snapshotsTaken` as it was when the caller decided what this snapshot builds on. If another process has
   * taken one since, it is IMAGE_MISMATCH, and nothing is written.
   */
  readonly ifTaken?: number
}

/** A snapshot that Firecracker has written. */
export interface WrittenSnapshot extends SnapshotFiles {
  /** `snapshotsTaken` right after this one; for `countFromSnapshot`. */
  readonly taken: number
}

/**
 * Has Firecracker write a snapshot of a paused VM. To be called within one of its steps. `goesOn`: the step
 * lets the guest run again, also after a failure, and "may have run" is recorded at once.
 */
export async function writeSnapshot(
  vm: LiveVm,
  options: SnapshotOptions,
  goesOn = false,
): Promise<WrittenSnapshot> {
  const { type, statePath, memoryPath, signal } = options
  const call = { signal }
  if (type === 'Diff' && !vm.record.dirtyTracking)
    requireAvailable(
      'a Diff of a machine without trackDirtyPages',
      featureAvailability.untrackedDiff,
      vm.api.version,
    )
  if (type === 'Diff' && hasSlotBug(vm.api.version))
    assertDiffSafe(vm.api.version, await vm.api.vmConfig(call))
  for (const path of [statePath, memoryPath])
    if (existsSync(path))
      throw new VarveError('ALREADY_EXISTS', `snapshot file ${path} exists`, {
        remedy: 'use a fresh directory',
      })
  const { snapshotsTaken, ranSince, snapshotId, owed } = vm.currentRecord
  assertTaken(vm, options.ifTaken)
  const state = vm.process.files.output(statePath)
  const memory = vm.process.files.output(memoryPath)
  // The log of written pages will count from this snapshot, which has no identity yet; if the guest has not
  // run since the last one, memory is still that one's. Recorded first: if this process or the wait ends in
  // between, Firecracker writes on and clears the log all the same.
  vm.updateRecord({
    snapshotsTaken: snapshotsTaken + 1,
    ranSince: goesOn,
    snapshotId: ranSince ? null : snapshotId,
    owed: ranSince ? null : owed,
  })
  try {
    await vm.api.createSnapshot(
      { snapshot_path: state.vmmPath, mem_file_path: memory.vmmPath, snapshot_type: type },
      call,
    )
    await state.commit()
    await memory.commit()
  } catch (error) {
    if (logWasKept(error)) vm.updateRecord({ snapshotsTaken, ranSince, snapshotId, owed })
    state.discard()
    memory.discard()
    // Also what was committed already.
    for (const path of [statePath, memoryPath]) rmSync(path, { force: true })
    throw asWriteFailure(error, memoryPath) ?? error
  }
  // Guest memory is secret; Firecracker leaves the mode to the umask.
  for (const path of [statePath, memoryPath]) chmodSync(path, 0o600)
  return { statePath, memoryPath, taken: snapshotsTaken + 1 }
}

/** IMAGE_MISMATCH if another process has taken a snapshot since `taken`. */
export function assertTaken(vm: LiveVm, taken: number | undefined): void {
  const { snapshotsTaken } = vm.currentRecord
  if (taken === undefined || taken === snapshotsTaken) return
  throw new VarveError(
    'IMAGE_MISMATCH',
    `${snapshotsTaken} snapshots of ${vm.record.id} have been taken, not ${taken}: another process also took snapshots of this machine`,
    { remedy: 'find the snapshot that was taken last, and take this one on top of it' },
  )
}

/**
 * Whether Firecracker surely still has every written page in its log: it said no, and not about the last
 * step, syncing the memory file, which comes after the log is cleared.
 */
export function logWasKept(error: unknown): boolean {
  if (isVarveError(error, 'API_REFUSED'))
    return !/(sync_all|flush) on the memory backing file/.test(error.message)
  return isVarveError(error, 'VERSION_UNSUPPORTED')
}

/**
 * The errno of a failed write, from Firecracker's message: Rust ends the text of an I/O error with `(os error
 * 28)`.
 */
export function asWriteFailure(error: unknown, path: string): VarveError | undefined {
  if (!isVarveError(error, 'API_REFUSED')) return undefined
  const [, number] = /\(os error (\d+)\)/.exec(error.message) ?? []
  if (number === undefined) return undefined
  return writeFailed(errnoName(Number(number)), path, `snapshot to ${path}: ${error.message}`, error)
}
