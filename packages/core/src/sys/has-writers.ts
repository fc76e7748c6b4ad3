import { F_RDLCK } from './abi.js'
import { endLease, takeLease } from './file-lease.js'

/**
 * Whether a process has a file open for writing, or mapped so: the kernel then refuses a read lease
 * (fcntl(2), F_SETLEASE). `fd` must be open for reading only, and the file must be this user's. `unknown` if
 * the file system has no leases.
 */
export function hasWriters(fd: number): boolean | 'unknown' {
  const error = takeLease(fd, F_RDLCK)
  if (error !== null) return error === 'EAGAIN' ? true : 'unknown'
  endLease(fd)
  return false
}
