import type { MachineRecord } from './machine-record.js'

type Log = Pick<MachineRecord, 'snapshotId' | 'owed'>

/** The snapshot that the next Diff counts from; null: the boot, or none that is known. */
export const countsFrom = ({ snapshotId, owed }: Log): string | null =>
  owed === null ? snapshotId : owed.from

/** Whether the log of written pages, with the pages owed, reaches back to the boot. */
export const countsFromBoot = ({
  bootedHere,
  dirtyTracking,
  snapshotsTaken,
  owed,
}: Pick<MachineRecord, 'dirtyTracking' | 'snapshotsTaken' | 'owed'> & {
  readonly bootedHere: boolean
}): boolean => bootedHere && dirtyTracking && (snapshotsTaken === 0 || (owed !== null && owed.from === null))
