import { VarveError } from '../errors.js'
import { emptyPageSet, type PageSet, runAtOrBefore } from '../memory/page-set.js'
import { RunBuilder } from '../memory/run-builder.js'

/** The source of a run of zero pages. */
export const zeroSource = -1

/** Snapshots in one chain. Far above any use seen; fits the Int16 of `sources`. */
export const maxLayers = 1024

/**
 * An image: where each of its pages comes from. Runs are sorted, cover [0, pages) without a
 * gap, and neighbours that could be one run are one run, so that a lookup costs log2(runs)
 * however many layers were stacked.
 *
 * ```
 * starts[i], counts[i]   pages of the image
 * sources[i]             index of the layer that holds them (base = 0), or -1: zero
 * storedStarts[i]        first page in that layer's file (0 for a zero run)
 * ```
 */
export interface ExtentMap {
  /** Pages of the image. */
  readonly pages: number
  /** The first image page of each run. */
  readonly starts: Uint32Array
  /** The length of each run, pages. */
  readonly counts: Uint32Array
  /** The layer that holds each run: its index, base = 0, or -1 for zero. */
  readonly sources: Int16Array
  /** The first page of each run in its layer's file; 0 for a zero run. */
  readonly storedStarts: Uint32Array
}

/** Where a page of an image comes from. */
export interface PageSource {
  /** Layer index, or -1: zero. */
  readonly source: number
  /** Page in that layer's file. */
  readonly storedPage: number
  /** How many pages from this one on come from the same place in a row. */
  readonly count: number
}

/** Where a page comes from. `page` must be within the image (INVALID_ARGUMENT). */
export function lookupPage(map: ExtentMap, page: number): PageSource {
  if (!Number.isInteger(page) || page < 0 || page >= map.pages)
    throw new VarveError('INVALID_ARGUMENT', `page ${page} is not within the image's ${map.pages} pages`)
  const run = runAtOrBefore(map.starts, page)
  const source = map.sources[run] as number
  const offset = page - (map.starts[run] as number)
  return {
    source,
    storedPage: source === zeroSource ? 0 : (map.storedStarts[run] as number) + offset,
    count: (map.counts[run] as number) - offset,
  }
}

/** The pages of the image that come from one source (a layer index, or -1 for zero). */
export function pagesFrom(map: ExtentMap, source: number): PageSet {
  const builder = new RunBuilder()
  for (let i = 0; i < map.starts.length; i++)
    if (map.sources[i] === source) builder.add(map.starts[i] as number, map.counts[i] as number)
  return builder.finish()
}

/**
 * The pages of the image that a set of pages of one layer's file stands for: a stored page that a later layer
 * has replaced stands for none.
 */
export function imagePages(map: ExtentMap, source: number, stored: PageSet): PageSet {
  if (stored.pages === 0 || source === zeroSource) return emptyPageSet
  const builder = new RunBuilder()
  for (let i = 0; i < map.starts.length; i++) {
    if (map.sources[i] !== source) continue
    const first = map.storedStarts[i] as number
    const end = first + (map.counts[i] as number)
    const shift = (map.starts[i] as number) - first
    for (let run = Math.max(0, runAtOrBefore(stored.starts, first)); run < stored.starts.length; run++) {
      const runStart = stored.starts[run] as number
      if (runStart >= end) break
      const start = Math.max(first, runStart)
      const stop = Math.min(end, runStart + (stored.counts[run] as number))
      if (start < stop) builder.add(start + shift, stop - start)
    }
  }
  return builder.finish()
}
