import { VarveError } from '../errors.js'
import { emptyPageSet, type PageSet, runAtOrBefore } from '../memory/page-set.js'
import { RunBuilder } from '../memory/run-builder.js'
import { ExtentMapBuilder } from './extent-map-builder.js'
import { imagePagesLimit } from './layer-index.js'
import { type LayerIndex, zeroPage } from './layer-types.js'

/** The source of a run of zero pages. */
export const zeroSource = -1

/** Snapshots in one chain. Far above any use seen; fits the Int16 of `sources`. */
export const maxLayers = 1024

/**
 * An image: where each of its pages comes from. Runs are sorted, cover [0, pages) without a gap, and neighbours that
 * could be one run are one run, so that a lookup costs log2(runs) however many layers were stacked.
 *
 * ```
 * starts[i], counts[i]   pages of the image
 * sources[i]             index of the layer that holds them (base = 0), or -1: zero
 * sourcePages[i]         first page in that layer's file (0 for a zero run)
 * ```
 */
export interface ExtentMap {
  readonly pages: number
  readonly starts: Uint32Array
  readonly counts: Uint32Array
  readonly sources: Int16Array
  readonly sourcePages: Uint32Array
}

/** An image of zeros: what a base layer is stacked on. */
export function zeroMap(pages: number): ExtentMap {
  if (!Number.isInteger(pages) || pages < 1 || pages > imagePagesLimit)
    throw new VarveError('INVALID_ARGUMENT', `${pages} pages is not within [1, 2^32 - 2]`)
  const builder = new ExtentMapBuilder(1)
  builder.add(pages, zeroSource, 0)
  return builder.finish()
}

/** The image of a chain, base first. A page that no layer names is zero. */
export function composeExtentMap(layers: readonly LayerIndex[]): ExtentMap {
  const base = layers[0]
  if (base === undefined) throw new VarveError('INVALID_ARGUMENT', 'an image needs at least one layer')
  return layers.reduce((map, layer, index) => stackLayer(map, layer, index), zeroMap(base.pages))
}

/**
 * The image of a child from the image of its parent and the child's own layer: the cost is the runs of those two,
 * whatever lies below. `source` is what the map names the layer by.
 */
export function stackLayer(parent: ExtentMap, layer: LayerIndex, source: number): ExtentMap {
  if (layer.pages !== parent.pages)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `the layer is of ${layer.pages} pages, the image below it of ${parent.pages}`,
    )
  if (!Number.isInteger(source) || source < 0 || source >= maxLayers)
    throw new VarveError('INVALID_ARGUMENT', `layer number ${source} is not within [0, ${maxLayers})`)
  const { starts, counts, storedPages } = layer
  const builder = new ExtentMapBuilder(parent.starts.length + starts.length)
  const below = new Cursor(parent)
  for (let i = 0; i < starts.length; i++) {
    const start = starts[i] as number
    const count = counts[i] as number
    const storedPage = storedPages[i] as number
    if (start < below.page || start + count > parent.pages)
      throw new VarveError(
        'FORMAT_INVALID',
        `layer ${source}: page run ${start}+${count} overlaps or overruns`,
      )
    below.copyUntil(start, builder)
    if (storedPage === zeroPage) builder.add(count, zeroSource, 0)
    else builder.add(count, source, storedPage)
    below.skipTo(start + count)
  }
  below.copyUntil(parent.pages, builder)
  return builder.finish()
}

/** Walks a map forward, copying or skipping stretches. */
class Cursor {
  page = 0
  private readonly map: ExtentMap
  private run = 0

  constructor(map: ExtentMap) {
    this.map = map
  }

  copyUntil(end: number, out: ExtentMapBuilder): void {
    const { starts, counts, sources, sourcePages } = this.map
    while (this.page < end) {
      this.skipTo(this.page)
      const start = starts[this.run] as number
      const stop = Math.min(end, start + (counts[this.run] as number))
      const source = sources[this.run] as number
      const offset = source === zeroSource ? 0 : this.page - start
      out.add(stop - this.page, source, (sourcePages[this.run] as number) + offset)
      this.page = stop
    }
  }

  skipTo(page: number): void {
    const { starts, counts } = this.map
    while (this.run < starts.length && (starts[this.run] as number) + (counts[this.run] as number) <= page)
      this.run++
    this.page = page
  }
}

export interface PageSource {
  /** Layer index, or -1: zero. */
  readonly source: number
  /** Page in that layer's file. */
  readonly sourcePage: number
  /** How many pages from this one on come from the same place in a row. */
  readonly count: number
}

export function lookupPage(map: ExtentMap, page: number): PageSource {
  if (!Number.isInteger(page) || page < 0 || page >= map.pages)
    throw new VarveError('INVALID_ARGUMENT', `page ${page} is not within the image's ${map.pages} pages`)
  const run = runAtOrBefore(map.starts, page)
  const source = map.sources[run] as number
  const offset = page - (map.starts[run] as number)
  return {
    source,
    sourcePage: source === zeroSource ? 0 : (map.sourcePages[run] as number) + offset,
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
 * The pages of the image that a set of pages of one layer's file stands for: a layer page that a later layer has
 * replaced stands for none.
 */
export function imagePages(map: ExtentMap, source: number, layerPages: PageSet): PageSet {
  if (layerPages.pages === 0 || source === zeroSource) return emptyPageSet
  const builder = new RunBuilder()
  for (let i = 0; i < map.starts.length; i++) {
    if (map.sources[i] !== source) continue
    const first = map.sourcePages[i] as number
    const end = first + (map.counts[i] as number)
    const shift = (map.starts[i] as number) - first
    for (
      let run = Math.max(0, runAtOrBefore(layerPages.starts, first));
      run < layerPages.starts.length;
      run++
    ) {
      const runStart = layerPages.starts[run] as number
      if (runStart >= end) break
      const start = Math.max(first, runStart)
      const stop = Math.min(end, runStart + (layerPages.counts[run] as number))
      if (start < stop) builder.add(start + shift, stop - start)
    }
  }
  return builder.finish()
}
