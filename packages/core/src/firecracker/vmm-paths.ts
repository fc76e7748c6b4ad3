import { join } from 'node:path'
import { assertSocketPath } from './vmm-files.js'

/** Files of one VM, by their fixed names in its directory. */
export interface VmmPaths {
  /** The machine's own directory (0700). */
  readonly directory: string
  /** Unix socket of Firecracker's API. */
  readonly apiSocket: string
  /** FIFO that is the guest's serial input. Firecracker reads its stdin only from a FIFO or a terminal. */
  readonly consoleInput: string
  /** Everything the guest wrote to its serial port. */
  readonly consoleOutput: string
  /** What Firecracker writes to its standard error. */
  readonly standardError: string
  /** Firecracker's log. */
  readonly log: string
}

/**
 * Names as Firecracker is told them: relative to its working directory, which is the
 * VM's own (or the jail's root).
 */
export const apiSocketName = 'api.sock'
export const logName = 'firecracker.log'

/**
 * In the VM's directory, and locked (flock) for as long as the VMM lives: the VMM inherits the locked
 * descriptor as its standard error, one of the three that the jailer leaves open.
 */
export const standardErrorName = 'stderr.log'

/** PATH_INVALID if a socket's path would be too long. */
export function vmmPaths(directory: string, jailRoot?: string): VmmPaths {
  const local = jailRoot ?? directory
  return {
    directory,
    apiSocket: assertSocketPath(join(local, apiSocketName)),
    consoleInput: join(directory, 'console.in'),
    consoleOutput: join(directory, 'console.log'),
    standardError: join(directory, standardErrorName),
    log: join(local, logName),
  }
}
