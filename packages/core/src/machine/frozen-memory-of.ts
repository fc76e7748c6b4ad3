import { copiedBytesOf } from '../memory/frozen-copies.js'
import { isAlive } from '../sys/proc.js'
import type { MachineRecord } from './machine-record.js'

/** Memory of a VM that a live capture holds until its snapshot is in a store. */
export interface HeldMemory {
  /** The child of the VMM that holds it. */
  readonly pid: number
  /** What it costs, bytes: copies of pages that the guest has written since. */
  readonly copiedBytes: number
}

/** What live captures hold of this machine now. Walks page tables: some ms for each GiB. */
export function frozenMemory({ frozen }: Pick<MachineRecord, 'frozen'>): readonly HeldMemory[] {
  return frozen.flatMap((child) => {
    const copiedBytes = isAlive(child) ? copiedBytesOf(child.pid) : null
    return copiedBytes === null ? [] : [{ pid: child.pid, copiedBytes }]
  })
}
