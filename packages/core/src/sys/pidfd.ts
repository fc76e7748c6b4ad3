import { closeSync } from 'node:fs'
import { constants } from 'node:os'
import { SYS_pidfd_getfd, SYS_pidfd_open, SYS_pidfd_send_signal } from './abi.js'
import { declare, errno, errnoNumber, syscallError } from './libc.js'
import { isAlive, type ProcessIdentity } from './proc.js'

// Safe: integers only, no memory is passed.
const pidfdOpen = declare<[number, number, number]>('long syscall(long number, int pid, uint32_t flags)')
// Safe: `info` is always null, the rest are integers.
const pidfdSendSignal = declare<[number, number, number, null, number]>(
  'long syscall(long number, int pidfd, int signal, void *info, uint32_t flags)',
)

// Safe: integers only.
const pidfdGetfd = declare<[number, number, number, number]>(
  'long syscall(long number, int pidfd, int fd, uint32_t flags)',
)

/**
 * A descriptor of ours for what another process has open (Linux 5.6; close-on-exec). Needs the rights of
 * ptrace(2) over it. Close it with `fs.closeSync`.
 */
export function duplicateDescriptor(pidfd: number, fd: number): number {
  const own = pidfdGetfd(SYS_pidfd_getfd, pidfd, fd, 0)
  if (own < 0) throw syscallError('pidfd_getfd', errno(), `descriptor ${fd} of another process`)
  return own
}

/**
 * A descriptor that names one process for good (Linux 5.3). Undefined if the process has ended. Close it with
 * `fs.closeSync`. It polls readable when the process ends.
 */
export function openPidfd(identity: ProcessIdentity): number | undefined {
  const fd = pidfdOpen(SYS_pidfd_open, identity.pid, 0)
  if (fd < 0) {
    const number = errno()
    if (number === errnoNumber.ESRCH) return undefined
    throw syscallError('pidfd_open', number, `process ${identity.pid}`, 'HOST_UNSUPPORTED')
  }
  // The start time is compared after opening: from here on the pid cannot be reused unnoticed.
  if (isAlive(identity)) return fd
  closeSync(fd)
  return undefined
}

/** Sends a signal; false if the process has ended. */
export function signalPidfd(fd: number, signal: NodeJS.Signals): boolean {
  if (pidfdSendSignal(SYS_pidfd_send_signal, fd, constants.signals[signal], null, 0) === 0) return true
  const number = errno()
  if (number === errnoNumber.ESRCH) return false
  throw syscallError('pidfd_send_signal', number, signal)
}

/** Signals exactly the named process, never a later one with its pid; false if it has ended. */
export function killProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  const fd = openPidfd(identity)
  if (fd === undefined) return false
  try {
    return signalPidfd(fd, signal)
  } finally {
    closeSync(fd)
  }
}
