import {
  type CapturedSnapshot,
  type PausedMachine,
  type RunningMachine,
  type SealSnapshotOptions,
  type TakeOptions,
  takeSnapshot,
} from 'varve'
import type { HookOptions, HookOutcome } from './lifecycle-hook.js'
import { whileSuspended } from './while-suspended.js'

/** A snapshot of a guest, with what came of its hooks. */
export type CapturedGuest = CapturedSnapshot & { readonly hooks: readonly HookOutcome[] }

/**
 * As `captureSnapshot`; a running guest has its hook `suspend` run before, and `resume` as soon as it runs
 * again. No failure of a hook keeps the snapshot from being taken.
 */
export async function captureGuest(
  machine: RunningMachine | PausedMachine,
  { hookMs, ...options }: TakeOptions & SealSnapshotOptions & Pick<HookOptions, 'hookMs'>,
): Promise<CapturedGuest> {
  const { signal } = options
  const { value, hooks } = await whileSuspended(machine, { hookMs, signal }, async (runsAgain) => {
    const taken = await takeSnapshot(machine, options)
    runsAgain()
    return await taken.seal(options)
  })
  return Object.assign(value, { hooks })
}
