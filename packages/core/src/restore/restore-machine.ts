import { VarveError } from '../errors.js'
import { type LaunchMachineOptions, launchMachine } from '../machine/launch-machine.js'
import type { LaunchedMachine, LoadOptions } from '../machine/launched-machine.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import { runtimeDirectory, runtimeOf } from '../machine/runtime-directory.js'
import type { PageServer } from '../page-server/client/start-page-server.js'
import { endLeaseOfGraduated } from '../page-server/protocol/served-graduation.js'
import { fitWorkingSet } from '../store/fit-working-set.js'
import type { OpenSnapshot, SnapshotStore } from '../store/store-types.js'
import { presentPages, type WorkingSet } from '../working-set/working-set.js'
import { deviceCheck } from './check-devices.js'
import { chooseEngine, engineFacts } from './choose-engine.js'
import { chooseVmm } from './choose-vmm.js'
import {
  atMost,
  type Engine,
  type EngineName,
  engineNames,
  experimentalEngineNames,
  type MemoryFiles,
  type Prefetch,
  type PrefetchMode,
  type PrefetchReport,
} from './engine.js'
import { fileEngine } from './engines/file/file-engine.js'
import { mappedEngine } from './engines/mapped/mapped-engine.js'
import { pagedEngine } from './engines/paged/paged-engine.js'
import { patchedEngine } from './engines/patched/patched-engine.js'
import { failureOf } from './failed-restore.js'
import { loadOptionsOf } from './load-options.js'
import {
  type ImageTarget,
  type MachineRecording,
  type RecordMachineOptions,
  recordTarget,
} from './record-machine.js'
import { pagesOfImage, type RestoreReport } from './restore-report.js'
import { noteRestore } from './usage/note-restore.js'
import { type RestoreUsage, restoreUsage } from './usage/restore-usage.js'

/** Who waits for an hour does not wait for a prefetch. */
const mostBudgetMs = 3_600_000

/** `auto`: whichever fits this snapshot on this host; the report says which, and why. */
export const engineChoices = [...engineNames, ...experimentalEngineNames, 'auto'] as const

const engines: Readonly<Record<EngineName, Engine>> = {
  file: fileEngine,
  paged: pagedEngine,
  mapped: mappedEngine,
  patched: patchedEngine,
}

