import { VarveError } from '../errors.js'
import type { LaunchMachineOptions } from '../machine/launch-machine.js'
import type { LaunchedMachine, LoadOptions } from '../machine/launched-machine.js'
import type { OpenSnapshot } from '../store/snapshot-types.js'
import type { WorkingSet } from '../working-set/working-set.js'
import { type AskedEngine, experimentalEngineNames } from './engine-names.js'
import type { FixUp } from './fix-up.js'
import type { PrefetchMode } from './prefetch.js'
import type { ImageTarget, RecordMachineOptions } from './record-machine.js'

/** Who waits for an hour does not wait for a prefetch. */
const mostBudgetMs = 3_600_000

/** How to restore. Without any: engine `auto`, the guest runs, no working set. */
export interface RestoreOptions
  extends LaunchMachineOptions,
    Pick<LoadOptions, 'trackDirtyPages' | 'networkOverrides' | 'vsockPath' | 'clockRealtime'> {
  /**
   * A VMM that was launched ahead (`launchMachine`), so that the restore need not wait for one. It
   * is taken over, whatever comes of it; `name`, `binary`, `runtimeDirectory` and `jailer` are its
   * own. Default: one is launched.
   */
  readonly machine?: LaunchedMachine | undefined
  /** Default `auto`: the report says which engine was chosen, and why. */
  readonly engine?: AskedEngine | undefined
  /** Needed for engines that are experiments (`patched`); EXPERIMENTAL without. */
  readonly experimental?: boolean | undefined
  /** Start the guest (default), or leave it paused. */
  readonly resume?: boolean | undefined
  /**
   * Called when the guest runs; the restore is over when it has been fixed up. Not with `resume: false`.
   * Default: none.
   */
  readonly fixUp?: FixUp | undefined
  /**
   * Which pages to bring before the guest asks for them: a working set, the name of one that is kept in the
   * snapshot, or `REF:NAME` of one in another. One of an ancestor's image is translated; what does not belong
   * to this image is IMAGE_MISMATCH.
   */
  readonly workingSet?: WorkingSet | string | undefined
  /** Default `concurrent`; with `auto`, not at all if the set is in the page cache. */
  readonly prefetch?: PrefetchMode | undefined
  /**
   * With `before`: how long to wait for the working set at most, milliseconds; what has not come by then
   * comes alongside the guest. `mapped` waits so long for the disk, and again for the mapping of what came.
   * Default: until all is there.
   */
  readonly prefetchBudgetMs?: number | undefined
  /**
   * `paged`: bring all of memory alongside the guest, demand first, after which the VM needs no page server
   * (`pageServer.graduation`). Not with `record`. Default false; VMs of other engines need no server anyway.
   */
  readonly graduate?: boolean | undefined
  /**
   * `paged`: answer the guest's faults on this CPU, and run its vCPUs there, too: a fault
   * between two CPUs costs several times as much. Several VMs' CPUs are shared by the one thread
   * that answers. Default: anywhere.
   */
  readonly faultCpu?: number | undefined
  /** `paged`: no read-ahead in the layers, so that a recorder sees single pages. Default false. */
  readonly randomAccess?: boolean | undefined
  /**
   * Called with everything ready and nothing loaded: the moment to start a recorder. The VM’s
   * memory will come from `files`, which are the layers of `map` in its order, or one flat
   * file and then `map` is undefined.
   */
  readonly beforeLoad?: ((about: RestoreSources) => void | Promise<void>) | undefined
  /**
   * Record a working set, from before the load on; ends with `recording.stop()`. `signal` counts for it too.
   */
  readonly record?: RecordMachineOptions | undefined
  /** Called with sentences for people. */
  readonly onProgress?: ((message: string) => void) | undefined
}

/** Where a restored VM’s memory comes from: what recorders take as their target. */
export interface RestoreSources extends ImageTarget {
  /** The snapshot, open until the restore has ended. */
  readonly snapshot: OpenSnapshot
}

/**
 * Refuses what cannot be restored so, before anything is started.
 * INVALID_ARGUMENT, MACHINE_STATE, EXPERIMENTAL.
 */
export function assertAsked({
  engine,
  experimental = false,
  machine,
  prefetch,
  prefetchBudgetMs: budget,
  resume,
  fixUp,
}: RestoreOptions): void {
  assertFixable({ resume, fixUp })
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

/** INVALID_ARGUMENT: a guest that is left paused cannot be told anything. */
export function assertFixable({ resume = true, fixUp }: Pick<RestoreOptions, 'resume' | 'fixUp'>): void {
  if (fixUp !== undefined && !resume)
    throw new VarveError('INVALID_ARGUMENT', 'fixUp with resume: false: the guest must run to be fixed up')
}

/** How long the guest waits for its working set at most. */
export const budgetOf = ({ prefetch = 'concurrent', prefetchBudgetMs }: RestoreOptions): number =>
  prefetch === 'concurrent' ? 0 : (prefetchBudgetMs ?? Number.POSITIVE_INFINITY)
