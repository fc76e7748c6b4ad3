import type { FixUpStep, Restored, RunningMachine } from 'varve'
import { type GuestAgent, guestAgent } from '../agent/guest-agent.js'
import { stopGuest } from './stop-guest.js'

/**
 * A guest that runs, with what its agent can do. Disposed of, it has its hook `terminate` run, and its
 * machine ends, unless that was detached.
 */
export interface Guest extends GuestAgent, AsyncDisposable {
  readonly machine: RunningMachine
  /** What it was told before it was ready, and the programs of its hook: each with its time in the guest. */
  readonly told: readonly FixUpStep[]
}

/** A guest that was restored, with what `restoreMachine` gives besides. */
export interface RestoredGuest extends Guest, Omit<Restored<RunningMachine>, 'machine'> {}

export const guestOf = (machine: RunningMachine, told: readonly FixUpStep[]): Guest => ({
  ...guestAgent(machine),
  machine,
  told,
  [Symbol.asyncDispose]: async () => {
    if (!machine.detached) await stopGuest(machine)
  },
})

export function restoredGuest(restored: Restored<RunningMachine>): RestoredGuest {
  const { machine, report } = restored
  const guest = guestOf(machine, report.fixUp ?? [])
  return {
    ...restored,
    ...guest,
    [Symbol.asyncDispose]: async () => {
      await using _restored = restored
      await guest[Symbol.asyncDispose]()
    },
  }
}
