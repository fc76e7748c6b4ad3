import { constants, readSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { throwIfAborted } from '../abort-error.js'
import { VarveError } from '../errors.js'
import { pathError } from '../not-found.js'
import { dataExtents } from './extents.js'
import {
  cloneRange,
  copyFileRange,
  createFile,
  removeFile,
  truncate,
  type WritableFile,
  writeAt,
} from './mutations.js'

/** How a copy was made: blocks shared (costs nothing), copied by the kernel, or read and written. */
type CopyMethod = 'reflink' | 'copy_file_range' | 'read-write'

export interface CopyResult {
  readonly method: CopyMethod
  readonly sizeBytes: number
}

/**
 * Bytes a call: copying them takes some milliseconds of this thread (1 GiB took 0.3 s this way, 2.5 s by
 * asynchronous reads and writes), after which timers and signals get their turn.
 */
const copyChunkBytes = 4 * 1024 * 1024
/**
 * Sharing blocks costs microseconds an extent, but the kernel first writes out what is dirty in the range.
 */
const cloneChunkBytes = 64 * 1024 * 1024

/** A file to copy, with its own way to open it. The path is for messages. */
interface CopySource {
  readonly path: string
  /** Opens it for reading; must not wait if it is a FIFO. */
  open(): Promise<FileHandle>
}

/**
 * Copies a regular file into a new one (0600): by sharing its blocks if the file system can, else extent by
 * extent, holes as holes and zero data as zero data (in a Diff the two mean different things, and usual
 * copies turn the one into the other). A symbolic link is not followed. On failure no target is left. The
 * source must not change meanwhile.
 *
 * Errors: NOT_FOUND and PATH_INVALID (the source), ALREADY_EXISTS (the target), INTERRUPTED,
 * WRITE_FAILED (no space), SYSCALL_FAILED.
 */
export async function copyWithHoles(
  from: string | CopySource,
  target: string,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<CopyResult> {
  const source = typeof from === 'string' ? from : from.path
  assertGoing(signal, source)
  await using handle = await openSource(typeof from === 'string' ? byPath(from) : from)
  const { size: sizeBytes } = await handle.stat()
  const to = await createFile(target).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EEXIST'
      ? new VarveError('ALREADY_EXISTS', `${target} exists and is not overwritten`, { cause: error })
      : failure(source, target, error)
  })
  try {
    await using _close = to
    return { method: await copyContent(handle, to, sizeBytes, () => assertGoing(signal, source)), sizeBytes }
  } catch (error) {
    await removeFile(target)
    throw error instanceof VarveError ? error : failure(source, target, error as Error)
  }
}

const byPath = (path: string): CopySource => ({
  path,
  // Non-blocking: a FIFO in this place must not hold up the copy.
  open: () => open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK),
})

async function openSource(source: CopySource): Promise<FileHandle> {
  const { path } = source
  const handle = await source.open().catch((error: NodeJS.ErrnoException) => {
    if (error instanceof VarveError) throw error
    const reason = error.code === 'ELOOP' ? 'it is a symbolic link' : error.message
    throw pathError(error, `cannot copy ${path}: ${reason}`, { details: { path } })
  })
  if ((await handle.stat()).isFile()) return handle
  await handle.close()
  throw new VarveError('PATH_INVALID', `cannot copy ${path}: it is not a regular file`)
}

async function copyContent(
  from: FileHandle,
  to: WritableFile,
  sizeBytes: number,
  assertWanted: () => void,
): Promise<CopyMethod> {
  const shared = await shareBlocks(from, to, sizeBytes, assertWanted)
  if (shared === sizeBytes) return 'reflink'
  truncate(to, sizeBytes)
  let method: CopyMethod = 'copy_file_range'
  for (const { startBytes, endBytes } of dataExtents(from.fd, sizeBytes)) {
    for (let at = Math.max(startBytes, shared); at < endBytes; ) {
      assertWanted()
      const length = Math.min(copyChunkBytes, endBytes - at)
      let copied = method === 'read-write' ? undefined : copyFileRange(from.fd, at, to, at, length)
      if (copied === undefined) {
        method = 'read-write'
        copied = readAndWrite(from.fd, to, at, length)
      }
      if (copied === 0) throw new Error(`it shrank below ${endBytes} bytes while it was copied`)
      at += copied
      await setImmediate()
    }
  }
  return method
}

/** Gives how many bytes from the start on now share blocks; the target ends there. */
async function shareBlocks(
  from: FileHandle,
  to: WritableFile,
  sizeBytes: number,
  assertWanted: () => void,
): Promise<number> {
  // The target must not be longer than what is cloned: the last, partial block is
  // accepted at the end of both only.
  for (let at = 0; at < sizeBytes; at += cloneChunkBytes) {
    assertWanted()
    if (!cloneRange(from.fd, at, to, at, Math.min(cloneChunkBytes, sizeBytes - at))) return at
    await setImmediate()
  }
  return sizeBytes
}

function readAndWrite(from: number, to: WritableFile, offset: number, lengthBytes: number): number {
  const buffer = Buffer.allocUnsafe(lengthBytes)
  const read = readSync(from, buffer, 0, lengthBytes, offset)
  writeAt(to, buffer.subarray(0, read), offset)
  return read
}

function assertGoing(signal: AbortSignal | undefined, source: string): void {
  throwIfAborted(signal, `the copy of ${source}`)
}

function failure(source: string, target: string, cause: Error): VarveError {
  return new VarveError('SYSCALL_FAILED', `cannot copy ${source} to ${target}: ${cause.message}`, { cause })
}
