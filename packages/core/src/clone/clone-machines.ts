import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import { cloneLive, type LiveCloneOptions, type LiveClones } from './clone-live.js'
import { type CloneOptions, cloneSnapshot } from './clone-snapshot.js'
import type { Clones } from './clones.js'

/**
 * Several machines from one snapshot, each with its own disks, vsock path and console. `name` becomes name-1,
 * name-2, … All have the same engine, with `auto` too; what they can share is made once, before the first.
 * `ref` names the snapshot in the store; `count` is how many machines. If one fails, `onFailure` decides.
 */
export function cloneMachines(
  store: SnapshotStore,
  ref: string,
  count: number,
  options: CloneOptions & {
    /** As in `RestoreOptions`; it decides the type of the machines. */
    readonly resume: false
  },
): Promise<Clones<PausedMachine>>
export function cloneMachines(
  store: SnapshotStore,
  ref: string,
  count: number,
  options?: CloneOptions & {
    /** As in `RestoreOptions`; it decides the type of the machines. */
    readonly resume?: true | undefined
  },
): Promise<Clones<RunningMachine>>
export function cloneMachines(
  store: SnapshotStore,
  ref: string,
  count: number,
  options: CloneOptions,
): Promise<Clones<RunningMachine | PausedMachine>>
/**
 * Several machines that are what `machine` is at this moment, running or paused. It stands still as long as
 * for a live capture, whose needs apply (docs/guides/live.md; HOST_UNSUPPORTED). The clones answer before
 * there is a snapshot; `sealed` of the result tells when they are served from one. `onFailure` is `keep` by
 * default.
 */
export function cloneMachines(
  machine: RunningMachine | PausedMachine,
  count: number,
  options: LiveCloneOptions & {
    /** As in `RestoreOptions`; it decides the type of the machines. */
    readonly resume: false
  },
): Promise<LiveClones<PausedMachine>>
export function cloneMachines(
  machine: RunningMachine | PausedMachine,
  count: number,
  options: LiveCloneOptions & {
    /** As in `RestoreOptions`; it decides the type of the machines. */
    readonly resume?: true | undefined
  },
): Promise<LiveClones<RunningMachine>>
export function cloneMachines(
  machine: RunningMachine | PausedMachine,
  count: number,
  options: LiveCloneOptions,
): Promise<LiveClones<RunningMachine | PausedMachine>>
export function cloneMachines(
  from: SnapshotStore | RunningMachine | PausedMachine,
  refOrCount: string | number,
  countOrOptions: number | LiveCloneOptions,
  options: CloneOptions = {},
): Promise<Clones<RunningMachine | PausedMachine>> {
  return typeof refOrCount === 'string'
    ? cloneSnapshot(from as SnapshotStore, refOrCount, countOrOptions as number, options)
    : cloneLive(from as RunningMachine | PausedMachine, refOrCount, countOrOptions as LiveCloneOptions)
}
