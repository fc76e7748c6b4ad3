import type { PausedMachine, RunningMachine } from 'varve'
import { type HookOptions, type HookOutcome, runLifecycleHook } from './lifecycle-hook.js'

/**
 * Runs the hook `suspend` before work in which the guest stands still, and `resume` as soon as the guest runs
 * again: when the work says so, or has ended. No failure of a hook stops the work, and `resume` is run
 * whatever comes of it. A guest that is paused already, or has no agent, has none run.
 */
export async function whileSuspended<T>(
  machine: RunningMachine | PausedMachine,
  { hookMs, signal }: HookOptions,
  work: (runsAgain: () => void) => Promise<T>,
): Promise<{ readonly value: T; readonly hooks: readonly HookOutcome[] }> {
  let resumed: Promise<readonly HookOutcome[]> | undefined
  const resume = (): Promise<readonly HookOutcome[]> => {
    // No signal: a guest that was told to be ready for a pause must hear that it goes on.
    resumed ??= runLifecycleHook(machine, 'resume', { hookMs })
    resumed.catch(() => {})
    return resumed
  }
  try {
    const suspended = await runLifecycleHook(machine, 'suspend', { hookMs, signal })
    const value = await work(() => void resume())
    return { value, hooks: [...suspended, ...(await resume())] }
  } catch (error) {
    await resume().catch(() => {})
    throw error
  }
}
