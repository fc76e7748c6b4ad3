// What code blocks of the guides may use without saying where it comes from. A block that declares one of
// these names uses its own.
import type { LabFunction } from '@varve/lab'
import type { PausedMachine, RunningMachine, SnapshotStore } from 'varve'
import type { WorkingSet } from 'varve/working-sets'

declare global {
  const store: SnapshotStore
  const machine: RunningMachine
  const paused: PausedMachine
  const restored: RunningMachine
  const workingSet: WorkingSet
  /** The function of docs/guides/nested-lab.md. */
  const double: LabFunction
}
