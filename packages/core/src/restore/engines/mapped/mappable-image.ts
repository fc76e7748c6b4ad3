import { type ExtentMap, zeroSource } from '../../../layer/extent-map.js'
import { ExtentMapBuilder } from '../../../layer/extent-map-builder.js'
import { type MappableImage, mappingLimit, usedLayers } from '../../../mapper/mappable-layers.js'
import type { OpenSnapshot } from '../../../store/snapshot-types.js'
import { flattenSnapshot, hasFlatFile, isFlatBase } from '../../flat-file.js'

/**
 * So many mappings cost some 3 ms. An image of more of them is taken from one flat file, if that is there
 * already: it is one mapping.
 */
const cheapRuns = 512

/**
 * The snapshot's layers as they are; or a flat file, if that is there and saves much, or if layers would take
 * more mappings than a process may have.
 */
export async function mappableImage(
  snapshot: OpenSnapshot,
  options: Parameters<typeof flattenSnapshot>[1],
): Promise<MappableImage> {
  const { map, files } = snapshot
  const runs = map.starts.length
  const flat = runs > mappingLimit() || (runs > cheapRuns && (isFlatBase(snapshot) || hasFlatFile(snapshot)))
  if (!flat) return usedLayers(map, files)
  const { path } = await flattenSnapshot(snapshot, options)
  return { map: flatMap(map, cheapRuns), layers: [{ path, storedPages: map.pages }] }
}

/**
 * The same image from one flat file, in at most `limit` runs: the longest runs of zeros stay without a file.
 */
export function flatMap({ pages, counts, sources }: ExtentMap, limit: number): ExtentMap {
  for (let shortest = 16; ; shortest *= 2) {
    const builder = new ExtentMapBuilder(limit)
    let page = 0
    counts.forEach((count, run) => {
      const zero = sources[run] === zeroSource && count >= shortest
      builder.add(count, zero ? zeroSource : 0, zero ? 0 : page)
      page += count
    })
    const map = builder.finish()
    if (map.starts.length <= limit || shortest > pages) return map
  }
}
