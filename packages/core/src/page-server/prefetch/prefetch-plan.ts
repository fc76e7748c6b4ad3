import { type ExtentMap, lookupPage, zeroSource } from '../../layer/extent-map.js'
import { type PageSet, runsOf } from '../../memory/page-set.js'
import { minus, unionAll } from '../../memory/page-set-algebra.js'
import { presentPages, type WorkingSet } from '../../working-set/working-set.js'

/** 2 MiB: some 700 µs of copying, after which a request to stop is seen. */
export const maxPiecePages = 512

/** Pages of the image that come from one place in a row. */
export interface PrefetchPiece {
  readonly page: number
  readonly pages: number
  /** Layer, or -1: zero. */
  readonly source: number
  /** In that layer's file; 0 for zero pages. */
  readonly storedPage: number
}

/** What to fetch in its order: group by group, then what no group has; within each, ascending. */
export function prefetchPlan(workingSet: WorkingSet, map: ExtentMap): PrefetchPiece[] {
  const groups = workingSet.groups.map(({ set }) => set)
  const rest = minus(presentPages(workingSet), unionAll(groups))
  return [...groups, rest].flatMap((set) => pieces(set, map))
}

function pieces(set: PageSet, map: ExtentMap): PrefetchPiece[] {
  const found: PrefetchPiece[] = []
  for (const { start, count } of runsOf(set))
    for (let page = start; page < start + count; ) {
      const { source, storedPage, count: together } = lookupPage(map, page)
      const pages = Math.min(start + count - page, together, maxPiecePages)
      found.push({ page, pages, source, storedPage: source === zeroSource ? 0 : storedPage })
      page += pages
    }
  return found
}
