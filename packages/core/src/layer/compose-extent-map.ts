import { VarveError } from '../errors.js'
import { type ExtentMap, maxLayers, zeroSource } from './extent-map.js'
import { ExtentMapBuilder } from './extent-map-builder.js'
import { imagePagesLimit } from './layer-index.js'
import { type LayerIndex, zeroPage } from './layer-types.js'

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
 * The image of a child from the image of its parent and the child's own layer: the cost is the runs of those
 * two, whatever lies below. `source` is what the map names the layer by.
 */
export function stackLayer(parent: ExtentMap, layer: LayerIndex, source: number): ExtentMap {
  if (layer.pages !== parent.pages)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `the layer is of ${layer.pages} pages, the image below it of ${parent.pages}`,
    )
  if (!Number.isInteger(source) || source < 0 || source >= maxLayers)
    throw new VarveError('INVALID_ARGUMENT', `layer number ${source} is not within [0, ${maxLayers})`)
  const { starts, counts, storedStarts } = layer
  const builder = new ExtentMapBuilder(parent.starts.length + starts.length)
  const below = new Cursor(parent)
  for (let i = 0; i < starts.length; i++) {
    const start = starts[i] as number
    const count = counts[i] as number
    const storedPage = storedStarts[i] as number
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
  readonly #map: ExtentMap
  #run = 0

  constructor(map: ExtentMap) {
    this.#map = map
  }

  copyUntil(end: number, out: ExtentMapBuilder): void {
    const { starts, counts, sources, storedStarts } = this.#map
    while (this.page < end) {
      this.skipTo(this.page)
      const start = starts[this.#run] as number
      const stop = Math.min(end, start + (counts[this.#run] as number))
      const source = sources[this.#run] as number
      const offset = source === zeroSource ? 0 : this.page - start
      out.add(stop - this.page, source, (storedStarts[this.#run] as number) + offset)
      this.page = stop
    }
  }

  skipTo(page: number): void {
    const { starts, counts } = this.#map
    while (this.#run < starts.length && (starts[this.#run] as number) + (counts[this.#run] as number) <= page)
      this.#run++
    this.page = page
  }
}
