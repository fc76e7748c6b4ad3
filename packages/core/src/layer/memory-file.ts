import { readSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { VarveError } from '../errors.js'
import { pageSetLimit } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { openRegular } from '../sys/open-regular.js'
import type { LayerFile } from './layer-types.js'

/** An open memory file (one page after the other, no header) and how many pages it holds. */
export interface MemoryFile extends AsyncDisposable {
  readonly path: string
  readonly handle: FileHandle
  readonly pages: number
}

/** Opens a plain memory file for reading: a regular file, no symbolic link, whole pages and nothing else. */
export async function openMemoryFile(path: string): Promise<MemoryFile> {
  return openPages(path, (size) => {
    const pages = size / pageSizeBytes
    if (Number.isInteger(pages) && pages >= 1 && pages <= pageSetLimit) return pages
    throw new VarveError(
      'FORMAT_INVALID',
      `memory file ${path} has ${size} bytes, not a whole number of ${pageSizeBytes}-byte pages`,
    )
  })
}

/** Opens the stored pages of a layer; a footer may follow them. IMAGE_MISMATCH if the file is too short. */
export async function openStoredPages({ path, storedPages }: LayerFile): Promise<MemoryFile> {
  return openPages(path, (size) => {
    if (size >= storedPages * pageSizeBytes) return storedPages
    throw new VarveError('IMAGE_MISMATCH', `${path} has ${size} bytes, less than its ${storedPages} pages`, {
      details: { path, offset: size },
    })
  })
}

async function openPages(path: string, pagesOf: (sizeBytes: number) => number): Promise<MemoryFile> {
  const { handle, stat } = await openRegular(path, { what: 'memory file' })
  try {
    return { path, handle, pages: pagesOf(stat.size), [Symbol.asyncDispose]: () => handle.close() }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/**
 * Below this a read in this thread (some µs) beats one through the thread pool (60 µs);
 * above, it would block too long.
 */
const inThreadBytes = 64 * 1024

/** Fills `buffer` from `page` on. A file that ends before is IMAGE_MISMATCH: it was cut off while in use. */
export function readPages(file: MemoryFile, page: number, buffer: Uint8Array): Promise<void> {
  return readAt(file.handle, file.path, buffer, page * pageSizeBytes)
}

/** Fills `buffer` from the byte `offset` on; IMAGE_MISMATCH if the file ends before. */
export async function readAt(
  handle: FileHandle,
  path: string,
  buffer: Uint8Array,
  offset: number,
): Promise<void> {
  for (let done = 0; done < buffer.length; ) {
    const length = buffer.length - done
    const bytesRead =
      length <= inThreadBytes
        ? readSync(handle.fd, buffer, done, length, offset + done)
        : (await handle.read(buffer, done, length, offset + done)).bytesRead
    if (bytesRead === 0)
      throw new VarveError('IMAGE_MISMATCH', `${path} ends at byte ${offset + done}`, {
        details: { path, offset: offset + done },
      })
    done += bytesRead
  }
}
