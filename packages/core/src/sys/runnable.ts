import { openSync, readSync } from 'node:fs'

const buffer = Buffer.alloc(128)
let fd: number | undefined

/**
 * How many threads of this machine run or wait for a CPU at this moment, the calling one among them. Takes
 * some 3 µs.
 */
export function runnableThreads(): number {
  fd ??= openSync('/proc/loadavg', 'r')
  // "0.20 0.18 0.12 1/80 11206": the fourth is runnable/existing (man 5 proc).
  const text = buffer.toString('latin1', 0, readSync(fd, buffer, 0, buffer.length, 0))
  return Number.parseInt(text.split(' ')[3] ?? '', 10)
}
