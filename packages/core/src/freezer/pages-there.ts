import { pageSetFromRuns } from '../memory/make-page-set.js'
import type { MappedRegion } from '../memory/mapped-region.js'
import type { PageRun, PageSet } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { mappingsOf } from '../sys/mappings.js'
import { Pagemap } from '../sys/pagemap.js'
import type { ProcessIdentity } from '../sys/proc.js'

/** What the page tables hold of its own; with `all`, also all of what comes from files. */
export function pagesThere(
  { pid }: ProcessIdentity,
  regions: readonly MappedRegion[],
  which: 'private' | 'all',
): PageSet {
  using pagemap = new Pagemap(pid)
  const runs: PageRun[] = []
  const mappings = mappingsOf(pid)
  for (const { address, firstPage, pages } of regions) {
    const end = address + pages * pageSizeBytes
    const add = (from: number, to: number) =>
      runs.push({ start: firstPage + (from - address) / pageSizeBytes, count: (to - from) / pageSizeBytes })
    for (const mapping of mappings) {
      const [from, to] = [Math.max(address, mapping.start), Math.min(end, mapping.end)]
      if (from >= to) continue
      if (which === 'all' && mapping.inode !== '0') add(from, to)
      else pagemap.forEachRun(from, to, (start, last, kind) => kind === 'anonymous' && add(start, last))
    }
  }
  return pageSetFromRuns(runs)
}
