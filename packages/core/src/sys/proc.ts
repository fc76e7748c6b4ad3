import { type BigIntStats, readdirSync, readFileSync, readlinkSync, readSync, statSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { PF_EXITING } from './abi.js'

/** A process beyond doubt: pids are reused, a pid with its start time is not. */
export interface ProcessIdentity {
  /** The process id. */
  readonly pid: number
  /** Clock ticks since boot, field 22 of /proc/PID/stat (proc(5)). */
  readonly startTime: number
}

/** Identity of a live process; undefined if there is none (a zombie counts as ended). */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid)
  return stat === undefined || stat.state === 'Z' || stat.state === 'X'
    ? undefined
    : { pid, startTime: stat.startTime }
}

export function isAlive(identity: ProcessIdentity): boolean {
  return processIdentity(identity.pid)?.startTime === identity.startTime
}

/**
 * Whether a process has ended, or its first thread has begun to. Its memory goes before the process counts as
 * ended (`isAlive`): calls for that memory, of a userfaultfd say, fail in between. A thread is marked before
 * it lets go of memory and descriptors.
 */
export function isEnding({ pid, startTime }: ProcessIdentity): boolean {
  const fields = statFields(pid)
  return fields === undefined || Number(fields[19]) !== startTime || (Number(fields[6]) & PF_EXITING) !== 0
}

/** Whether a process stands still for its tracer. A SIGKILL ends that at once. */
export const standsStill = ({ pid, startTime }: ProcessIdentity): boolean => {
  const stat = readStat(pid)
  return stat?.startTime === startTime && stat.state === 't'
}

/** For the state, which comes early in the text. */
const stateText = Buffer.alloc(64)

/**
 * The same of an open /proc/PID/stat, in a fifth of the time, for a process that stands still for a tracer or
 * since a SIGSTOP. Once it has ended, the answer is no.
 */
export function stillStands(stat: number): boolean {
  try {
    const text = stateText.toString('latin1', 0, readSync(stat, stateText, 0, stateText.length, 0))
    return /^\d+ \(.*\) [tT] /s.test(text)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

function readStat(pid: number): { state: string; startTime: number } | undefined {
  const fields = statFields(pid)
  return fields && { state: fields[0] ?? '', startTime: Number(fields[19]) }
}

/** From the state, field 3, on. */
function statFields(pid: number): string[] | undefined {
  const text = readProc(`/proc/${pid}/stat`)
  // The command name may hold spaces and brackets: fields count from behind its last ')'.
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    throw new VarveError('HOST_UNSUPPORTED', `cannot read ${path}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/**
 * Page faults of a process since it began, its threads together (proc_pid_stat(5)):
 * without and with a read from a disk.
 */
export interface PageFaults {
  /** All other faults. */
  readonly minor: number
  /** Faults that had to wait for a disk. */
  readonly major: number
}

/** Null if the process has ended. */
export function pageFaults(pid: number): PageFaults | null {
  const fields = statFields(pid)
  return fields === undefined ? null : { minor: Number(fields[7]), major: Number(fields[9]) }
}

/**
 * What a process had read from disks, bytes (proc_pid_io(5)): by page faults and reading ahead as by system
 * calls. Null if it has ended, or this user may not see it.
 */
export function diskReadBytes(pid: number): number | null {
  try {
    const bytes = /^read_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]
    return bytes === undefined ? null : Number(bytes)
  } catch {
    return null
  }
}

/** Resident set of a process in bytes, shared file pages included (/proc/PID/statm); null if it has ended. */
export function residentBytes(pid: number): number | null {
  const text = readProc(`/proc/${pid}/statm`)
  // statm counts in host pages; every supported host has 4 KiB ones (x86_64) or is refused at capture.
  return text === undefined ? null : Number(text.split(' ')[1]) * 4096
}

/** A process's memory in bytes, by who else has it (proc_pid_smaps(5), smaps_rollup). */
export interface MemoryUse {
  /** All that is in memory. */
  readonly residentBytes: number
  /** Its own share of shared pages, and all of its private ones: adds up over processes. */
  readonly proportionalBytes: number
  /** Copies of its own, and what no file holds. */
  readonly privateDirtyBytes: number
  /** Pages of files that only this process has mapped. */
  readonly privateCleanBytes: number
  /** Pages that other processes have too. */
  readonly sharedBytes: number
}

/** Null if the process has ended. Walks its page tables: some ms for each GiB. */
export function memoryUse(pid: number): MemoryUse | null {
  const text = readProc(`/proc/${pid}/smaps_rollup`)
  if (text === undefined) return null
  const of = (field: string) => Number(new RegExp(`^${field}: +(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024
  return {
    residentBytes: of('Rss'),
    proportionalBytes: of('Pss'),
    privateDirtyBytes: of('Private_Dirty'),
    privateCleanBytes: of('Private_Clean'),
    sharedBytes: of('Shared_Clean') + of('Shared_Dirty'),
  }
}

/** What each open descriptor of a process points at (/proc/PID/fd), as the kernel names it. */
export function openDescriptors(pid: number): { readonly fd: number; readonly target: string }[] {
  const directory = `/proc/${pid}/fd`
  const found: { fd: number; target: string }[] = []
  for (const name of readdirSync(directory)) {
    try {
      found.push({ fd: Number(name), target: readlinkSync(`${directory}/${name}`) })
    } catch (error) {
      // Closed since the listing.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  return found
}

/** Numbers of the userfaultfds that a process has; none if it has ended. */
export function userfaultfdsOf(pid: number): readonly number[] {
  try {
    return openDescriptors(pid)
      .filter(({ target }) => target === 'anon_inode:[userfaultfd]')
      .map(({ fd }) => fd)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** A file beyond its names: device and inode. */
export const fileIdentity = ({ dev, ino }: Pick<BigIntStats, 'dev' | 'ino'>): string => `${dev}:${ino}`

/**
 * `fileIdentity` of every file that a process has open. Right also if the process is in a jail: its
 * descriptors are looked at themselves, not their names.
 */
export function openFileIdentities(pid: number): ReadonlySet<string> {
  const directory = `/proc/${pid}/fd`
  const found = new Set<string>()
  for (const name of readdirSync(directory)) {
    // Closed since the listing: undefined.
    const stat = statSync(`${directory}/${name}`, { bigint: true, throwIfNoEntry: false })
    if (stat !== undefined) found.add(fileIdentity(stat))
  }
  return found
}
