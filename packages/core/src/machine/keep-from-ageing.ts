import { closeSync, constants, openSync } from 'node:fs'
import { flockShared } from '../sys/file-lock.js'

const held = new Map<string, number>()

/**
 * Keeps a runtime directory from systemd-tmpfiles, which removes what is old in /tmp and /var/tmp: records
 * and lock files of a machine that has run for some days. It skips a directory on which a process holds a
 * lock (flock(2)), with all that is below (tmpfiles.d(5)). Repeat the call: the lock is not to be had while
 * systemd-tmpfiles itself has it.
 */
export function keepFromAgeing(runtime: string): void {
  if (held.has(runtime)) return
  let fd: number
  try {
    fd = openSync(runtime, constants.O_RDONLY | constants.O_DIRECTORY)
  } catch {
    return
  }
  if (flockShared(fd, runtime)) held.set(runtime, fd)
  else closeSync(fd)
}

/** For a process that has no machine there any more. */
export function leaveToAgeing(runtime: string): void {
  const fd = held.get(runtime)
  held.delete(runtime)
  if (fd !== undefined) closeSync(fd)
}
