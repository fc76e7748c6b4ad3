import { faultAroundBytes } from '../../sys/fault-around.js'
import { Pagemap } from '../../sys/pagemap.js'
import type { Engine, UnusedPages } from '../engine.js'
import { type RestoreNote, readBroughtPages } from './restore-note.js'
import { touchesOf } from './touched-pages.js'

/** What a VM has used whose memory the kernel brings: its page tables tell. */
export const usageByPageTables: Engine['usage'] = async ({ pid, directory }, { prefetched }) => ({
  pageServer: null,
  prefetchReadBytes: prefetched?.readBytes ?? null,
  unused: prefetched && unusedPages(pid, directory, prefetched),
})

function unusedPages(
  pid: number,
  directory: string,
  { pages, prefaulted, aroundBytes }: NonNullable<RestoreNote['prefetched']>,
): UnusedPages {
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
