import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

/** Far more than a reason needs; a log that grew for days is not read as a whole. */
const maxLogBytes = 64 * 1024

/** The end of a log. */
export function readLogEnd(path: string): string {
  const fd = openSync(path, 'r')
  try {
    const buffer = Buffer.alloc(maxLogBytes)
    const from = Math.max(0, fstatSync(fd).size - maxLogBytes)
    return buffer.toString('utf8', 0, readSync(fd, buffer, 0, maxLogBytes, from))
  } finally {
    closeSync(fd)
  }
}
