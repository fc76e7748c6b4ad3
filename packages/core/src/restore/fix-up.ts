import type { CallOptions } from '../firecracker/api-client.js'
import type { RunningMachine } from '../machine/machine-states.js'

/** Something that a guest was told after its restore. */
export interface FixUpStep {
  /** What it was, for example `clock`. */
  readonly name: string
  /** How long it took in the guest, milliseconds. */
  readonly ms: number
}

/** For which machine. */
export interface FixUpCall extends CallOptions {
  /** The number of the clone, from 1; null: it is the only one. */
  readonly clone: number | null
}

/**
 * Tells a guest that has just been restored, and runs, what is not as it was when it was captured: the time,
 * a name and an address of its own, new entropy. If it rejects, the restore fails. `newIdentity` of
 * `@varve/guest` makes one for guests with its agent.
 */
export type FixUp = (machine: RunningMachine, call: FixUpCall) => Promise<readonly FixUpStep[]>
