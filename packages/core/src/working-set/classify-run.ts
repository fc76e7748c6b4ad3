import { type ExtentMap, pagesFrom, zeroSource } from '../layer/extent-map.js'
import { dataPages, zeroPages } from '../layer/layer-index.js'
import type { LayerIndex } from '../layer/layer-types.js'
import { classify, type PageClasses } from '../memory/classes.js'
import type { PageSet } from '../memory/page-set.js'
import { union } from '../memory/page-set-algebra.js'

/** What is known of a run. */
export interface RunRecord {
  /** The image that the run started from. */
  readonly map: ExtentMap
  /** Pages of the image that a recorder saw touched. */
  readonly present: PageSet
  /**
   * The index of the Diff taken at the end of the run: it names exactly the
   * written pages, as data or as zero.
   */
  readonly nextDiff: LayerIndex
}

/** The pages that a Diff's layer says were written: a page that became zero was written too. */
export function writtenPages(index: LayerIndex): PageSet {
  return union(dataPages(index), zeroPages(index))
}

/**
 * The classes of a run's image: read-only = present − written, written by the next
 * Diff, zero as the image has it.
 */
export function classifyRun({ map, present, nextDiff }: RunRecord): PageClasses {
  return classify({
    present,
    written: writtenPages(nextDiff),
    zero: pagesFrom(map, zeroSource),
    pages: map.pages,
  })
}
