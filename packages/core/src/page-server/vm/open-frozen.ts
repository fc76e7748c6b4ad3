import { closeSync, openSync } from 'node:fs'
import { VarveError } from '../../errors.js'
import type { FrozenSource } from '../../memory/frozen-source.js'
import { isAlive } from '../../sys/proc.js'
import { frozenHasEnded, type OpenFrozen } from '../faults/frozen-ops.js'
import type { PageServerConfig } from '../protocol/config.js'

/**
 * Opens the memory of a frozen process. PAGE_SERVER_PROTOCOL if it has ended; HOST_UNSUPPORTED without the
 * rights of ptrace(2) over it.
 */
export function openFrozen({ process: { pid, startTime }, regions }: FrozenSource): OpenFrozen {
  const fd = openOf(pid, 'mem')
  let stat: number | undefined
  try {
    stat = openOf(pid, 'stat')
    // Looked at after both were opened: a process with that start time is the one that they are of.
    if (!isAlive({ pid, startTime })) throw frozenHasEnded(pid)
    return { pid, fd, stat, regions }
  } catch (error) {
    if (stat !== undefined) closeSync(stat)
    closeSync(fd)
    throw error
  }
}

export function closeFrozen({ fd, stat }: OpenFrozen): void {
  closeSync(fd)
  closeSync(stat)
}

function openOf(pid: number, what: 'mem' | 'stat'): number {
  try {
    return openSync(`/proc/${pid}/${what}`, 'r')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') throw frozenHasEnded(pid)
    throw new VarveError('HOST_UNSUPPORTED', `cannot read the frozen memory of process ${pid}: ${message}`, {
      remedy: 'be root, or the user that the VMM runs as',
      cause: error,
    })
  }
}

/** FORMAT_INVALID unless `next` is of the same VM and image as the configuration before it, all in layers. */
export function assertReplaces(next: PageServerConfig, before: PageServerConfig): void {
  const same =
    next.vmm.pid === before.vmm.pid &&
    next.vmm.startTime === before.vmm.startTime &&
    next.map.pages === before.map.pages &&
    next.frozen === null
  if (!same)
    throw new VarveError(
      'FORMAT_INVALID',
      `the configuration in ${before.directory} does not continue the one that is served`,
    )
}
