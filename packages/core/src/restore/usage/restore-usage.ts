import type { ImageId } from '../../layer/layer-types.js'
import type { PausedMachine, RunningMachine } from '../../machine/machine-states.js'
import { notFound } from '../../not-found.js'
import type { PageServerStats } from '../../page-server/client/page-server-client.js'
import { diskReadBytes, type PageFaults, pageFaults } from '../../sys/proc.js'
import type { UnusedPages } from '../engine.js'
import type { EngineName } from '../engine-names.js'
import { engines } from '../engines/all-engines.js'
import { readRestoreNote } from './restore-note.js'

/** What came of a restore by now. Counts grow with time; each call looks again. */
export interface RestoreUsage {
  /** The engine of the restore. */
  readonly engine: EngineName
  /** The id of the snapshot. */
  readonly snapshot: ImageId
  /** Since the load, milliseconds. */
  readonly ageMs: number
  /**
   * Page faults of the VMM since the load: the guest's, and a few of its own. What the kernel fetches for a
   * guest while that does something else (docs/notes/async-page-faults.md) is not among them.
   */
  readonly faults: PageFaults
  /** What its page server answered; null with another engine. */
  readonly pageServer: PageServerStats | null
  /**
   * Read from disks, bytes. `vmm`: by the VMM, for the guest's faults; null if this user may not see
   * it. `prefetch`: ahead of the guest; null if nothing was, or while it goes on. What a page server's
   * own faults read is in neither.
   */
  readonly readBytes: {
    /** By the VMM, bytes. */
    readonly vmm: number | null
    /** Ahead of the guest, bytes. */
    readonly prefetch: number | null
  }
  /** Null if nothing was brought ahead. */
  readonly prefetched: PrefetchedPages | null
}

/** Pages of a working set that hold data, and how many of them the guest has not touched. */
export interface PrefetchedPages {
  /** Pages with data that were brought. */
  readonly pages: number
  /** How many of them were not touched. */
  readonly unused: UnusedPages
}

/**
 * Asks what a machine that came from a snapshot has used: at any time, any number of times, by any
 * process of this user or root. Some hundred µs, and 10 ns a page of the working set. NOT_FOUND if it
 * was booted here, or has ended.
 */
export async function restoreUsage(
  { id, pid, paths }: Pick<RunningMachine | PausedMachine, 'id' | 'pid' | 'paths'>,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<RestoreUsage> {
  const { directory } = paths
  const note = readRestoreNote(directory, id)
  const { engine, snapshot, before, prefetched } = note
  const readBytes = diskReadBytes(pid)
  const faults = pageFaults(pid)
  if (faults === null) throw notFound('machine', `${id} has ended`)
  const used = await engines[engine].usage({ pid, directory }, note, { signal })
  return {
    engine,
    snapshot,
    ageMs: Date.now() - note.loadedAtMs,
    faults: { minor: faults.minor - before.faults.minor, major: faults.major - before.faults.major },
    pageServer: used.pageServer,
    readBytes: {
      vmm: readBytes === null || before.readBytes === null ? null : readBytes - before.readBytes,
      prefetch: used.prefetchReadBytes,
    },
    prefetched: prefetched && used.unused && { pages: prefetched.pages, unused: used.unused },
  }
}
