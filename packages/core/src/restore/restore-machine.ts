import { type LaunchMachineOptions, launchMachine } from '../machine/launch-machine.js'
import type { LaunchedMachine, LoadOptions, MemorySource } from '../machine/launched-machine.js'
import type { PausedMachine } from '../machine/paused-machine.js'
import type { RunningMachine } from '../machine/running-machine.js'
import { runtimeDirectory } from '../machine/runtime-directory.js'
import type { OpenSnapshot, SnapshotStore } from '../store/store-types.js'
import { presentPages, type WorkingSet } from '../working-set/working-set.js'
import { chooseEngine, engineFacts } from './choose-engine.js'
import type { Engine, Prefetch, PrefetchMode, PrefetchReport } from './engine.js'
import { fileEngine } from './file-engine.js'
import { fitWorkingSet } from './fit-working-set.js'
import type { MapReport } from './mapped/map-into-vmm.js'
import { mappedEngine } from './mapped-engine.js'
import type { PageServer } from './page-server/start-page-server.js'
import { pagedEngine } from './paged-engine.js'
import {
  type ImageTarget,
  type MachineRecording,
  type RecordMachineOptions,
  recordTarget,
} from './record-machine.js'

export const engineNames = ['file', 'paged', 'mapped'] as const
export type EngineName = (typeof engineNames)[number]
/** `auto`: whichever fits this snapshot on this host; the report says which, and why. */
export const engineChoices = [...engineNames, 'auto'] as const

const engines: Readonly<Record<EngineName, Engine>> = {
  file: fileEngine,
  paged: pagedEngine,
  mapped: mappedEngine,
}

export interface RestoreOptions
  extends LaunchMachineOptions,
    Pick<LoadOptions, 'trackDirtyPages' | 'networkOverrides' | 'vsockPath' | 'clockRealtime'> {
  /** Default `file`. */
  readonly engine?: (typeof engineChoices)[number]
  /** Start the guest (default), or leave it paused. */
  readonly resume?: boolean
  /**
   * Which pages to bring before the guest asks for them: a working set, or the name of one that is kept in the snapshot. One of
   * an ancestor's image is translated; what does not belong to this image is IMAGE_MISMATCH.
   */
  readonly workingSet?: WorkingSet | string
  /** Default `concurrent`. */
  readonly prefetch?: PrefetchMode
  /** `paged`: no read-ahead in the layers, so that a recorder sees single pages. Default false. */
  readonly randomAccess?: boolean
  /**
   * Called with everything ready and nothing loaded: the moment to start a recorder. The VM’s memory will come from
   * `files`, which are the layers of `map` in its order, or one flat file and then `map` is undefined.
   */
  readonly beforeLoad?: (about: RestoreSources) => void | Promise<void>
  /** Record a working set, from before the load on; ends with `recording.stop()`. `signal` counts for it too. */
  readonly record?: RecordMachineOptions
  readonly onProgress?: (message: string) => void
}

/** Where a restored VM’s memory comes from: what recorders take as their target. */
export interface RestoreSources extends ImageTarget {
  readonly snapshot: OpenSnapshot
}

/** What a restore did. Times are wall-clock milliseconds; phases may overlap: a file is flattened while the VMM is launched. */
export interface RestoreReport {
  readonly engine: EngineName
  /** Why `auto` took this engine; null where it was named. */
  readonly reason: string | null
  /** Its id. */
  readonly snapshot: string
  readonly layers: number
  /** Runs of the image's extent map. */
  readonly extents: number
  readonly memoryPages: number
  /** Pages of the working set that was used, and how many of it did not fit this image; null where none was. */
  readonly workingSet: { readonly pages: number; readonly droppedPages: number } | null
  /** What the `mapped` engine did within the load; null with another. */
  readonly mapping: MapReport | null
  readonly phasesMs: Readonly<Record<string, number>>
  readonly totalMs: number
}

export interface Restored<Machine> {
  readonly machine: Machine
  readonly report: RestoreReport
  /** Set by the `paged` engine. */
  readonly pageServer?: PageServer
  /** Set where a working set was used by an engine that prefetches. Never rejects. */
  readonly prefetching?: Promise<PrefetchReport>
  /** Set where `record` asked for one. */
  readonly recording?: MachineRecording
}

/**
 * Starts a machine from a snapshot in a store. Disks that the guest may write to are copied for it. On any failure nothing
 * is left running. Errors: NOT_FOUND, FORMAT_INVALID, IMAGE_MISMATCH, CHECKSUM_MISMATCH (the snapshot), LOAD_FAILED
 * (Firecracker’s words), and those of `launchMachine`.
 */
