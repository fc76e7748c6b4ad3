import { readFileSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { type ExtentMap, zeroSource } from '../layer/extent-map.js'
import type { LayerFile } from '../layer/layer-types.js'

export interface MappableImage {
  /** Each run of data becomes one mapping. */
  readonly map: ExtentMap
  readonly layers: readonly LayerFile[]
}

/**
 * Half of what the host allows: the other half is for Firecracker itself and for what splits mappings later,
 * as any page that a balloon takes can.
 */
export function mappingLimit(): number {
  return Math.floor(Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8')) / 2)
}

/**
 * The layers that a map takes pages from, and the map with their new numbers: the others need not be opened.
 */
export function usedLayers(map: ExtentMap, files: readonly LayerFile[]): MappableImage {
  const used = [...new Set(map.sources)].filter((source) => source !== zeroSource).sort((a, b) => a - b)
  const place = new Map(used.map((source, index) => [source, index]))
  const layers = used.map((source) => {
    const layer = files[source]
    if (layer === undefined)
      throw new VarveError('IMAGE_MISMATCH', `the image names layer ${source}, but there are ${files.length}`)
    return layer
  })
  return { map: { ...map, sources: map.sources.map((source) => place.get(source) ?? zeroSource) }, layers }
}
