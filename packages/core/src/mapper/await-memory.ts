import { statSync } from 'node:fs'
import { VarveError } from '../errors.js'
import type { MappedRegion } from '../memory/mapped-region.js'
import { KVM_SET_USER_MEMORY_REGION, KVM_SET_USER_MEMORY_REGION2, SIGTRAP, SYS_ioctl } from '../sys/abi.js'
import type { Tracee } from '../sys/inject/ptrace.js'
import { systemCall } from '../sys/inject/system-call.js'
import { fileIdentity } from '../sys/proc.js'
import { RegionCollector } from './region-collector.js'

/** With these KVM gets guest memory. */
const slotRequests = [KVM_SET_USER_MEMORY_REGION, KVM_SET_USER_MEMORY_REGION2].map(BigInt)

interface CaughtMemory {
  readonly regions: readonly MappedRegion[]
  /** How often the VMM stood still on the way: twice a system call. */
  readonly stops: number
}

/**
 * Follows a VMM, which is interrupted, from system call to system call, until it has mapped the whole of its
 * memory file (`file`, as `fileIdentity` names it). It then stands at the exit of that mmap: nothing has read
 * or written guest memory yet, and KVM does not know of it. MACHINE_EXITED if the VMM ends before;
 * INJECTION_FAILED if its guest would get other memory.
 */
export function awaitMemory(tracee: Tracee, file: string, pages: number): CaughtMemory {
  const collector = new RegionCollector(pages)
  let asked: { readonly lengthBytes: number; readonly offsetBytes: number } | undefined
  for (let stops = 1; ; stops++) {
    toNextSystemCall(tracee)
    const info = tracee.syscallInfo()
    if (info.op === 'entry') {
      const [, length, , , fd, offset] = info.args
      // Of ioctl, the second argument is the request.
      if (info.number === SYS_ioctl && slotRequests.includes(length as bigint))
        throw new VarveError(
          'INJECTION_FAILED',
          `Firecracker gives its guest memory that does not come from the ${pages} pages of the memory file`,
          { remedy: 'use another engine with this version' },
        )
      asked =
        info.number === systemCall.mmap && isOf(tracee.identity.pid, fd as bigint, file)
          ? { lengthBytes: Number(length), offsetBytes: Number(offset) }
          : undefined
    } else if (info.op === 'exit' && asked !== undefined) {
      if (!info.isError) collector.add({ address: Number(info.result), ...asked })
      asked = undefined
      const regions = collector.complete
      if (regions !== undefined) return { regions, stops }
    }
  }
}

function isOf(pid: number, fd: bigint, file: string): boolean {
  if (fd >= 2n ** 31n) return false
  const stat = statSync(`/proc/${pid}/fd/${fd}`, { bigint: true, throwIfNoEntry: false })
  return stat !== undefined && fileIdentity(stat) === file
}

function toNextSystemCall(tracee: Tracee): void {
  tracee.go('syscall')
  for (;;) {
    const stop = tracee.wait()
    if (stop.kind === 'syscall') return
    if (stop.kind === 'ended')
      throw new VarveError(
        'MACHINE_EXITED',
        `process ${tracee.identity.pid} ended (${stop.how}) before it mapped its memory`,
      )
    if (stop.kind === 'signal') tracee.go('syscall', stop.signal)
    // Not for a mapper: it does not trace what is cloned.
    else if (stop.kind === 'clone') tracee.go('syscall')
    else if (stop.signal === SIGTRAP) tracee.go('syscall')
    // Another process stopped it; it is not for us to continue it.
    else tracee.listen()
  }
}
