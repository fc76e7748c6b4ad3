import { closeSync, constants, fstatSync, lstatSync, openSync } from 'node:fs'
import { lockDescriptor, sleepInThread } from '../sys/file-lock.js'

/** `missing` also means that it is a link, or no directory. */
type DirectoryLock =
  | { readonly state: 'held'; release(): void }
  | { readonly state: 'busy' }
  | { readonly state: 'missing' }

/**
 * The lock for ending the machine that has this directory now: flock(2) of the directory itself. Only its
 * holder renames the directory, so the name leads to the same machine while the lock is held. A new machine
 * of that name has another directory, with another lock. Waits in this thread, because exit hooks end
 * machines too.
 */
export function lockMachineDirectory(directory: string, waitMs: number): DirectoryLock {
  const deadline = performance.now() + waitMs
  for (;;) {
    const fd = openDirectory(directory)
    if (fd === undefined) return { state: 'missing' }
    let keep = false
    try {
      const locked = lockDescriptor(fd, directory)
      if (locked && isStill(directory, fd)) {
        keep = true
        return { state: 'held', release: () => closeSync(fd) }
      }
      if (!locked && performance.now() >= deadline) return { state: 'busy' }
    } finally {
      if (!keep) closeSync(fd)
    }
    sleepInThread(1)
  }
}

function openDirectory(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined
    throw error
  }
}

function isStill(path: string, fd: number): boolean {
  const [opened, named] = [
    fstatSync(fd, { bigint: true }),
    lstatSync(path, { bigint: true, throwIfNoEntry: false }),
  ]
  return named !== undefined && opened.dev === named.dev && opened.ino === named.ino
}
