import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

/** Far more than a reason needs; a log that grew for days is not read as a whole. */
const maxLogBytes = 64 * 1024

export const readLogStart = (path: string): string => readLog(path, () => 0)
export const readLogEnd = (path: string): string => readLog(path, (size) => Math.max(0, size - maxLogBytes))

function readLog(path: string, from: (size: number) => number): string {
  const fd = openSync(path, 'r')
  try {
    const buffer = Buffer.alloc(maxLogBytes)
    return buffer.toString('utf8', 0, readSync(fd, buffer, 0, maxLogBytes, from(fstatSync(fd).size)))
  } finally {
    closeSync(fd)
  }
}
