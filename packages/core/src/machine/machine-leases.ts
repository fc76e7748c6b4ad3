import { removeSmallFile } from '../sys/mutations.js'
import {
  changeRecord,
  currentRecord,
  leasePaths,
  type MachineLeases,
  type MachineRecord,
  readRecord,
} from './machine-record.js'

/**
 * Changes the record together with the leases that it names, and ends the leases that it no longer names.
 * `offered` is a lease that exists already: if the change does not use it, or the machine has ended, it ends
 * too.
 */
export function changeLeases(
  directory: string,
  known: MachineRecord,
  offered: string | null,
  change: (now: MachineRecord) => Partial<MachineRecord> & { readonly leases: MachineLeases },
): MachineRecord {
  let before: MachineLeases = known.leases
  const changed = changeRecord(directory, known, (now) => {
    before = now.leases
    return change(now)
  })
  const now = currentRecord(directory, changed)
  const needed = now === undefined ? [] : leasePaths(now.leases)
  const all = [...leasePaths(before), ...leasePaths(changed.leases), ...(offered === null ? [] : [offered])]
  for (const path of new Set(all)) if (!needed.includes(path)) removeSmallFile(path)
  return changed
}

/**
 * For a VM that has all of its memory for itself: from now on only its log of written pages needs a snapshot.
 */
export function endMemoryLease(directory: string): void {
  const record = readRecord(directory)
  if (record === undefined || record.leases.memory === null) return
  changeLeases(directory, record, null, ({ leases }) => ({ leases: { ...leases, memory: null } }))
}
