import { join } from 'node:path'
import type { ExtentMap } from '../layer/extent-map.js'
import { ExtentMapBuilder } from '../layer/extent-map-builder.js'
import { absentSource } from '../layer/lay-out-pages.js'
import { type ComposedLayer, writeLayer } from '../layer/write-layer.js'
import type { PageSet } from '../memory/page-set.js'
import { unionAll } from '../memory/page-set-algebra.js'
import { touchOrder, type WorkingSet } from '../working-set/working-set.js'
import type { WorkOptions } from './snapshot-store.js'
import type { OpenSnapshot, Staging } from './snapshot-types.js'

/**
 * A packed layer with just the pages of a working set, first touched first: one sequential read brings what a
 * restored guest needs, before the layers themselves have come. Image and parent are both the snapshot's:
 * what is absent in it is the rest of the same image.
 */
export async function writeHotPages(
  { entry, map, files }: OpenSnapshot,
  workingSet: WorkingSet,
  staging: Staging,
  options: WorkOptions = {},
): Promise<ComposedLayer> {
  const order = touchOrder(workingSet)
  const hot = restrictTo(map, unionAll(order))
  const path = join(staging.directory, `hot-${entry.id}`)
  return writeLayer({ image: entry.id, parent: entry.id, map: hot, files, order }, path, {
    layout: 'packed',
    signal: options.signal,
  })
}

/** The map with nothing said of pages outside a set. */
function restrictTo(map: ExtentMap, set: PageSet): ExtentMap {
  const builder = new ExtentMapBuilder(map.starts.length + 2 * set.starts.length)
  let page = 0
  let run = 0
  const absentUntil = (end: number) => {
    if (end > page) builder.add(end - page, absentSource, 0)
    page = Math.max(page, end)
  }
  for (let i = 0; i < set.starts.length; i++) {
    const end = Math.min(map.pages, (set.starts[i] as number) + (set.counts[i] as number))
    absentUntil(Math.min(end, set.starts[i] as number))
    while (page < end) {
      while ((map.starts[run] as number) + (map.counts[run] as number) <= page) run++
      const stop = Math.min(end, (map.starts[run] as number) + (map.counts[run] as number))
      const source = map.sources[run] as number
      const offset = source < 0 ? 0 : page - (map.starts[run] as number)
      builder.add(stop - page, source, (map.storedStarts[run] as number) + offset)
      page = stop
    }
  }
  absentUntil(map.pages)
  return builder.finish()
}
