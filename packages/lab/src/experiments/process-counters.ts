import { readFileSync, statSync } from 'node:fs'

/** What a process has cost so far. Counters of the kernel, exact. */
export interface ProcessCounters {
  readonly minorFaults: number
  readonly majorFaults: number
  /** Bytes that it had fetched from a disk; null without the right to look. */
  readonly readBytes: number | null
}

/** Zeros and null if the process has ended. */
export function processCounters(pid: number): ProcessCounters {
  // proc_pid_stat(5): fields 10 and 12, counted behind the name, which may hold spaces and brackets.
  const stat = read(`/proc/${pid}/stat`) ?? ''
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const readBytes = /^read_bytes: (\d+)$/m.exec(read(`/proc/${pid}/io`) ?? '')?.[1]
  return {
    minorFaults: Number(fields[7] ?? 0),
    majorFaults: Number(fields[9] ?? 0),
    readBytes: readBytes === undefined ? null : Number(readBytes),
  }
}

/**
 * Bytes read so far from the disk that a file lies on, by any process; null if the kernel does
 * not tell (no disk of its own).
 */
export function deviceReadBytes(path: string): number | null {
  const { dev } = statSync(path)
  // As in <sys/sysmacros.h>: 12 bits of major and 20 of minor number, the low 8 bits of the minor one first.
  const [major, minor] = [(dev >>> 8) & 0xfff, (dev & 0xff) | ((dev >>> 12) & 0xfff00)]
  const sectors = read(`/sys/dev/block/${major}:${minor}/stat`)?.trim().split(/\s+/)[2]
  return sectors === undefined ? null : Number(sectors) * 512
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}
