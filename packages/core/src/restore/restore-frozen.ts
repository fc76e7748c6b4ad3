import { VarveError } from '../errors.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import type { FrozenSnapshot } from '../store/snapshot-types.js'
import { runtimeDirectory } from '../usable-runtime.js'
import { chooseVmmOf } from './choose-vmm.js'
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

/**
 * Starts a machine from memory that stands frozen in a process; it depends on that process until the page
 * server has layers instead (`replaceFrozen`). On any failure nothing is left running. Errors: as
 * `restoreMachine`.
 */
export async function restoreFrozen(
  snapshot: FrozenSnapshot,
  options: RestoreFrozenOptions,
): Promise<Restored<RunningMachine | PausedMachine>> {
  const { faultCpu, signal, onProgress } = options
  const phases = new Phases()
  const choosing = phases.time('firecracker', () => chooseVmmOf(snapshot.config, options))
  const launching = unawaited(launchFor(choosing, options, phases))
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