export function restoreMachine(
  store: SnapshotStore,
  ref: string,
  options: RestoreOptions & { readonly resume: false },
): Promise<Restored<PausedMachine>>
export function restoreMachine(
  store: SnapshotStore,
  ref: string,
  options?: RestoreOptions & { readonly resume?: true },
): Promise<Restored<RunningMachine>>
export function restoreMachine(
  store: SnapshotStore,
  ref: string,
  options: RestoreOptions,
): Promise<Restored<RunningMachine | PausedMachine>>
export async function restoreMachine(
  store: SnapshotStore,
  ref: string,
  options: RestoreOptions = {},
): Promise<Restored<RunningMachine | PausedMachine>> {
  const { resume = true, randomAccess = false, signal, onProgress } = options
  const phasesMs: Record<string, number> = {}
  const start = performance.now()
  const phase = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const from = performance.now()
    try {
      return await work()
    } finally {
      phasesMs[name] = (phasesMs[name] ?? 0) + performance.now() - from
    }
  }
  const launching = phase('launch', () => launchMachine(options))
  // Whatever fails first is thrown below; this one may fail while nobody waits for it.
  launching.catch(() => {})
  let recording: MachineRecording | undefined
  try {
    // While the VMM starts.
    await using snapshot = await phase('open', () => store.open(ref, { signal, onProgress }))
    const { engine, reason } = await choice(options.engine ?? 'file', snapshot, randomAccess)
    const fitted =
      options.workingSet === undefined
        ? null
        : await phase('working set', () =>
            fitWorkingSet(store, snapshot, options.workingSet ?? '', { signal }),
          )
    const prefetch: Prefetch | null =
      fitted === null ? null : { workingSet: fitted.workingSet, mode: options.prefetch ?? 'concurrent' }
    const {
      memory,
      besideLoad,
      pageServer,
      prefetching,
      resumeAfterPrefetch = false,
    } = await engines[engine].prepare({
      snapshot,
      machine: launching,
      runtime: options.runtimeDirectory ?? runtimeDirectory(),
      randomAccess,
      prefetch,
      phase,
      signal,
      onProgress,
    })
    const launched = await launching
    const target: RestoreSources = { ...sources(launched, snapshot, memory), faults: pageServer }
    await options.beforeLoad?.(target)
    const { record } = options
    if (record !== undefined)
      recording = await phase('record', () =>
        recordTarget(target, signal === undefined ? record : { signal, ...record }),
      )
    const load: LoadOptions = {
      ...loadOptions(options),
      statePath: snapshot.statePath,
      memory,
      disks: snapshot.diskFiles.map(({ file, path, readOnly }) => ({
        file,
        source: path,
        mode: readOnly ? 'link' : 'copy',
      })),
      diskDirectory: snapshot.clonesDirectory,
    }
    // Beside the load: one for a VM that ended is nobody's, and gc takes it.
    const leasing = snapshot.leaseTo(launched.identity)
    leasing.catch(() => {})
    const loading = phase<RunningMachine | PausedMachine>('load', () =>
      resume && !resumeAfterPrefetch ? launched.loadAndResume(load) : launched.load(load),
    )
    const mapping = (await besideLoad?.(loading)) ?? null
    let machine = await loading
    if (resumeAfterPrefetch) await phase('prefetch', async () => prefetching)
    if (resume && machine.state === 'paused') {
      const paused = machine
      machine = await phase('resume', () => paused.resume(signal === undefined ? {} : { signal }))
    }
    machine.countFromSnapshot(snapshot.entry.id, 0)
    await leasing
    const report: RestoreReport = {
      engine,
      reason,
      snapshot: snapshot.entry.id,
      layers: snapshot.files.length,
      extents: snapshot.map.starts.length,
      memoryPages: snapshot.map.pages,
      workingSet:
        fitted === null
          ? null
          : { pages: presentPages(fitted.workingSet).pages, droppedPages: fitted.droppedPages },
      mapping,
      phasesMs,
      totalMs: performance.now() - start,
    }
    return {
      machine,
      report,
      ...(pageServer === undefined ? {} : { pageServer }),
      ...(prefetching === undefined ? {} : { prefetching }),
      ...(recording === undefined ? {} : { recording }),
    }
  } catch (error) {
    await recording?.[Symbol.asyncDispose]()
    await (await launching.catch(() => undefined))?.stop()
    throw error
  }
}

async function choice(
  asked: (typeof engineChoices)[number],
  snapshot: OpenSnapshot,
  randomAccess: boolean,
): Promise<{ readonly engine: EngineName; readonly reason: string | null }> {
  if (asked === 'auto') return chooseEngine(await engineFacts(snapshot, randomAccess))
  return { engine: asked, reason: null }
}

function sources(machine: LaunchedMachine, snapshot: OpenSnapshot, memory: MemorySource): RestoreSources {
  const { files, map } = snapshot
  const known = { vmm: machine.identity, machine, image: snapshot.entry.id, pages: map.pages, snapshot }
  return 'path' in memory
    ? { ...known, files: [{ path: memory.path, storedPages: map.pages }], map: undefined }
    : { ...known, files, map }
}

function loadOptions(options: RestoreOptions): Partial<LoadOptions> {
  const { trackDirtyPages, networkOverrides, vsockPath, clockRealtime, signal } = options
  return Object.fromEntries(
    Object.entries({ trackDirtyPages, networkOverrides, vsockPath, clockRealtime, signal }).filter(
      ([, value]) => value !== undefined,
    ),
  )
}
