import { fdatasyncSync } from 'node:fs'
import { POSIX_FADV_DONTNEED, POSIX_FADV_RANDOM, POSIX_FADV_WILLNEED } from './abi.js'
import { declare, syscallError } from './libc.js'

// Safe: integers only. Returns the error number instead of setting errno (posix_fadvise(2)).
const posixFadvise = declare<[number, number, number, number]>(
  'int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)',
)

function advise(fd: number, offsetBytes: number, lengthBytes: number, advice: number): void {
  const number = posixFadvise(fd, offsetBytes, lengthBytes, advice)
  if (number !== 0) throw syscallError('posix_fadvise', number, `advice ${advice} on descriptor ${fd}`)
}

/**
 * Drops a file's clean pages from the page cache. Dirty pages do not drop, so they are written out first;
 * pages that a process has mapped stay.
 */
export function dropPageCache(fd: number): void {
  fdatasyncSync(fd)
  advise(fd, 0, 0, POSIX_FADV_DONTNEED)
}

/** No read-ahead through this open file description: a read then brings in no more than it asked for. */
export function adviseRandom(fd: number): void {
  advise(fd, 0, 0, POSIX_FADV_RANDOM)
}

/**
 * Starts reading a range into the page cache. The kernel cuts larger calls to its read-ahead size (128 KiB).
 */
export function adviseWillNeed(fd: number, offsetBytes: number, lengthBytes: number): void {
  advise(fd, offsetBytes, lengthBytes, POSIX_FADV_WILLNEED)
}
