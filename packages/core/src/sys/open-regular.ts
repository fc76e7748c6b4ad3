import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { VarveError } from '../errors.js'
import { pathError } from '../not-found.js'

/**
 * For reading; symbolic links are followed. NOT_FOUND or PATH_INVALID if it is
 * not there or is no regular file.
 */
export async function openRegularFile(path: string): Promise<{ handle: FileHandle; stat: Stat }> {
  // O_NONBLOCK: a FIFO must be refused below, not waited for.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(
    (cause: NodeJS.ErrnoException) => {
      throw pathError(cause, `cannot open ${path}: ${cause.message}`, { details: { path } })
    },
  )
  try {
    const stat = await handle.stat()
    if (!stat.isFile()) throw new VarveError('PATH_INVALID', `${path} is not a regular file`)
    return { handle, stat: { sizeBytes: stat.size, allocatedBytes: stat.blocks * 512 } }
  } catch (error) {
    await handle.close()
    throw error
  }
}

export interface Stat {
  readonly sizeBytes: number
  /** What the file takes on disk. */
  readonly allocatedBytes: number
}

/**
 * Fills `buffer` from `offset` up to the end of the file, and returns the number of bytes. PATH_INVALID if
 * the file cannot be read: some files of /proc can be opened but not read, and a bad disk fails too.
 */
export async function readFully(
  { handle, path }: { readonly handle: FileHandle; readonly path: string },
  buffer: Uint8Array,
  offset: number,
): Promise<number> {
  let done = 0
  while (done < buffer.length) {
    const { bytesRead } = await handle
      .read(buffer, done, buffer.length - done, offset + done)
      .catch((cause: Error) => {
        throw pathError(cause, `cannot read ${path}: ${cause.message}`, { details: { path } })
      })
    if (bytesRead === 0) break
    done += bytesRead
  }
  return done
}
