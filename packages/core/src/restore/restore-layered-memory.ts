import { stat } from 'node:fs/promises'
import { VarveError } from '../errors.js'
import { readLayeredMemory } from '../layer/layered-memory.js'
import { type LaunchMachineOptions, launchMachine } from '../machine/launch-machine.js'
import type { LoadOptions } from '../machine/launched-machine.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import { loadedAndMapped } from '../mapper/loaded-and-mapped.js'
import type { MapReport } from '../mapper/map-into-vmm.js'
import { mappingLimit, usedLayers } from '../mapper/mappable-layers.js'
import { startMapping, warmMapper } from '../mapper/mapper.js'
import { fileIdentity } from '../sys/proc.js'
import { chooseVmmOfState } from './choose-vmm.js'

/** Options of `restoreLayeredMemory`. */
export interface RestoreLayeredMemoryOptions
  extends LaunchMachineOptions,
    Omit<LoadOptions, 'statePath' | 'memory'> {
  /** Start the guest (default), or leave it paused. */
  readonly resume?: boolean
}

/** Disposing of it stops its machine, unless that was detached. */
export interface RestoredLayeredMemory extends AsyncDisposable {
  /** The machine, running or paused. */
  readonly machine: RunningMachine | PausedMachine
  /** What was mapped within the load. */
  readonly mapping: MapReport
}

/**
 * Starts a machine from a memory file whose footer lists ranges that lie in other files
 * (docs/formats/layered-memory-v1.md), without a store: Firecracker loads that file as any other, and the
 * ranges are mapped over its memory while it loads. Needs what the `mapped` engine needs. The files must stay
 * unchanged while the VM lives. On any failure nothing is left running. The Firecracker is chosen by the
 * state file, as `restoreMachine` does by the snapshot. Errors: those of `readLayeredMemory` and
 * `launchMachine`, VERSION_UNSUPPORTED, LOAD_FAILED, INJECTION_FAILED, HOST_UNSUPPORTED.
 */
export async function restoreLayeredMemory(
  {
    statePath,
    memoryPath,
  }: {
    /** The state file. */
    readonly statePath: string
    /** The memory file with the footer. */
    readonly memoryPath: string
  },
  options: RestoreLayeredMemoryOptions = {},
): Promise<RestoredLayeredMemory> {
  const { resume = true } = options
  const image = await readLayeredMemory(memoryPath)
  const runs = image.map.starts.length
  const limit = mappingLimit()
  if (runs > limit)
    throw new VarveError('HOST_UNSUPPORTED', `${memoryPath} takes ${runs} mappings, more than ${limit}`, {
      remedy: 'raise vm.max_map_count, or make one flat memory file of it',
    })
  // Before it is launched, so that one that does not load it is never started.
  const { binary } = await chooseVmmOfState(statePath, options)
  const launching = launchMachine(binary === undefined ? options : { ...options, binary })
  warmMapper()
  try {
    const { mapped } = await startMapping(async () => ({
      vmm: (await launching).identity,
      memoryFile: fileIdentity(await stat(memoryPath, { bigint: true })),
      ...usedLayers(image.map, image.files),
      prefault: [],
      prefaultBudgetMs: null,
    }))
    const launched = await launching
    const load = { ...options, statePath, memory: { backend: 'File', path: memoryPath } } as const
    const loading = resume ? launched.loadAndResume(load) : launched.load(load)
    const mapping = await loadedAndMapped(loading, mapped)
    const machine = await loading
    return { machine, mapping, [Symbol.asyncDispose]: () => machine[Symbol.asyncDispose]() }
  } catch (error) {
    await (await launching.catch(() => undefined))?.stop()
    throw error
  }
}