export interface RestoreOptions
  extends LaunchMachineOptions,
    Pick<LoadOptions, 'trackDirtyPages' | 'networkOverrides' | 'vsockPath' | 'clockRealtime'> {
  /**
   * A VMM that was launched ahead (`launchMachine`), so that the restore need not wait for one. It is taken over, whatever
   * comes of it; `name`, `binary`, `runtimeDirectory` and `jailer` are its own. Default: one is launched.
   */
  readonly machine?: LaunchedMachine
  /** Default `auto`: the report says which engine was chosen, and why. */
  readonly engine?: (typeof engineChoices)[number]
  /** Needed for engines that are experiments (`patched`); EXPERIMENTAL without. */
  readonly experimental?: boolean
  /** Start the guest (default), or leave it paused. */
  readonly resume?: boolean
  /**
   * Which pages to bring before the guest asks for them: a working set, the name of one that is kept in the
   * snapshot, or `REF:NAME` of one in another. One of an ancestor's image is translated; what does not belong
   * to this image is IMAGE_MISMATCH.
   */
  readonly workingSet?: WorkingSet | string
  /** Default `concurrent`; with `auto`, not at all if the set is in the page cache. */
  readonly prefetch?: PrefetchMode
  /**
   * With `before`: how long to wait for the working set at most, milliseconds; what has not come by then comes alongside the guest.
   * `mapped` waits so long for the disk, and again for the mapping of what came. Default: until all is there.
   */
  readonly prefetchBudgetMs?: number
  /**
   * `paged`: bring all of memory alongside the guest, demand first, after which the VM needs no page server
   * (`pageServer.graduation`). Not with `record`. Default false; VMs of other engines need no server anyway.
   */
  readonly graduate?: boolean
  /**
   * `paged`: answer the guest's faults on this CPU, and run its vCPUs there, too: a fault between two CPUs costs several times as much.
   * Several VMs' CPUs are shared by the one thread that answers. Default: anywhere.
   */
  readonly faultCpu?: number
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

export interface Restored<Machine> {
  readonly machine: Machine
  readonly report: RestoreReport
  /** What came of it by now, see `restoreUsage`. */
  usage(options?: { readonly signal?: AbortSignal }): Promise<RestoreUsage>
  /** Set by the `paged` engine. */
  readonly pageServer?: PageServer
  /** Set if a working set was used by an engine that prefetches. Never rejects. */
  readonly prefetching?: Promise<PrefetchReport>
  /** Set if `record` asked for one. */
  readonly recording?: MachineRecording
}

/**
 * Starts a machine from a snapshot in a store. Disks that the guest may write to are copied for it. Its state
 * file may name only files and devices of this host that its config names (IMAGE_MISMATCH;
 * docs/guides/layers.md has the limits). The Firecracker is the one that took the snapshot, or the newest
 * that loads it (`findFirecrackerFor`), unless `binary`, `machine` or `$FIRECRACKER` names one. The cheap
 * checks of `checkSnapshot` (architecture, huge pages, regions) refuse in its words. On any failure nothing
 * is left running. Errors: VERSION_UNSUPPORTED (the Firecracker does not load the snapshot), NOT_FOUND,
 * FORMAT_INVALID, IMAGE_MISMATCH, CHECKSUM_MISMATCH (the snapshot), LOAD_FAILED (Firecracker’s words),
 * MACHINE_EXITED (the VMM was ended meanwhile), and those of `launchMachine`.
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
  const { resume = true, randomAccess = false, graduate = false, signal, onProgress } = options
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
  assertAsked(options)
  const choosing = phase('firecracker', () => chooseVmm(store, ref, options))
  const launching = options.machine
    ? Promise.resolve(options.machine)
    : choosing.then(({ binary }) =>
        phase('launch', () => launchMachine(binary === undefined ? options : { ...options, binary })),
      )
  // Whatever fails first is thrown below; this one may fail before it is awaited.
  launching.catch(() => {})
  const { engine: asked = 'auto' } = options
  if (asked !== 'auto') engines[asked].warmUp?.()
  let recording: MachineRecording | undefined
  try {
    const { vmm, id } = await choosing
    // While the VMM starts.
    await using snapshot = await phase('open', () => store.open(id, { signal, onProgress }))
    const fitted =
      options.workingSet === undefined
        ? null
        : await phase('working set', () =>
            fitWorkingSet(store, snapshot, options.workingSet ?? '', { signal }),
          )
    const workingSet = fitted?.workingSet ?? null
    const chosen =
      asked === 'auto'
        ? await phase('choose', async () =>
            chooseEngine(
              await engineFacts(snapshot, {
                workingSet,
                randomAccess,
                recorders: options.record?.recorders ?? [],
              }),
            ),
          )
        : { engine: asked, reason: null, prefetch: true }
    const { engine, reason } = chosen
    const prefetch: Prefetch | null =
      workingSet !== null && (chosen.prefetch || options.prefetch !== undefined)
        ? { workingSet, budgetMs: budgetOf(options) }
        : null
    const {
      memory,
      memoryFiles,
      statePath = snapshot.statePath,
      besideLoad,
      pageServer,
      prefetching: fetching,
      resumeAfterPrefetch = false,
    } = await engines[engine].prepare({
      snapshot,
      machine: launching,
      runtime:
        options.machine === undefined
          ? (options.runtimeDirectory ?? runtimeDirectory())
          : runtimeOf(options.machine.paths.directory),
      randomAccess,
      prefetch,
      graduate,
      faultCpu: options.faultCpu,
      phase,
      signal,
      onProgress,
    })
    const launched = await launching
    const target: RestoreSources = { ...sources(launched, snapshot, memoryFiles), faults: pageServer }
    await options.beforeLoad?.(target)
    const { record } = options
    if (record !== undefined)
      recording = await phase('record', () =>
        recordTarget(target, signal === undefined ? record : { signal, ...record }),
      )
    const saved = loadOptionsOf(snapshot)
    const load: LoadOptions = {
      ...saved,
      ...askedOf(options, saved.savedVsockPath),
      statePath,
      memory,
      // The lease ends with the VM.
      lease: () => snapshot.leaseTo(launched.holder),
    }
    const noting = noteRestore(
      { pid: launched.pid, directory: launched.paths.directory },
      { engine, snapshot, memoryFiles, workingSet: prefetch?.workingSet ?? null },
    )
    const check = deviceCheck(snapshot, options, launched.jailOwner !== null)
    check?.beforeLoad(launched)
    const loading = phase<RunningMachine | PausedMachine>('load', () =>
      resume && !resumeAfterPrefetch && check === undefined
        ? launched.loadAndResume(load)
        : launched.load(load),
    )
    loading.catch(() => {})
    // The request goes out first: the rest is for while Firecracker is busy with it.
    await new Promise(setImmediate)
    noting.loading()
    const pages = pagesOfImage(snapshot, memoryFiles, workingSet)
    const mapping = (await besideLoad?.(loading)) ?? null
    let machine = await loading
    if (graduate) endLeaseOfGraduated(launched.paths.directory)
    await (check && phase('check', () => check.afterLoad(machine, signal === undefined ? {} : { signal })))
    noting.loaded(mapping)
    const prefetching = fetching?.then((it) => {
      noting.prefetched(it)
      return it
    })
    if (prefetching !== undefined && resumeAfterPrefetch)
      await phase('prefetch', () => atMost(prefetching, prefetch?.budgetMs ?? 0))
    if (resume && machine.state === 'paused') {
      const paused = machine
      machine = await phase('resume', () => paused.resume(signal === undefined ? {} : { signal }))
    }
    const report: RestoreReport = {
      firecracker: vmm,
      engine,
      reason,
      snapshot: snapshot.entry.id,
      layers: snapshot.files.length,
      extents: snapshot.map.starts.length,
      memoryPages: snapshot.map.pages,
      pages,
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
      usage: (ofCall) => restoreUsage(machine, ofCall),
      ...(pageServer === undefined ? {} : { pageServer }),
      ...(prefetching === undefined ? {} : { prefetching }),
      ...(recording === undefined ? {} : { recording }),
    }
  } catch (error) {
    await recording?.[Symbol.asyncDispose]()
    const launched = await launching.catch(() => undefined)
    const failure = await failureOf(launched, error)
    await launched?.stop()
    throw failure
  }
}

function assertAsked({
  engine,
  experimental = false,
  machine,
  prefetch,
  prefetchBudgetMs: budget,
}: RestoreOptions): void {
  if (budget !== undefined && !(prefetch === 'before' && budget > 0 && budget <= mostBudgetMs))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `prefetchBudgetMs ${budget}: a number above 0 and up to ${mostBudgetMs}, with prefetch 'before'`,
    )
  // What runs in it, or is being loaded, must not be ended for this.
  if (machine?.unused === false)
    throw new VarveError('MACHINE_STATE', `restore: ${machine.id} was booted or loaded before`, {
      remedy: 'launchMachine returns a machine that was not',
    })
  if (!experimental && experimentalEngineNames.some((name) => name === engine))
    throw new VarveError(
      'EXPERIMENTAL',
      `the ${engine} engine is an experiment: a guest with devices can fail under it`,
      {
        remedy: 'read docs/guides/engines.md about it, then ask for it: experimental: true (--experimental)',
      },
    )
}

const budgetOf = ({ prefetch = 'concurrent', prefetchBudgetMs }: RestoreOptions): number =>
  prefetch === 'concurrent' ? 0 : (prefetchBudgetMs ?? Number.POSITIVE_INFINITY)

function sources(
  machine: LaunchedMachine,
  snapshot: OpenSnapshot,
  { files, map }: MemoryFiles,
): RestoreSources {
  const { entry } = snapshot
  return { vmm: machine.identity, machine, image: entry.id, pages: snapshot.map.pages, snapshot, files, map }
}

function askedOf(options: RestoreOptions, savedVsockPath: string | null | undefined): Partial<LoadOptions> {
  const { trackDirtyPages, networkOverrides, clockRealtime, signal } = options
  // The snapshot's own path need not be overridden, and older Firecrackers cannot do so.
  const vsockPath = options.vsockPath === savedVsockPath ? undefined : options.vsockPath
  return Object.fromEntries(
    Object.entries({ trackDirtyPages, networkOverrides, vsockPath, clockRealtime, signal }).filter(
      ([, value]) => value !== undefined,
    ),
  )
}
