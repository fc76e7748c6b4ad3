import { pageSetFromRuns } from '../memory/make-page-set.js'
import { type PageRun, type PageSet, runAtOrBefore, runsOf } from '../memory/page-set.js'
import { type ExtentMap, zeroSource } from './extent-map.js'

/** Where a stretch of the image lies: pages of it, and of the layer's file. */
interface StoredStretch {
  readonly source: number
  readonly start: number
  readonly storedPage: number
  readonly count: number
}

/** The places of a set's pages, ascending by page of the image; zero pages have none. */
export function* placesOf(map: ExtentMap, set: PageSet): Generator<StoredStretch> {
  const { starts, counts, sources, storedStarts } = map
  for (const { start, count } of runsOf(set)) {
    const end = Math.min(start + count, map.pages)
    for (let run = runAtOrBefore(starts, start); run < starts.length; run++) {
      const runStart = starts[run] as number
      if (runStart >= end) break
      const source = sources[run] as number
      const from = Math.max(start, runStart)
      const to = Math.min(end, runStart + (counts[run] as number))
      if (source !== zeroSource && from < to)
        yield {
          source,
          start: from,
          storedPage: (storedStarts[run] as number) + from - runStart,
          count: to - from,
        }
    }
  }
}

/** The pages of each of `layers` files that a set of the image's pages comes from. */
export function pagesByLayer(map: ExtentMap, layers: number, set: PageSet): PageSet[] {
  const runs = Array.from({ length: layers }, (): PageRun[] => [])
  for (const { source, storedPage, count } of placesOf(map, set))
    runs[source]?.push({ start: storedPage, count })
  return runs.map(pageSetFromRuns)
}
