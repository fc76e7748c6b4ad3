import { launchMachine } from '../machine/launch-machine.js'
import type { LaunchedMachine } from '../machine/launched-machine.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import { runtimeOf } from '../machine/runtime-directory.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import type { OpenSnapshot } from '../store/snapshot-types.js'
import { runtimeDirectory } from '../usable-runtime.js'
import { type ChosenVmm, chooseVmm } from './choose-vmm.js'
import type { PreparedMemory } from './engine.js'
import { defaultEngine } from './engine-names.js'
import { engines } from './engines/all-engines.js'
import { failureOf } from './failed-restore.js'
import { loadPrepared } from './load-prepared.js'
import { Phases } from './phases.js'
import { type ChosenEngine, planRestore, type RestorePlan } from './plan-restore.js'
import { type MachineRecording, recordTarget } from './record-machine.js'
import { assertAsked, type RestoreOptions, type RestoreSources } from './restore-options.js'
import { restoreReport } from './restore-report.js'
import type { Restored } from './restored.js'
import { unawaited } from './unawaited.js'
import { restoreUsage } from './usage/restore-usage.js'

/**
 * Starts a machine from a snapshot in a store. Disks that the guest may write to are copied for it. Its
 * state file may name only files and devices of this host that its config names (IMAGE_MISMATCH;
 * docs/guides/layers.md has the limits). The Firecracker is the one that took the snapshot, or the newest
 * that loads it (`findFirecrackerFor`), unless `binary`, `machine` or `$FIRECRACKER` names one. The cheap
 * checks of `checkSnapshot` (architecture, huge pages, regions) refuse in its words. A guest with huge pages
 * is restored by `paged` only (INVALID_ARGUMENT for the others). The guest is told nothing unless `fixUp`
 * does so: its time, random numbers, host name and machine id are those of every other machine of this
 * snapshot. `restoreGuest` of `@varve/guest` tells guests with its agent. On any failure nothing is left
 * running. Errors: VERSION_UNSUPPORTED (the Firecracker does not load the snapshot), NOT_FOUND,
 * FORMAT_INVALID, IMAGE_MISMATCH, CHECKSUM_MISMATCH (the snapshot), LOAD_FAILED (Firecracker’s words),
 * MACHINE_EXITED (the VMM was ended meanwhile), and those of `launchMachine`. `ref` names the snapshot: a
 * tag, an id, or the beginning of an id.
 */
export function restoreMachine(
  store: SnapshotStore,
  ref: string,
  options: RestoreOptions & {
    /** As in `RestoreOptions`; it decides the type of the machine. */
    readonly resume: false
  },
): Promise<Restored<PausedMachine>>
export function restoreMachine(
  store: SnapshotStore,
  ref: string,
  options?: RestoreOptions & {
    /** As in `RestoreOptions`; it decides the type of the machine. */
    readonly resume?: true
  },
): Promise<Restored<RunningMachine>>
export function restoreMachine(
  store: SnapshotStore,
  ref: string,
  options: RestoreOptions,
): Promise<Restored<RunningMachine | PausedMachine>>
export function restoreMachine(
  store: SnapshotStore,
  ref: string,
  options: RestoreOptions = {},
): Promise<Restored<RunningMachine | PausedMachine>> {
  return restoreBy(undefined, store, ref, options)
}

/**
 * As `restoreMachine`, by an engine that was chosen before; undefined: by the one that `options` asks for.
 */
export async function restoreBy(
  chosen: ChosenEngine | undefined,
  store: SnapshotStore,
  ref: string,
  options: RestoreOptions,
): Promise<Restored<RunningMachine | PausedMachine>> {
  const { signal, onProgress } = options
  const phases = new Phases()
  assertAsked(options)
  const choosing = phases.time('firecracker', () => chooseVmm(store, ref, options))
  // It may fail while the snapshot is opened.
  const launching = unawaited(launchFor(choosing, options, phases))
  const asked = chosen?.engine ?? options.engine ?? defaultEngine
  if (asked !== 'auto') engines[asked].warmUp?.()
  let recording: MachineRecording | undefined
  try {
    const { vmm, id } = await choosing
    // While the VMM starts.
    await using snapshot = await phases.time('open', () => store.open(id, { signal, onProgress }))
    const plan = await planRestore(store, snapshot, options, phases, chosen)
    const prepared = await prepare(plan, snapshot, launching, options, phases)
    const launched = await launching
    const target = sourcesOf(launched, snapshot, prepared)
    await options.beforeLoad?.(target)
    const { record } = options
    if (record !== undefined)
      recording = await phases.time('record', () => recordTarget(target, { signal, ...record }))
    const loaded = await loadPrepared(launched, { snapshot, plan, prepared, options, phases })
    return {
      machine: loaded.machine,
      report: restoreReport(snapshot, plan, { vmm, ...loaded, phases }),
      usage: (ofCall) => restoreUsage(loaded.machine, ofCall),
      pageServer: prepared.pageServer,
      prefetching: loaded.prefetching,
      recording,
      [Symbol.asyncDispose]: async () => {
        await using _machine = loaded.machine
        await recording?.[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await recording?.[Symbol.asyncDispose]()
    const launched = await launching.catch(() => undefined)
    const failure = await failureOf(launched, error)
    await launched?.stop()
    throw failure
  }
}

export async function launchFor(
  choosing: Promise<ChosenVmm>,
  options: RestoreOptions,
  phases: Phases,
): Promise<LaunchedMachine> {
  if (options.machine !== undefined) return options.machine
  const { binary = options.binary } = await choosing
  return phases.time('launch', () => launchMachine({ ...options, binary }))
}

function prepare(
  { chosen, toPrefetch }: RestorePlan,
  snapshot: OpenSnapshot,
  machine: Promise<LaunchedMachine>,
  options: RestoreOptions,
  phases: Phases,
): Promise<PreparedMemory> {
  const { randomAccess = false, graduate = false, faultCpu, signal, onProgress } = options
  const runtime =
    options.machine === undefined
      ? (options.runtimeDirectory ?? runtimeDirectory())
      : runtimeOf(options.machine.paths.directory)
  const wishes = { machine, runtime, randomAccess, toPrefetch, graduate, faultCpu, signal, onProgress }
  return engines[chosen.engine].prepare(snapshot, { ...wishes, phase: phases.time })
}

function sourcesOf(
  machine: LaunchedMachine,
  snapshot: OpenSnapshot,
  { files, pageServer }: PreparedMemory,
): RestoreSources {
  const { entry, map } = snapshot
  return {
    vmm: machine.identity,
    machine,
    image: entry.id,
    pages: map.pages,
    snapshot,
    files: files.files,
    map: files.map,
    faults: pageServer,
  }
}
