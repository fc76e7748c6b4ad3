import { type BigIntStats, closeSync, constants, fstatSync, openSync, statSync } from 'node:fs'
import { flockShared, lockDescriptor, sleepInThread } from './file-lock.js'

/**
 * A file that a process has locked (flock(2)) for as long as it lives. The lock belongs to an open file
 * description: a child that inherits the descriptor keeps it after its parent has closed its own, and the
 * kernel releases it with the last one. So the lock shows whether its holder lives, in every PID namespace,
 * after any change of the clock, and although pids are reused.
 */
export interface LifeLock {
  /** The file. */
  readonly path: string
  /** Its device number, in decimal. */
  readonly device: string
  /** Its inode number, in decimal. */
  readonly inode: string
}

/** A locked file of this process (0600, close-on-exec), until it is released or the process ends. */
export interface HeldLife {
  readonly path: string
  release(): void
}

/** Makes the file if it is missing. Undefined if another process has locked it. */
export function holdLife(path: string): HeldLife | undefined {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  try {
    if (lockForLife(fd, path)) return heldLife(fd, path)
  } catch (error) {
    closeSync(fd)
    throw error
  }
  closeSync(fd)
  return undefined
}

/**
 * A look at the lock (`lookAtLife`) takes some 10 µs; this many attempts, 1 ms apart, outlast any number of
 * them.
 */
const attempts = 50

/** Locks an open file for every process that has this descriptor; false if another process holds the lock. */
export function lockForLife(fd: number, path: string): boolean {
  for (let attempt = 1; !lockDescriptor(fd, path); attempt++) {
    if (attempt === attempts) return false
    sleepInThread(1)
  }
  return true
}

/** For a descriptor that has the lock already. */
export function heldLife(fd: number, path: string): HeldLife {
  let open = true
  return {
    path,
    release: () => {
      // A second close could close an unrelated file that has got the same number.
      if (open) closeSync(fd)
      open = false
    },
  }
}

const named = (path: string, { dev, ino }: BigIntStats): LifeLock => ({
  path,
  device: `${dev}`,
  inode: `${ino}`,
})

/** How other processes find the locked file; null if there is no such file. */
export function lifeLockAt(path: string): LifeLock | null {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stat === undefined ? null : named(path, stat)
}

/**
 * `free`: the holder has ended. `unknown`: the file is not there, is another one by now, or this user may not
 * open it. Takes a shared lock for a moment, so that any number of processes can look at once, and no look is
 * mistaken for a holder.
 */
export function lookAtLife({ path, device, inode }: LifeLock): 'held' | 'free' | 'unknown' {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch {
    return 'unknown'
  }
  try {
    const found = named(path, fstatSync(fd, { bigint: true }))
    if (found.device !== device || found.inode !== inode) return 'unknown'
    return flockShared(fd, path) ? 'free' : 'held'
  } finally {
    closeSync(fd)
  }
}
