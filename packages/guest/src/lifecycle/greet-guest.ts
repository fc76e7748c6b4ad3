import type { FixUp, RunningMachine } from 'varve'
import { guestAgent } from '../agent/guest-agent.js'
import { type Guest, guestOf } from './guest.js'
import { type HookOptions, hookSteps } from './lifecycle-hook.js'

export interface GreetGuestOptions {
  /** How long the guest may take until its agent answers. Default: 120 s, enough on an emulated host. */
  readonly readyMs?: number | undefined
  /** As in `HookOptions`, without `tell`. */
  readonly hookMs?: HookOptions['hookMs']
  /** What the guest is told then. Default: to run its hook `run`; it keeps the identity that its disk has. */
  readonly tell?: FixUp | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Waits for the agent of a machine that was just booted, with a disk of your own for example, and tells the
 * guest that it runs. If that fails, the machine ends and the error is thrown.
 */
export async function greetGuest(
  machine: RunningMachine,
  { readyMs = 120_000, hookMs, tell, signal }: GreetGuestOptions = {},
): Promise<Guest> {
  const say: FixUp = tell ?? (() => hookSteps(machine, 'run', { hookMs, signal }))
  try {
    await guestAgent(machine).ping({ timeoutMs: readyMs, signal })
    return guestOf(machine, await say(machine, { clone: null, signal }))
  } catch (error) {
    await machine.stop()
    throw error
  }
}
