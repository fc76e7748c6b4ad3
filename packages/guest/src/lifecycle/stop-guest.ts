import type { PausedMachine, RunningMachine } from 'varve'
import { type HookOptions, type HookOutcome, runLifecycleHook } from './lifecycle-hook.js'

/**
 * Runs the guest's hook `terminate` if the guest runs, and ends its machine, whatever comes of the hook. A
 * hook is the last that a guest hears: what it has not written to a disk by then is lost.
 */
export async function stopGuest(
  machine: RunningMachine | PausedMachine,
  options: HookOptions = {},
): Promise<{ readonly hooks: readonly HookOutcome[] }> {
  const hooks = await runLifecycleHook(machine, 'terminate', options)
  await machine.stop()
  return { hooks }
}
