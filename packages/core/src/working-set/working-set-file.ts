import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { VarveError } from '../errors.js'
import { publishFile } from '../layer/publish-file.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { writeAt } from '../sys/mutations.js'
import type { WorkingSet } from './working-set.js'
import { maxWorkingSetBytes, workingSetFromBytes, workingSetToBytes } from './working-set-bytes.js'

/** One write or read at a time: the thread is not kept longer than some milliseconds. */
const pieceBytes = 4 * 2 ** 20

export interface WorkingSetFileOptions {
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
 * Reads and checks a working-set file: FORMAT_INVALID, FORMAT_UNSUPPORTED or CHECKSUM_MISMATCH where it is not one. Which
 * image it is for is for the caller to compare (`assertWorkingSetOf`).
 */
export async function readWorkingSet(
  path: string,
  { signal }: WorkingSetFileOptions = {},
): Promise<WorkingSet> {
  await using handle = await openRegular(path)
  const { size } = await handle.stat()
  if (size > maxWorkingSetBytes)
    throw new VarveError('FORMAT_INVALID', `working set ${path} of ${size} bytes is longer than any`, {
      details: { path, offset: maxWorkingSetBytes },
    })
  const bytes = Buffer.allocUnsafe(size)
  let length = 0
  while (length < size) {
    throwIfAborted(signal, path)
    const { bytesRead } = await handle.read(bytes, length, Math.min(pieceBytes, size - length), length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return workingSetFromBytes(bytes.subarray(0, length), path)
}

async function openRegular(path: string): Promise<FileHandle> {
  // O_NONBLOCK: opening a FIFO somebody put there must fail below, not wait for a writer.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const handle = await open(path, flags).catch((error: NodeJS.ErrnoException) => {
    const code = error.code === 'ENOENT' ? 'NOT_FOUND' : 'PATH_INVALID'
    throw new VarveError(code, `cannot open working set ${path}: ${error.message}`, { cause: error })
  })
  if ((await handle.stat()).isFile()) return handle
  await handle.close()
  throw new VarveError('PATH_INVALID', `working set ${path} is not a regular file`)
}
