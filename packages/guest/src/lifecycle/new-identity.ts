import type { FixUpCall, FixUpStep, RunningMachine, FixUp as TellGuest } from 'varve'
import type { FixUp } from '../agent/fix-up.js'
import { guestAgent } from '../agent/guest-agent.js'
import { type HookOptions, hookSteps } from './lifecycle-hook.js'

/** What one restored machine is told besides. */
export type FixUpOfEach = (machine: RunningMachine, clone: FixUpCall['clone']) => FixUp

type Hooks = Pick<HookOptions, 'hookMs'>

/**
 * For `fixUp` of `restoreMachine` and `cloneMachines`, with guests that have the agent: makes the guest one
 * of its own. It gets the host's time, new entropy, a new machine id, and its machine's name as host name;
 * then it runs its own fix-up scripts, and its hook `run`. `what` changes or adds parts, for each machine if
 * it is a function. A host name that is given for several clones gets their numbers.
 */
export function newIdentity(what: FixUp | FixUpOfEach = {}, hooks: Hooks = {}): TellGuest {
  return (machine, call) =>
    tell(
      machine,
      { hostname: machine.id, machineId: true, ...ownOf(what, machine, call) },
      'run',
      hooks,
      call,
    )
}

/**
 * The same for a guest that goes on as the machine that was captured, which must not run any more: it keeps
 * its host name and machine id. It gets the host's time and new entropy, because a snapshot can be restored
 * more than once; then it runs its fix-up scripts, and its hook `resume`.
 */
export function sameIdentity(what: FixUp | FixUpOfEach = {}, hooks: Hooks = {}): TellGuest {
  return (machine, call) => tell(machine, ownOf(what, machine, call), 'resume', hooks, call)
}

async function tell(
  machine: RunningMachine,
  fixUp: FixUp,
  hook: 'run' | 'resume',
  { hookMs }: Hooks,
  { signal }: FixUpCall,
): Promise<readonly FixUpStep[]> {
  const { steps } = await guestAgent(machine).fixUp(fixUp, { signal })
  return [...steps, ...(await hookSteps(machine, hook, { hookMs, signal }))]
}

function ownOf(what: FixUp | FixUpOfEach, machine: RunningMachine, { clone }: FixUpCall): FixUp {
  if (typeof what === 'function') return what(machine, clone)
  return clone === null || what.hostname === undefined
    ? what
    : { ...what, hostname: `${what.hostname}-${clone}` }
}
