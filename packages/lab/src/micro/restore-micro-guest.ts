import {
  type PausedMachine,
  type Restored,
  type RestoreOptions,
  type RunningMachine,
  restoreMachine,
} from 'varve'
import { MicroConsole } from './micro-console.js'
import type { MicroVmPlace } from './micro-vm.js'

/** Disposing of it closes the console first. */
export interface RestoredMicroGuest<Machine> extends Restored<Machine> {
  readonly console: MicroConsole
}

type Wishes = Omit<RestoreOptions, 'binary' | 'runtimeDirectory'>

/** Restores a snapshot of a micro guest from a place's store, and attaches its console. */
export function restoreMicroGuest(
  place: MicroVmPlace,
  ref: string,
  options: Wishes & { readonly resume: false },
): Promise<RestoredMicroGuest<PausedMachine>>
export function restoreMicroGuest(
  place: MicroVmPlace,
  ref: string,
  options: Wishes & { readonly resume?: true },
): Promise<RestoredMicroGuest<RunningMachine>>
export async function restoreMicroGuest(
  { binary, runtimeDirectory, store }: MicroVmPlace,
  ref: string,
  options: Wishes,
): Promise<RestoredMicroGuest<RunningMachine | PausedMachine>> {
  const restored = await restoreMachine(store, ref, { ...options, binary, runtimeDirectory })
  try {
    const console = MicroConsole.attach(restored.machine.paths)
    return {
      ...restored,
      console,
      [Symbol.asyncDispose]: async () => {
        await using _restored = restored
        await console[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await restored[Symbol.asyncDispose]()
    throw error
  }
}
