import { publishFile } from '../layer/publish-file.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { writeAt } from '../sys/mutations.js'
import { readSmallFile } from '../sys/small-file.js'
import type { WorkingSet } from './working-set.js'
import { maxWorkingSetBytes, workingSetFromBytes, workingSetToBytes } from './working-set-bytes.js'

/** One write at a time: the thread is not kept longer than some milliseconds. */
const pieceBytes = 4 * 2 ** 20

/** Options of reading and writing a working-set file. */
export interface WorkingSetFileOptions {
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
}

/** A new file, whole or not there; an existing one is ALREADY_EXISTS. */
export async function writeWorkingSet(
  path: string,
  workingSet: WorkingSet,
  { signal }: WorkingSetFileOptions = {},
): Promise<void> {
  const bytes = workingSetToBytes(workingSet)
  await publishFile(path, async (file) => {
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      throwIfAborted(signal, path)
      writeAt(file, bytes.subarray(at, at + pieceBytes), at)
    }
  })
}

/**
 * Reads and checks a working-set file: FORMAT_INVALID, FORMAT_UNSUPPORTED or CHECKSUM_MISMATCH if it is not
 * one. Which image it is for is for the caller to compare (`assertWorkingSetOf`).
 */
export async function readWorkingSet(
  path: string,
  { signal }: WorkingSetFileOptions = {},
): Promise<WorkingSet> {
  throwIfAborted(signal, path)
  return workingSetFromBytes(readSmallFile(path, maxWorkingSetBytes), path)
}
