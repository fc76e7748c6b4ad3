import type { ImageId } from '../../layer/layer-types.js'
import type { PausedMachine, RunningMachine } from '../../machine/machine-states.js'
import { notFound } from '../../not-found.js'
import { type PageServerStats, pageServerClient } from '../../page-server/client/page-server-client.js'
import { faultAroundBytes } from '../../sys/fault-around.js'
import { Pagemap } from '../../sys/pagemap.js'
import { diskReadBytes, type PageFaults, pageFaults } from '../../sys/proc.js'
import type { EngineName } from '../engine.js'
import { type RestoreNote, readBroughtPages, readRestoreNote } from './restore-note.js'
import { touchesOf } from './touched-pages.js'

/** What came of a restore by now. Counts grow with time; each call looks again. */
export interface RestoreUsage {
  readonly engine: EngineName
  readonly snapshot: ImageId
  /** Since the load, milliseconds. */
  readonly ageMs: number
  /**
   * Page faults of the VMM since the load: the guest's, and a few of its own. What the kernel fetches for a guest while that does
   * something else (docs/notes/async-page-faults.md) is not among them.
   */
  readonly faults: PageFaults
  /** What its page server answered; null with another engine. */
  readonly pageServer: PageServerStats | null
  /**
   * Read from disks, bytes. `vmm`: by the VMM, for the guest's faults; null if this user may not see it. `prefetch`: ahead of the
   * guest; null if nothing was, or while it goes on. What a page server's own faults read is in neither.
   */
  readonly readBytes: { readonly vmm: number | null; readonly prefetch: number | null }
  /** Null if nothing was brought ahead. */
  readonly prefetched: PrefetchedPages | null
}

/** Pages of a working set that hold data, and how many of them the guest has not touched. */
export interface PrefetchedPages {
  readonly pages: number
  /**
   * Equal if page tables tell all. They do not tell whether a page was touched that was put there ahead (by the `paged` and the
   * `mapped` engine all), or that was mapped along with a neighbour that was read
   * (docs/notes/mincore-overcount.md). A page that the kernel took back counts as untouched.
   */
  readonly unused: { readonly atLeast: number; readonly atMost: number }
}

/**
 * Asks what a machine that came from a snapshot has used: at any time, any number of times, by any process of this user or root.
 * Some hundred µs, and 10 ns a page of the working set. NOT_FOUND if it was booted here, or has ended.
 */
export async function restoreUsage(
  { id, pid, paths }: Pick<RunningMachine | PausedMachine, 'id' | 'pid' | 'paths'>,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<RestoreUsage> {
  const { directory } = paths
  const note = readRestoreNote(directory, id)
  const { engine, snapshot, before, prefetch } = note
  const call = signal === undefined ? {} : { signal }
  const server = engine === 'paged' ? pageServerClient(directory, note.memoryPages) : undefined
  const served = prefetch === null ? undefined : await server?.prefetched(call)
  const readBytes = diskReadBytes(pid)
  const faults = pageFaults(pid)
  if (faults === null) throw notFound('machine', `${id} has ended`)
  return {
    engine,
    snapshot,
    ageMs: Date.now() - note.loadedAtMs,
    faults: { minor: faults.minor - before.faults.minor, major: faults.major - before.faults.major },
    pageServer: (await server?.stats(call)) ?? null,
    readBytes: {
      vmm: readBytes === null || before.readBytes === null ? null : readBytes - before.readBytes,
      prefetch: served?.readBytes ?? prefetch?.readBytes ?? null,
    },
    prefetched: prefetch && {
      pages: prefetch.pages,
      unused: served
        ? { atLeast: 0, atMost: Math.min(prefetch.pages, served.copiedPages) }
        : unusedPages(pid, directory, prefetch),
    },
  }
}

function unusedPages(
  pid: number,
  directory: string,
  { pages, prefaulted, aroundBytes }: NonNullable<RestoreNote['prefetch']>,
): PrefetchedPages['unused'] {
  using pagemap = new Pagemap(pid)
  // It may have been changed, and pages of both times be mapped.
  const around = Math.max(aroundBytes, faultAroundBytes())
  const sum = { absent: 0, copiedReadOnly: 0, copiedWritten: 0, mappedForThemselves: 0 }
  for (const file of readBroughtPages(directory)) {
    const counts = touchesOf({ pid, pagemap }, file, around)
    for (const name of ['absent', 'copiedReadOnly', 'copiedWritten', 'mappedForThemselves'] as const)
      sum[name] += counts?.[name] ?? 0
  }
  // Of what was put there ahead, any page may be untouched.
  const touched =
    sum.copiedReadOnly +
    Math.max(0, sum.copiedWritten - prefaulted.writtenPages) +
    Math.max(0, sum.mappedForThemselves - prefaulted.readOnlyPages)
  return { atLeast: sum.absent, atMost: pages - touched }
}
