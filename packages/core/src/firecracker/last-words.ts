import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import type { VmmPaths } from './vmm-paths.js'

/** Enough for Firecracker's last error, short enough for a message. */
const tailBytes = 2048
const tailLines = 4

/** The last lines of stderr and of Firecracker's own log, for error messages. */
export function lastWords(paths: Pick<VmmPaths, 'standardError' | 'log'>): string {
  const parts = [paths.standardError, paths.log].map(lastLines).filter((text) => text !== '')
  return parts.join(' | ') || 'it left no message'
}

/** The last lines of a file that may hold any bytes; empty if it cannot be read. */
export function lastLines(path: string): string {
  let fd: number
  try {
    // The log may lie in a jail: its user must not have a link followed, nor a FIFO waited for.
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch {
    return ''
  }
  try {
    const stat = fstatSync(fd)
    if (!stat.isFile()) return ''
    const buffer = Buffer.alloc(Math.min(stat.size, tailBytes))
    const read = readSync(fd, buffer, 0, buffer.length, stat.size - buffer.length)
    const lines = buffer.toString('utf8', 0, read).split('\n')
    return lines
      .filter((line) => line.trim() !== '')
      .slice(-tailLines)
      .join(' / ')
  } finally {
    closeSync(fd)
  }
}
