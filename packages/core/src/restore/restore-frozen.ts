import { VarveError } from '../errors.js'
import type { FirecrackerVersion } from '../firecracker/version.js'
import type { LaunchedMachine } from '../machine/launched-machine.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import type { FrozenSnapshot } from '../store/snapshot-types.js'
import { runtimeDirectory } from '../usable-runtime.js'
import { type ChosenVmm, chooseVmmFor } from './choose-vmm.js'
import type { Engine } from './engine.js'
import { engines } from './engines/all-engines.js'
import { failureOf } from './failed-restore.js'
import { loadPrepared } from './load-prepared.js'
import { Phases } from './phases.js'
import type { RestorePlan } from './plan-restore.js'
import { launchFor } from './restore-machine.js'
import type { RestoreOptions } from './restore-options.js'
import { restoreReport } from './restore-report.js'
import type { Restored } from './restored.js'
import { unawaited } from './unawaited.js'
import { restoreUsage } from './usage/restore-usage.js'

/** Of `RestoreOptions`, what means something for memory that is in no layer yet. */
export type RestoreFrozenOptions = Omit<
  RestoreOptions,
  | 'machine'
  | 'engine'
  | 'experimental'
  | 'workingSet'
  | 'prefetch'
  | 'prefetchBudgetMs'
  | 'graduate'
  | 'randomAccess'
  | 'beforeLoad'
  | 'record'
>

/** A VMM that is being launched for memory that is not frozen yet. `restoreFrozen` takes it over. */
export interface BegunRestore extends AsyncDisposable {
  readonly choosing: Promise<ChosenVmm>
  readonly launching: Promise<LaunchedMachine>
  readonly phases: Phases
}

/** `release`: of the Firecracker whose machine is going to be frozen. */
export function beginFrozen(release: FirecrackerVersion, options: RestoreFrozenOptions): BegunRestore {
  const phases = new Phases()
  const choosing = unawaited(phases.time('firecracker', () => chooseVmmFor(release, options)))
  const launching = unawaited(launchFor(choosing, options, phases))
  return {
    choosing,
    launching,
    phases,
    [Symbol.asyncDispose]: async () => void (await (await launching.catch(() => undefined))?.stop()),
  }
}

/** What all restores of frozen memory need; to be awaited before it is frozen. */
export async function warmUpFrozen({
  runtimeDirectory: runtime,
  signal,
}: RestoreFrozenOptions): Promise<void> {
  await engines[planFrozen().plan.chosen.engine].warmUpFrozen?.(runtime ?? runtimeDirectory(), { signal })
}

/**
 * Starts a machine from memory that stands frozen in a process; it depends on that process until the page
 * server has layers instead (`replaceFrozen`). On any failure nothing is left running. Errors: as
 * `restoreMachine`.
 */
export async function restoreFrozen(
  snapshot: FrozenSnapshot,
  { choosing, launching, phases }: BegunRestore,
  options: RestoreFrozenOptions,
): Promise<Restored<RunningMachine | PausedMachine>> {
  const { faultCpu, signal, onProgress } = options
  try {
    const { vmm } = await choosing
    const { plan, prepareFrozen } = planFrozen()
    const prepared = await prepareFrozen(snapshot, {
      machine: launching,
      runtime: options.runtimeDirectory ?? runtimeDirectory(),
      randomAccess: false,
      toPrefetch: null,
      graduate: false,
      faultCpu,
      signal,
      onProgress,
      phase: phases.time,
    })
    const loaded = await loadPrepared(await launching, { snapshot, plan, prepared, options, phases })
    const { machine } = loaded
    return {
      machine,
      report: restoreReport(snapshot, plan, { vmm, ...loaded, phases }),
      usage: (ofCall) => restoreUsage(machine, ofCall),
      pageServer: prepared.pageServer,
      [Symbol.asyncDispose]: () => machine[Symbol.asyncDispose](),
    }
  } catch (error) {
    const launched = await launching.catch(() => undefined)
    const failure = await failureOf(launched, error)
    await launched?.stop()
    throw failure
  }
}

function planFrozen(): {
  readonly plan: RestorePlan
  readonly prepareFrozen: NonNullable<Engine['prepareFrozen']>
} {
  for (const { name: engine, prepareFrozen } of Object.values(engines))
    if (prepareFrozen !== undefined) {
      const reason = 'its memory is served from where it stands frozen'
      return {
        plan: { chosen: { engine, reason, worthPrefetching: false }, fitted: null, toPrefetch: null },
        prepareFrozen,
      }
    }
  throw new VarveError('HOST_UNSUPPORTED', 'no engine can restore memory that stands frozen')
}
