import { type ExtentMap, lookupPage, zeroSource } from '../../layer/extent-map.js'
import { framePages } from '../../memory/units.js'
import type { RemovedPages } from '../protocol/removed-pages.js'

/** Pages of a frame that come from one place in a row. */
export interface FramePiece {
  /** Layer, or -1: zero. */
  readonly source: number
  /** In that layer's file; 0 for zero pages. */
  readonly storedPage: number
  readonly pages: number
}

/** What is known of pages that the guest gave back. */
export type KnownRemovals = Pick<RemovedPages, 'any' | 'has' | 'endOfRun'>

/**
 * Where the pages of a frame come from: 512 of them, a huge page, from image page `first` on. What was
 * removed is zero, whatever the layers hold.
 */
export function framePieces(map: ExtentMap, removed: KnownRemovals, first: number): FramePiece[] {
  const pieces: FramePiece[] = []
  const end = first + framePages
  let zeros = 0
  const endZeros = () => {
    if (zeros > 0) pieces.push({ source: zeroSource, storedPage: 0, pages: zeros })
    zeros = 0
  }
  for (let page = first; page < end; ) {
    const { source, storedPage, count } = lookupPage(map, page)
    const together = Math.min(count, end - page)
    const gone = removed.any ? removed.endOfRun(page, page + together) - page : 0
    if (gone > 0 || source === zeroSource) {
      const pages = source === zeroSource ? together : gone
      zeros += pages
      page += pages
      continue
    }
    endZeros()
    const pages = removed.any ? untilRemoved(removed, page, together) : together
    pieces.push({ source, storedPage, pages })
    page += pages
  }
  endZeros()
  return pieces
}

function untilRemoved(removed: KnownRemovals, page: number, most: number): number {
  let pages = 1
  while (pages < most && !removed.has(page + pages)) pages++
  return pages
}
