import { constants } from 'node:os'
import { F_GETLEASE, F_SETLEASE, F_SETSIG, F_UNLCK } from './abi.js'
import { declare, errno, errnoName } from './libc.js'

// Safe: integers only.
const fcntl = declare<[number, number, number]>('int fcntl(int fd, int command, long argument)')

/**
 * Takes a lease on an open file (fcntl(2), F_SETLEASE): `kind` is F_RDLCK or F_WRLCK. Gives null, or the name
 * of the error. If another process opens the file, the kernel sends SIGURG: not SIGIO, which would end this
 * process.
 */
export function takeLease(fd: number, kind: number): string | null {
  const taken = fcntl(fd, F_SETSIG, constants.signals.SIGURG) === 0 && fcntl(fd, F_SETLEASE, kind) === 0
  return taken ? null : errnoName(errno())
}

/** Gives a lease back; false if there was none any more. */
export const endLease = (fd: number): boolean => fcntl(fd, F_SETLEASE, F_UNLCK) === 0

/** Whether another process has opened the file for writing, and waits until the lease is given back. */
export const leaseIsAwaited = (fd: number): boolean => fcntl(fd, F_GETLEASE, 0) === F_UNLCK
