import { type ExtentMap, zeroSource } from './extent-map.js'

/** `count` pages from `storedPage` of a source on, to be at `page` of the new file. */
export interface CopyPiece {
  readonly page: number
  readonly count: number
  readonly source: number
  readonly storedPage: number
}

/**
 * 4 MiB of the new file: a call of a few milliseconds, and a stretch short
 * enough to decide for by its pieces.
 */
const windowPages = 1024

/**
 * The data runs of a map, cut at every 4 MiB of the new file; windows without data are left out. Ascending.
 */
export function* windowsOf({ starts, counts, sources, storedStarts }: ExtentMap): Generator<CopyPiece[]> {
  let window: CopyPiece[] = []
  let end = windowPages
  for (let i = 0; i < starts.length; i++) {
    const source = sources[i] as number
    if (source === zeroSource) continue
    const start = starts[i] as number
    const stop = start + (counts[i] as number)
    for (let page = start; page < stop; ) {
      if (page >= end) {
        if (window.length > 0) yield window
        window = []
        end = (Math.floor(page / windowPages) + 1) * windowPages
      }
      const count = Math.min(stop, end) - page
      window.push({ page, count, source, storedPage: (storedStarts[i] as number) + page - start })
      page += count
    }
  }
  if (window.length > 0) yield window
}

export function countDataPages({ counts, sources }: ExtentMap): number {
  let pages = 0
  for (let i = 0; i < counts.length; i++) if (sources[i] !== zeroSource) pages += counts[i] as number
  return pages
}
