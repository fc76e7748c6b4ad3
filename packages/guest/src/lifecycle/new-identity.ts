import type { FixUpCall, RunningMachine, FixUp as TellGuest } from 'varve'
import type { FixUp } from './fix-up.js'
import { guestAgent } from './guest-agent.js'

/** What one restored machine is told besides. */
export type FixUpOfEach = (machine: RunningMachine, clone: FixUpCall['clone']) => FixUp

/**
 * For `fixUp` of `restoreMachine` and `cloneMachines`, with guests that have the agent: makes the guest one
 * of its own. It gets the host's time, new entropy, a new machine id, and its machine's name as host name;
 * then it runs its own fix-up scripts. `what` changes or adds parts, for each machine if it is a function. A
 * host name that is given for several clones gets their numbers.
 */
export function newIdentity(what: FixUp | FixUpOfEach = {}): TellGuest {
  return async (machine, { clone, signal }) => {
    const own = typeof what === 'function' ? what(machine, clone) : numbered(what, clone)
    const fixUp = { hostname: machine.id, machineId: true, ...own } as const
    return (await guestAgent(machine).fixUp(fixUp, { signal })).steps
  }
}

const numbered = (what: FixUp, clone: number | null): FixUp =>
  clone === null || what.hostname === undefined ? what : { ...what, hostname: `${what.hostname}-${clone}` }
