import { chmodSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isVarveError, VarveError } from '../errors.js'
import type { CallOptions } from '../firecracker/api-client.js'
import type { OutputFile } from '../firecracker/vmm-files.js'
import { isAlive, type ProcessIdentity } from '../sys/proc.js'
import type { LiveVm } from './live-vm.js'
import { countsFrom, countsFromBoot } from './log-origin.js'
import type { MachineRecord } from './machine-record.js'
import { assertTaken, asWriteFailure, logWasKept } from './write-snapshot.js'

/** Which pages the next Diff of the machine consists of, besides those of its log. */
export interface OwedPagesPlace {
  readonly owedPath: string
  /** The snapshot that the log counts from; null: the boot, or not known. */
  readonly from: string | null
  /** Whether there are such pages in that file. */
  readonly owes: boolean
}

export interface LiveSnapshotOptions extends CallOptions {
  /**
   * Where Firecracker writes the state file. There, and empty; Firecracker waits where it opens it, until
   * `take` has its memory.
   */
  readonly state: OutputFile
  /**
   * Where Firecracker writes its own Diff, of pages that its devices have written. Must not exist. Null: it
   * writes no memory at all, because the machine has no log, or all of its memory is taken.
   */
  readonly diffPath: string | null
  /** As in `SnapshotOptions`. */
  readonly ifTaken: number
  /**
   * Of a Diff: what it counts from, as the caller chose its parent; null: the boot. If that has changed
   * since, because another process has sealed a snapshot, it is IMAGE_MISMATCH, and nothing is written.
   */
  readonly countsFrom: string | null | undefined
  /** The pages owed cannot be read: a snapshot that is not sealed leaves nothing to build on. */
  readonly owedIsLost: boolean
  /**
   * Called when Firecracker is asked: takes KVM's log, keeps it with the pages owed, and takes the memory.
   * Gives the child that holds it; null if it was copied.
   */
  take(place: OwedPagesPlace): Promise<ProcessIdentity | null>
  /** Called when the Diff is written, and the guest may run again: keeps its pages with those owed. */
  keepDiff(): Promise<void>
  /** Called if Firecracker refused: ends what `take` waits for. */
  abandon(): void
}

/** docs/formats/owed-pages-v1.md */
export const owedPagesPath = (directory: string): string => join(directory, 'owed-pages')

export interface WrittenLive {
  /** As in `WrittenSnapshot`. */
  readonly taken: number
}

/** How long a capture that Firecracker refused may need to say whether it had taken the log. */
const settleMs = 500

/**
 * Firecracker saves the state and then waits; its memory is taken; then it writes state and Diff. The record
 * says at each moment what the next snapshot can build on, should this one never be sealed. `goesOn`: as
 * of `writeSnapshot`. `afterwards`: as of `StandingMachine`.
 */
export async function writeLive(
  vm: LiveVm,
  options: LiveSnapshotOptions,
  goesOn: boolean,
  afterwards: (work: () => Promise<void>) => void,
): Promise<WrittenLive> {
  const { state, diffPath, signal } = options
  assertTaken(vm, options.ifTaken)
  const record = vm.currentRecord
  const { snapshotsTaken, snapshotId, owed } = record
  const from = countsFrom(record)
  if (options.countsFrom !== undefined && options.countsFrom !== from)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `the written pages of ${record.id} count from ${from ?? 'the boot'} now, not ${options.countsFrom ?? 'the boot'}: another process has sealed a snapshot of it`,
      { remedy: 'take this one again' },
    )
  const owes = owed !== null && !options.owedIsLost
  const isKnown =
    !options.owedIsLost &&
    (from !== null || countsFromBoot({ ...record, bootedHere: record.origin.kind === 'boot' }))
  const taken = snapshotsTaken + 1
  // What the next snapshot builds on, if this one is never sealed. Without a log, the pages that differ count
  // from where they did.
  const keeps: Partial<MachineRecord> = vm.record.dirtyTracking
    ? { snapshotId: null, owed: isKnown ? { from } : null }
    : { snapshotId, owed }
  const discard = () => {
    state.discard()
    rmSync(state.hostPath, { force: true })
  }
  // Whether all of the log is kept, but for what Firecracker's devices wrote.
  let isHeld = false
  try {
    vm.updateRecord({ snapshotsTaken: taken, ranSince: goesOn, snapshotId: null, owed: null })
    const owedPath = owedPagesPath(vm.process.paths.directory)
    const memory = options.take({ owedPath, from, owes })
    const held = memory.then(
      () => {
        isHeld = true
      },
      () => {},
    )
    const written =
      diffPath === null
        ? writeStateOnly(vm, state.vmmPath, signal)
        : writeDiff(vm, state.vmmPath, diffPath, signal)
    try {
      await written
    } catch (error) {
      await Promise.race([held, sleep(settleMs)])
      options.abandon()
      throw error
    }
    const child = await memory
    afterwards(async () => {
      try {
        if (diffPath !== null) await options.keepDiff()
        vm.updateRecord(({ frozen }) => ({
          ...keeps,
          ...(child === null ? {} : { frozen: [...frozen.filter(isAlive), child] }),
        }))
        await state.commit()
        chmodSync(state.hostPath, 0o600)
      } catch (error) {
        discard()
        throw error
      }
    })
    return { taken }
  } catch (error) {
    discard()
    // Of pages that its devices have written, Firecracker knows until it has written a Diff.
    if (isHeld && logWasKept(error)) vm.updateRecord(keeps)
    throw asWriteFailure(error, state.hostPath) ?? error
  }
}

async function writeDiff(
  vm: LiveVm,
  vmmStatePath: string,
  diffPath: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const memory = vm.process.files.output(diffPath)
  try {
    await vm.api.createSnapshot(
      { snapshot_path: vmmStatePath, mem_file_path: memory.vmmPath, snapshot_type: 'Diff' },
      { signal },
    )
    await memory.commit()
  } catch (error) {
    memory.discard()
    rmSync(diffPath, { force: true })
    throw error
  }
}

/** In no directory: it cannot be opened, on the host or in a jail. */
const nowhere = '/dev/null/varve'

/**
 * Firecracker writes the state, syncs it, and only then opens the memory file. So where that cannot be
 * opened, the state is complete, and the memory untouched (docs/notes/state-without-memory.md).
 */
async function writeStateOnly(vm: LiveVm, path: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await vm.api.createSnapshot(
      { snapshot_path: path, mem_file_path: nowhere, snapshot_type: 'Full' },
      { signal },
    )
  } catch (error) {
    if (isVarveError(error, 'API_REFUSED') && /open on the memory backing file/.test(error.message)) return
    throw error
  }
  throw new VarveError('INJECTION_FAILED', `Firecracker wrote memory to ${nowhere}, which cannot be`)
}
