import { constants, type Stats } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { VarveError } from '../errors.js'
import { pathError } from '../not-found.js'

export interface OpenRegularOptions {
  /** What the file is, for messages: `layer`, say. */
  readonly what?: string
  /** Default false: a link in place of a file of ours was not made by us. */
  readonly followLinks?: boolean
}

/** As it was when it was opened. */
export interface RegularFile extends AsyncDisposable {
  readonly handle: FileHandle
  readonly stat: Stats
}

/**
 * Opens a file for reading that anybody may have put there. NOT_FOUND or PATH_INVALID if it is
 * not there or is no regular file.
 */
export async function openRegular(
  path: string,
  { what, followLinks = false }: OpenRegularOptions = {},
): Promise<RegularFile> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants
  const name = what === undefined ? path : `${what} ${path}`
  // O_NONBLOCK: a FIFO must be refused below, not waited for.
  const flags = O_RDONLY | O_NONBLOCK | (followLinks ? 0 : O_NOFOLLOW)
  const handle = await open(path, flags).catch((cause: Error) => {
    throw pathError(cause, `cannot open ${name}: ${cause.message}`, { details: { path } })
  })
  try {
    const stat = await handle.stat()
    if (!stat.isFile()) throw new VarveError('PATH_INVALID', `${name} is not a regular file`)
    return { handle, stat, [Symbol.asyncDispose]: () => handle.close() }
  } catch (error) {
    await handle.close()
    throw error
  }
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
