import { constants, readSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { VarveError } from '../errors.js'
import { pageSetLimit } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'

/** An open memory file (one page after the other, no header) and how many pages it holds. */
export interface MemoryFile extends AsyncDisposable {
  readonly path: string
  readonly handle: FileHandle
  readonly pages: number
}

/**
 * Opens a memory file for reading: a regular file, no symbolic link, whole pages. `expectedPages`: IMAGE_MISMATCH when
 * it holds another number, so that a truncated layer is never read as a short one.
 */
export async function openMemoryFile(path: string, expectedPages?: number): Promise<MemoryFile> {
  // O_NONBLOCK: opening a FIFO somebody put there must fail below, not wait for a writer.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const handle = await open(path, flags).catch((error: NodeJS.ErrnoException) => {
    const code = error.code === 'ENOENT' ? 'NOT_FOUND' : 'PATH_INVALID'
    throw new VarveError(code, `cannot open memory file ${path}: ${error.message}`, { cause: error })
  })
  try {
    const stat = await handle.stat()
    if (!stat.isFile()) throw new VarveError('PATH_INVALID', `memory file ${path} is not a regular file`)
    const pages = stat.size / pageSizeBytes
    if (!Number.isInteger(pages) || pages < 1 || pages > pageSetLimit)
      throw new VarveError(
        expectedPages === undefined ? 'FORMAT_INVALID' : 'IMAGE_MISMATCH',
        `memory file ${path} has ${stat.size} bytes, not a whole number of ${pageSizeBytes}-byte pages`,
      )
    if (expectedPages !== undefined && pages !== expectedPages)
      throw new VarveError('IMAGE_MISMATCH', `memory file ${path} has ${pages} pages, not ${expectedPages}`)
    return { path, handle, pages, [Symbol.asyncDispose]: () => handle.close() }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Below this a read in this thread (some µs) beats one through the thread pool (60 µs); above, it would block too long. */
const inThreadBytes = 64 * 1024

/** Fills `buffer` from `page` on. A file that ends before is IMAGE_MISMATCH: it was cut off while in use. */
export async function readPages(file: MemoryFile, page: number, buffer: Uint8Array): Promise<void> {
  const offset = page * pageSizeBytes
  for (let done = 0; done < buffer.length; ) {
    const length = buffer.length - done
    const bytesRead =
      length <= inThreadBytes
        ? readSync(file.handle.fd, buffer, done, length, offset + done)
        : (await file.handle.read(buffer, done, length, offset + done)).bytesRead
    if (bytesRead === 0)
      throw new VarveError('IMAGE_MISMATCH', `memory file ${file.path} ends at byte ${offset + done}`)
    done += bytesRead
  }
}
