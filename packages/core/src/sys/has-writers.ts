import { constants } from 'node:os'
import { F_RDLCK, F_SETLEASE, F_SETSIG, F_UNLCK } from './abi.js'
import { declare, errno, errnoNumber } from './libc.js'

// Safe: integers only.
const fcntl = declare<[number, number, number]>('int fcntl(int fd, int command, long argument)')

/**
 * Whether a process has a file open for writing, or mapped so: the kernel then refuses a read lease
 * (fcntl(2), F_SETLEASE). `fd` must be open for reading only, and the file must be this user's. `unknown` if
 * the file system has no leases.
 */
export function hasWriters(fd: number): boolean | 'unknown' {
  // If the file is opened for writing while the lease is held, the kernel sends a signal: not SIGIO, which
  // would end this process.
  if (fcntl(fd, F_SETSIG, constants.signals.SIGURG) !== 0) return 'unknown'
  if (fcntl(fd, F_SETLEASE, F_RDLCK) !== 0) return errno() === errnoNumber.EAGAIN ? true : 'unknown'
  fcntl(fd, F_SETLEASE, F_UNLCK)
  return false
}
