import { VarveError } from '../errors.js'
import { type FittedWorkingSet, fitWorkingSet } from '../store/fit-working-set.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import type { OpenSnapshot } from '../store/snapshot-types.js'
import { chooseEngine, engineFacts } from './choose-engine.js'
import type { EngineName } from './engine-names.js'
import { defaultEngine } from './engine-names.js'
import { engines } from './engines/all-engines.js'
import type { Phases } from './phases.js'
import type { PrefetchWish } from './prefetch.js'
import { hasHugePages, hugePagesOf } from './preflight/cheap-checks.js'
import { budgetOf, type RestoreOptions } from './restore-options.js'

export interface ChosenEngine {
  readonly engine: EngineName
  /** Why `auto` took it; null if the caller named it. */
  readonly reason: string | null
  /** Whether a working set is to be brought, if the caller did not say when. */
  readonly worthPrefetching: boolean
}

/** How a snapshot is to be restored. */
export interface RestorePlan {
  readonly chosen: ChosenEngine
  readonly fitted: FittedWorkingSet | null
  /** Null if there is nothing to bring, or it is not worth it. */
  readonly toPrefetch: PrefetchWish | null
}

/**
 * `chosen`: by an earlier plan that this one is to agree with. Errors: as `fitWorkingSet`; INVALID_ARGUMENT
 * if the engine that was asked for cannot restore the guest's huge pages.
 */
export async function planRestore(
  store: SnapshotStore,
  snapshot: OpenSnapshot,
  options: RestoreOptions,
  phases: Phases,
  chosen: ChosenEngine | undefined,
): Promise<RestorePlan> {
  const { engine = defaultEngine, workingSet: wanted, randomAccess = false, signal } = options
  const recorders = options.record?.recorders ?? []
  const hugePages = hasHugePages(hugePagesOf(snapshot.config))
  if (hugePages && engine !== 'auto' && engines[engine].bringsHugePages !== true)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `the guest of ${snapshot.entry.id} has huge pages, which the ${engine} engine cannot restore`,
      { remedy: 'use engine paged or auto: only a page server brings huge pages', details: { engine } },
    )
  const fitted =
    wanted === undefined
      ? null
      : await phases.time('working set', () => fitWorkingSet(store, snapshot, wanted, { signal }))
  const workingSet = fitted?.workingSet ?? null
  const taken =
    chosen ??
    (engine === 'auto'
      ? await phases.time('choose', async () =>
          chooseEngine(await engineFacts(snapshot, { workingSet, hugePages, randomAccess, recorders })),
        )
      : { engine, reason: null, worthPrefetching: true })
  const toPrefetch =
    workingSet !== null && (taken.worthPrefetching || options.prefetch !== undefined)
      ? { workingSet, path: fitted?.path ?? null, budgetMs: budgetOf(options) }
      : null
  return { chosen: taken, fitted, toPrefetch }
}
