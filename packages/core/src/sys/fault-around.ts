import { closeSync, constants, openSync, readFileSync, writeFileSync } from 'node:fs'
import { pageBytes } from './abi.js'
import { onProcessEnd } from './exit-hooks.js'
import { lockDescriptor } from './file-lock.js'

/** Linux's default (mm/memory.c): a read fault on a file maps up to 16 pages that are in the page cache. */
const defaultBytes = 65_536

/**
 * How many bytes of a file a read fault maps at once, if they are in the page cache: a setting of the whole
 * kernel, in debugfs. While it is one page, what is mapped was touched.
 */
export interface FaultAround extends Disposable {
  /** In effect now. If debugfs cannot be read, the kernel's default. */
  readonly bytes: number
  /** It is one page, and stays so until this is disposed. */
  readonly held: boolean
  /** Why it could not be set. */
  readonly reason: string | undefined
  /** A command, or another way, to record only touched pages. */
  readonly remedy: string | undefined
}

interface Hold {
  readonly path: string
  readonly fd: number
  readonly former: string
  users: number
  takeBack: () => void
}

/** The one hold of this process: recordings at the same time share it. */
let hold: Hold | undefined

/**
 * Sets fault-around to one page until disposed; put back also when this process ends, by Ctrl-C too, but
 * not by SIGKILL: the kernel then keeps one page, which costs faults and nothing else. Needs root, a
 * mounted debugfs, and a kernel that is not locked down (kernel_lockdown(7)); without these nothing
 * changes, and `reason` says why. A lock on the file keeps other processes from putting back what this one
 * found, or the other way round.
 */
export function holdFaultAround(path = faultAroundPath()): FaultAround {
  if (path === undefined) return notHeld(defaultBytes, notMounted)
  if (hold === undefined || hold.path !== path) {
    let fd: number
    try {
      fd = openSync(path, constants.O_RDWR)
    } catch (error) {
      return notHeld(readBytes(path), obstacleOf(path, error as NodeJS.ErrnoException))
    }
    try {
      if (!lockDescriptor(fd, path)) {
        closeSync(fd)
        return notHeld(readBytes(path), heldByAnother(path))
      }
      // By name, not through `fd`: files of debugfs have no position to read or write again from.
      const former = readFileSync(path, 'latin1').trim()
      writeFileSync(path, `${pageBytes}\n`)
      const made: Hold = { path, fd, former, users: 0, takeBack: () => {} }
      made.takeBack = onProcessEnd(() => release(made))
      hold = made
    } catch (error) {
      closeSync(fd)
      return notHeld(readBytes(path), obstacleOf(path, error as NodeJS.ErrnoException))
    }
  }
  const mine = hold
  mine.users++
  let disposed = false
  return {
    bytes: pageBytes,
    held: true,
    reason: undefined,
    remedy: undefined,
    [Symbol.dispose]: () => {
      if (disposed) return
      disposed = true
      if (--mine.users === 0) release(mine)
    },
  }
}

function release(it: Hold): void {
  if (hold !== it) return
  hold = undefined
  it.takeBack()
  try {
    writeFileSync(it.path, `${it.former}\n`)
  } finally {
    closeSync(it.fd)
  }
}

const notHeld = (bytes: number, { reason, remedy }: FaultAroundObstacle): FaultAround => ({
  bytes,
  held: false,
  reason,
  remedy,
  [Symbol.dispose]: () => {},
})

/** Why fault-around cannot be held at one page, and what to do about it. */
export interface FaultAroundObstacle {
  readonly reason: string
  readonly remedy: string
}

const otherRecorder = 'record with the faults recorder and the paged engine, which count single pages'

const notMounted: FaultAroundObstacle = {
  reason: 'debugfs is not mounted',
  remedy: 'mount -t debugfs debugfs /sys/kernel/debug',
}

const heldByAnother = (path: string): FaultAroundObstacle => ({
  reason: `another recording has set ${path}`,
  remedy: 'record again when that recording has ended',
})

function obstacleOf(path: string, { code, message }: NodeJS.ErrnoException): FaultAroundObstacle {
  if (code === 'EACCES') return { reason: `only root may set ${path}`, remedy: 'run as root' }
  // debugfs refuses root with EPERM if kernel_lockdown(7) is on.
  if (code === 'EPERM')
    return { reason: `the kernel is locked down: it refuses to set ${path}`, remedy: otherRecorder }
  return { reason: message, remedy: otherRecorder }
}

/** Why a recording could not hold fault-around at one page now; undefined if it could. Changes nothing. */
export function faultAroundObstacle(path = faultAroundPath()): FaultAroundObstacle | undefined {
  if (path === undefined) return notMounted
  try {
    closeSync(openSync(path, constants.O_RDWR))
    return undefined
  } catch (error) {
    return obstacleOf(path, error as NodeJS.ErrnoException)
  }
}

/** How many bytes a read fault maps now; the kernel's default if that cannot be read. */
export function faultAroundBytes(path = faultAroundPath()): number {
  return path === undefined ? defaultBytes : readBytes(path)
}

function readBytes(path: string): number {
  try {
    const bytes = Number(readFileSync(path, 'latin1').trim())
    return Number.isInteger(bytes) && bytes >= pageBytes ? bytes : defaultBytes
  } catch {
    return defaultBytes
  }
}

/** Wherever debugfs is mounted. */
function faultAroundPath(): string | undefined {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, directory = '', type] = line.split(' ')
    if (type === 'debugfs') return `${directory}/fault_around_bytes`
  }
  return undefined
}
