import { VarveError } from '../errors.js'
import type { PageSet } from '../memory/page-set.js'
import { complement, intersect, minus, unionAll } from '../memory/page-set-algebra.js'
import { type ExtentMap, pagesFrom, zeroSource } from './extent-map.js'
import { ExtentMapBuilder } from './extent-map-builder.js'
import { LayerIndexBuilder } from './layer-index.js'
import { type LayerIndex, type LayerLayout, type PackOrder, zeroPage } from './layer-types.js'

/** In a map of pages that are to become a layer: the layer says nothing of them. */
export const absentSource = -2

/** A map of an image of which nothing is said yet: what layers without their parent are stacked on. */
export function absentMap(pages: number): ExtentMap {
  const builder = new ExtentMapBuilder(1)
  builder.add(pages, absentSource, 0)
  return builder.finish()
}

/** A new layer: its index, and what each page of its file is (a zero run is a hole). */
interface LaidOutLayer {
  readonly index: LayerIndex
  readonly content: ExtentMap
}

/** Gives each data page of a map its place in a new layer's file. `order` is for packed layers only. */
export function layOutPages(map: ExtentMap, layout: LayerLayout, order: PackOrder = []): LaidOutLayer {
  if (layout === 'packed') return layOutPacked(map, order)
  if (order.length > 0)
    throw new VarveError(
      'INVALID_ARGUMENT',
      'the pages of a flat layer lie in image order; no other order is possible',
      {
        remedy: "use layout 'packed'",
      },
    )
  const index = new LayerIndexBuilder()
  const content = new ExtentMapBuilder(map.starts.length)
  forEachRun(map, (start, count, source, storedPage) => {
    if (source >= 0) {
      index.add(start, count, start)
      content.add(count, source, storedPage)
    } else {
      if (source === zeroSource) index.add(start, count, zeroPage)
      content.add(count, zeroSource, 0)
    }
  })
  return { index: index.finish(map.pages), content: content.finish() }
}

function layOutPacked(map: ExtentMap, order: PackOrder): LaidOutLayer {
  const content = new ExtentMapBuilder(map.starts.length)
  const index = new LayerIndexBuilder()
  if (order.length === 0) {
    let stored = 0
    forEachRun(map, (start, count, source, storedPage) => {
      if (source === absentSource) return
      index.add(start, count, source === zeroSource ? zeroPage : stored)
      if (source === zeroSource) return
      content.add(count, source, storedPage)
      stored += count
    })
    return { index: index.finish(map.pages), content: content.finish() }
  }
  const placed: { start: number; count: number; storedPage: number }[] = []
  let stored = 0
  for (const group of groupsOf(map, order))
    forEachRunIn(map, group, (start, count, source, storedPage) => {
      placed.push({ start, count, storedPage: stored })
      content.add(count, source, storedPage)
      stored += count
    })
  forEachRun(map, (start, count, source) => {
    if (source === zeroSource) placed.push({ start, count, storedPage: zeroPage })
  })
  placed.sort((a, b) => a.start - b.start)
  for (const { start, count, storedPage } of placed) index.add(start, count, storedPage)
  return { index: index.finish(map.pages), content: content.finish() }
}

/** The data pages of a map as disjoint sets, in the order in which they will be stored. */
function groupsOf(map: ExtentMap, order: PackOrder): PageSet[] {
  const nowhere = unionAll([pagesFrom(map, zeroSource), pagesFrom(map, absentSource)])
  let left = complement(nowhere, map.pages)
  const groups: PageSet[] = []
  for (const set of order) {
    groups.push(intersect(set, left))
    left = minus(left, set)
  }
  return [...groups, left]
}

type OnRun = (start: number, count: number, source: number, storedPage: number) => void

function forEachRun({ starts, counts, sources, storedStarts }: ExtentMap, onRun: OnRun): void {
  for (let i = 0; i < starts.length; i++)
    onRun(starts[i] as number, counts[i] as number, sources[i] as number, storedStarts[i] as number)
}

/** What a map says of the pages of a set, ascending. One walk over the runs of both. */
export function forEachRunIn(map: ExtentMap, set: PageSet, onRun: OnRun): void {
  let run = 0
  for (let i = 0; i < set.starts.length; i++) {
    const end = (set.starts[i] as number) + (set.counts[i] as number)
    for (let page = set.starts[i] as number; page < end; ) {
      while ((map.starts[run] as number) + (map.counts[run] as number) <= page) run++
      const start = map.starts[run] as number
      const count = Math.min(end, start + (map.counts[run] as number)) - page
      const source = map.sources[run] as number
      const offset = source === zeroSource ? 0 : page - start
      onRun(page, count, source, (map.storedStarts[run] as number) + offset)
      page += count
    }
  }
}
