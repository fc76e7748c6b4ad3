import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { pathError } from '../not-found.js'

/**
 * A whole file that may come from anywhere: a regular file and no symbolic link, bounded before it is read.
 * What is cut off meanwhile is shorter. NOT_FOUND, PATH_INVALID, FORMAT_INVALID (longer than `maxBytes`).
 *
 * In this thread: 30 µs, where four trips through the thread pool take 300, and checking what was
 * read takes longer than reading it.
 */
export function readSmallFile(path: string, maxBytes: number): Buffer {
  const fd = openRegular(path)
  try {
    const stat = fstatSync(fd)
    if (!stat.isFile())
      throw new VarveError('PATH_INVALID', `${path} is not a regular file`, { details: { path } })
    if (stat.size > maxBytes)
      throw new VarveError('FORMAT_INVALID', `${path} has ${stat.size} bytes, more than ${maxBytes}`, {
        details: { path, offset: maxBytes },
      })
    const bytes = Buffer.allocUnsafe(stat.size)
    let length = 0
    for (let read = -1; read !== 0 && length < bytes.length; length += read)
      read = readSync(fd, bytes, length, bytes.length - length, length)
    return bytes.subarray(0, length)
  } finally {
    closeSync(fd)
  }
}

function openRegular(path: string): number {
  try {
    // O_NONBLOCK: if a FIFO was put there, opening it must fail above, not wait for a writer.
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (cause) {
    throw pathError(cause, `cannot read ${path}: ${(cause as Error).message}`, { details: { path } })
  }
}
