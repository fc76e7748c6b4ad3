import { closeSync, constants, openSync } from 'node:fs'
import { USERFAULTFD_IOC_NEW } from './abi.js'
import { declare } from './libc.js'
import { SYS_userfaultfd } from './userfaultfd.js'

// Safe: integers only.
const userfaultfd = declare<[number, number]>('long syscall(long number, int flags)')
const ioctl = declare<[number, number, number]>(
  'int ioctl(int fd, unsigned long request, unsigned long flags)',
)

/**
 * How a process of this user gets a userfaultfd that also covers faults taken in the kernel, which
 * KVM's are; undefined where it gets none. Firecracker asks without UFFD_USER_MODE_ONLY, so it is
 * refused exactly where this is.
 */
export function probeUserfaultfd(): 'system call' | '/dev/userfaultfd' | undefined {
  const flags = constants.O_NONBLOCK
  const fd = SYS_userfaultfd === undefined ? -1 : userfaultfd(SYS_userfaultfd, flags)
  if (fd >= 0) {
    closeSync(fd)
    return 'system call'
  }
  let device: number
  try {
    device = openSync('/dev/userfaultfd', constants.O_RDWR)
  } catch {
    return undefined
  }
  try {
    const made = ioctl(device, USERFAULTFD_IOC_NEW, flags)
    if (made < 0) return undefined
    closeSync(made)
    return '/dev/userfaultfd'
  } finally {
    closeSync(device)
  }
}
