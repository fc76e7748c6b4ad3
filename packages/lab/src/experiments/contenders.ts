import {
  flattenSnapshot,
  type LaunchMachineOptions,
  launchMachine,
  type OpenSnapshot,
  type RestoreOptions,
  restoreMachine,
  type SnapshotStore,
} from 'varve'
import { loadOptionsOf } from 'varve/testing'
import type { StartedVm } from './measure-vms.js'

/** How a VM comes to life where ways to restore are held against each other. */
export type EngineSetting = Pick<RestoreOptions, 'engine' | 'prefetch' | 'trackDirtyPages'> & {
  /** With the working set that was recorded for the cell. */
  readonly set?: true
}

/** Every engine, without and with a working set. */
export const engineSettings = {
  file: { engine: 'file' },
  'file, set before': { engine: 'file', set: true, prefetch: 'before' },
  'file, set alongside': { engine: 'file', set: true, prefetch: 'concurrent' },
  paged: { engine: 'paged' },
  'paged, set before': { engine: 'paged', set: true, prefetch: 'before' },
  'paged, set alongside': { engine: 'paged', set: true, prefetch: 'concurrent' },
  mapped: { engine: 'mapped' },
  'mapped, set before': { engine: 'mapped', set: true, prefetch: 'before' },
  'mapped, set alongside': { engine: 'mapped', set: true, prefetch: 'concurrent' },
  auto: { engine: 'auto', set: true },
} as const satisfies Readonly<Record<string, EngineSetting>>
export type EngineSettingName = keyof typeof engineSettings
export const engineSettingNames = Object.keys(engineSettings) as readonly EngineSettingName[]

/** By an engine of Varve. `set` names a working set that is kept in the snapshot. */
export function restoreBy(
  { set: wantsSet, ...setting }: EngineSetting,
  store: SnapshotStore,
  ref: string,
  { set, ...launch }: LaunchMachineOptions & { readonly set: string },
): Promise<StartedVm> {
  return restoreMachine(store, ref, { ...launch, ...setting, ...(wantsSet ? { workingSet: set } : {}) })
}

/**
 * What one does without Varve: Firecracker maps a flat memory file. The file is made if it
 * is not there; warm up for that.
 */
export async function restoreVanilla(
  snapshot: OpenSnapshot,
  launch: LaunchMachineOptions,
): Promise<StartedVm> {
  const { path } = await flattenSnapshot(snapshot)
  const machine = await launchMachine(launch)
  try {
    return {
      machine: await machine.loadAndResume({
        ...loadOptionsOf(snapshot),
        memory: { backend: 'File', path },
      }),
    }
  } catch (error) {
    await machine.stop()
    throw error
  }
}
