import { VarveError } from '../errors.js'
import { hasFinePages } from '../layer/index-memory-file.js'
import { countsFrom, countsFromBoot } from '../machine/log-origin.js'
import type { MachineHandle } from '../machine/machine-handle.js'
import type { SnapshotDescription, SnapshotEntry } from '../store/snapshot-types.js'

/**
 * `directory`: where the memory file is going to be written. `takesOwed`: what the machine owes will be in
 * the snapshot, should it owe anything.
 */
export function snapshotType(
  machine: MachineHandle,
  parent: SnapshotDescription | undefined,
  base: 'auto' | 'Full' | 'Diff',
  directory: string,
  takesOwed: boolean,
): 'Full' | 'Diff' {
  if (parent !== undefined) {
    assertLineage(machine, parent.entry)
    assertNothingOwed(machine, takesOwed)
    return 'Diff'
  }
  const complete = countsFromBoot(machine) && (takesOwed || machine.owed === null)
  if (base === 'Diff' && !complete)
    throw new VarveError('IMAGE_MISMATCH', `a Diff of ${machine.id} would not hold all its memory`, {
      remedy:
        'a base by Diff needs a machine booted here with dirty tracking and no snapshot yet; take a Full',
    })
  if (base !== 'auto') return base
  return complete && hasFinePages(directory) ? 'Diff' : 'Full'
}

function assertNothingOwed(machine: MachineHandle, takesOwed: boolean): void {
  if (takesOwed || machine.owed === null) return
  throw new VarveError(
    'IMAGE_MISMATCH',
    `${machine.id} owes pages of a live capture that was not sealed, which this Diff would not hold`,
    { remedy: 'name no parent: then a base is taken; or, if the owed pages can be read, use mode live' },
  )
}

/** A Diff over the wrong parent would be an image that never was: refused before anything is written. */
function assertLineage(machine: MachineHandle, { id }: SnapshotEntry): void {
  const last = countsFrom(machine)
  if (last === id) return
  const from = last === null ? 'no known snapshot' : `snapshot ${last}`
  throw new VarveError(
    'IMAGE_MISMATCH',
    `the parent is snapshot ${id}, but the written pages of ${machine.id} count from ${from}`,
    { remedy: 'name the snapshot that was taken last or restored from, or take a Full' },
  )
}
