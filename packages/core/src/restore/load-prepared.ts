import type { LaunchedMachine, LoadOptions } from '../machine/launched-machine.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import type { MapReport } from '../mapper/map-into-vmm.js'
import type { LoadableSnapshot } from '../store/snapshot-types.js'
import type { PreparedMemory } from './engine.js'
import type { FixUp, FixUpStep } from './fix-up.js'
import { loadOptionsOf } from './load-options.js'
import type { Phases } from './phases.js'
import type { RestorePlan } from './plan-restore.js'
import { atMost, type PrefetchReport } from './prefetch.js'
import { deviceCheck } from './preflight/check-devices.js'
import type { RestoreOptions } from './restore-options.js'
import { type PagesOfImage, pagesOfImage } from './restore-report.js'
import { unawaited } from './unawaited.js'
import { noteRestore } from './usage/note-restore.js'

interface PreparedRestore {
  readonly snapshot: LoadableSnapshot
  readonly plan: RestorePlan
  readonly prepared: PreparedMemory
  readonly options: RestoreOptions
  readonly phases: Phases
}

interface LoadedRestore {
  readonly machine: RunningMachine | PausedMachine
  readonly prefetching: Promise<PrefetchReport> | undefined
  readonly pages: PagesOfImage
  readonly mapping: MapReport | null
  readonly fixUp: readonly FixUpStep[] | null
}

/**
 * Loads what was prepared into a VMM, and lets the guest run unless `resume` is false. The guest runs at once
 * if nothing has to be done before; otherwise it is loaded paused, checked, and waits for its working set
 * within the budget.
 */
export async function loadPrepared(
  launched: LaunchedMachine,
  { snapshot, plan, prepared, options, phases }: PreparedRestore,
): Promise<LoadedRestore> {
  const { resume = true, signal } = options
  const { files, prefetch } = prepared
  const vmm = { pid: launched.pid, directory: launched.paths.directory }
  const noting = noteRestore(vmm, {
    engine: plan.chosen.engine,
    snapshot,
    prepared,
    workingSet: plan.toPrefetch?.workingSet ?? null,
  })
  const check = deviceCheck(snapshot, options, launched.jailOwner !== null)
  check?.beforeLoad(launched)
  const load = loadOptions(launched, snapshot, prepared, options)
  const atOnce = resume && prefetch?.resumeAfter !== true && check === undefined
  // Awaited below, after what is done beside it.
  const loading = unawaited(
    phases.time<RunningMachine | PausedMachine>('load', () =>
      atOnce ? launched.loadAndResume(load) : launched.load(load),
    ),
  )
  // The request goes out first: the rest is for while Firecracker is busy with it.
  await new Promise(setImmediate)
  noting.loading()
  const pages = pagesOfImage(snapshot, files, plan.fitted?.workingSet ?? null)
  await prepared.duringLoad?.(loading)
  const loaded = await loading
  prepared.afterLoad?.()
  await (check && phases.time('check', () => check.afterLoad(loaded, { signal })))
  const mapping = prepared.report?.().mapping ?? null
  noting.loaded(mapping)
  const prefetching = prefetch?.report.then((report) => {
    noting.prefetched(report)
    return report
  })
  if (prefetching !== undefined && prefetch?.resumeAfter)
    await phases.time('prefetch', () => atMost(prefetching, plan.toPrefetch?.budgetMs ?? 0))
  const machine =
    resume && loaded.state === 'paused'
      ? await phases.time('resume', () => loaded.resume({ signal }))
      : loaded
  const fixUp = options.fixUp === undefined ? null : await fixedUp(machine, options.fixUp, options, phases)
  return { machine, prefetching, pages, mapping, fixUp }
}

async function fixedUp(
  machine: RunningMachine | PausedMachine,
  fixUp: FixUp,
  { signal }: RestoreOptions,
  phases: Phases,
): Promise<readonly FixUpStep[] | null> {
  if (machine.state === 'paused') return null
  return phases.time('fixUp', () => fixUp(machine, { signal, clone: null }))
}

function loadOptions(
  launched: LaunchedMachine,
  snapshot: LoadableSnapshot,
  { memory, statePath = snapshot.statePath }: PreparedMemory,
  { trackDirtyPages, networkOverrides, clockRealtime, vsockPath, signal }: RestoreOptions,
): LoadOptions {
  const saved = loadOptionsOf(snapshot)
  return {
    ...saved,
    statePath,
    memory,
    trackDirtyPages,
    networkOverrides,
    clockRealtime,
    // The snapshot's own path need not be overridden, and older Firecrackers cannot do so.
    vsockPath: vsockPath === saved.savedVsockPath ? undefined : vsockPath,
    // The lease ends with the VM.
    lease: () => snapshot.leaseTo(launched.holder),
    signal,
  }
}
