import { closeSync } from 'node:fs'
import { VarveError } from '../../errors.js'
import { duplicateDescriptor, openPidfd } from '../../sys/pidfd.js'
import { type ProcessIdentity, userfaultfdsOf } from '../../sys/proc.js'
import { type PageServerConfig, readPageServerConfig } from '../protocol/config.js'
import { killUnserved } from '../protocol/death.js'
import { pageServerFiles, pageServerRoot } from '../protocol/page-server-files.js'
import { readGraduated } from '../protocol/served-graduation.js'
import { listServedVms, removeServedVm, type ServedVmEntry } from '../protocol/served-vms.js'
import { readRemovedPages, readVmState } from '../protocol/vm-state.js'
import type { TakenOver } from './served-vm.js'

export interface FoundVm extends TakenOver {
  readonly config: PageServerConfig
}

/**
 * The VMs that a server left behind. A VM that this process cannot serve is killed here, before
 * anything else takes time. `tooOften`: servers die here so often that their VMs are given up. Only
 * for who holds the server's lock.
 */
export function findServedVms(
  runtime: string,
  { before, tooOften = false }: { readonly before?: ProcessIdentity; readonly tooOften?: boolean } = {},
): FoundVm[] {
  const { vms } = pageServerRoot(runtime)
  return listServedVms(vms).flatMap((entry) => {
    try {
      if (tooOften) throw new VarveError('PAGE_SERVER_DIED', 'page servers die here one after the other')
      const found = findServedVm(entry)
      if (found !== undefined) return [found]
    } catch (error) {
      const who = before === undefined ? 'the page server' : `process ${before.pid}`
      const why = (error as Error).message
      killUnserved(
        entry,
        `${who} ended while the VM depended on it, and no other could take over (${why}); the VM was killed`,
      )
    }
    removeServedVm(vms, entry.vmm)
    return []
  })
}

/**
 * All that is needed to serve a VM on: its configuration, and its memory by Firecracker's own
 * userfaultfd, of which pidfd_getfd(2) gives a duplicate. Throws if it cannot be had; undefined if the VM
 * has ended, or needs no server.
 */
function findServedVm({ vmm, directory }: ServedVmEntry): FoundVm | undefined {
  const pidfd = openPidfd(vmm)
  if (pidfd === undefined) return undefined
  const duplicates: number[] = []
  try {
    if (readGraduated(pageServerFiles(directory).graduated) !== undefined) return undefined
    // First what may be refused and takes no time.
    for (const fd of userfaultfdsOf(vmm.pid).slice(0, 2)) duplicates.push(duplicateDescriptor(pidfd, fd))
    return withMemory(directory, duplicates)
  } catch (error) {
    for (const fd of duplicates) closeSync(fd)
    throw error
  } finally {
    closeSync(pidfd)
  }
}

function withMemory(directory: string, userfaultfds: readonly number[]): FoundVm {
  const files = pageServerFiles(directory)
  const config = readPageServerConfig(files.config)
  const state = readVmState(files.state, config.map.pages)
  const [userfaultfd] = userfaultfds
  if (state === undefined) {
    // A handshake that was sent and not noted, in the moment of the server's death,
    // has taken the regions with it.
    if (userfaultfd !== undefined) throw new VarveError('PAGE_SERVER_PROTOCOL', 'its handshake is not known')
    return { config, handshake: null, recording: null }
  }
  if (userfaultfd === undefined || userfaultfds.length > 1)
    throw new VarveError('PAGE_SERVER_PROTOCOL', `it has ${userfaultfds.length} userfaultfds, not one`)
  readRemovedPages(files.removed, config.map.pages)
  const { recording, ...memory } = state
  return { config, handshake: { userfaultfd, ...memory }, recording }
}
