import { VarveError } from '../errors.js'
import { stackLayer } from './compose-extent-map.js'
import { maxLayers } from './extent-map.js'
import { absentMap } from './lay-out-pages.js'
import type { Layer } from './layer-types.js'
import { type ComposedLayer, type ComposeOptions, writeLayer } from './write-layer.js'

/**
 * Makes one layer of several that follow each other, base-most first: with the parent of the first and the
 * image of the last. Pages that a later layer replaced are not in it. IMAGE_MISMATCH if a layer's parent is
 * not the image of the one before. A new file, whole or not there; the layers are only read. `outPath` is the
 * new file.
 */
export async function squashLayers(
  layers: readonly Layer[],
  outPath: string,
  options: ComposeOptions = {},
): Promise<ComposedLayer> {
  const first = layers[0]
  const last = layers.at(-1)
  if (first === undefined || last === undefined || layers.length > maxLayers)
    throw new VarveError('INVALID_ARGUMENT', `${layers.length} layers to squash, not 1 to ${maxLayers}`)
  for (const [i, layer] of layers.entries()) {
    const below = layers[i - 1]
    if (below !== undefined && layer.parent !== below.image)
      throw new VarveError(
        'IMAGE_MISMATCH',
        `layer ${layer.path} is stacked on image ${layer.parent ?? 'none: it is a base'}, not on ${below.image}, the image of ${below.path}`,
        { remedy: 'name layers that follow each other, base-most first' },
      )
  }
  const map = layers.reduce(
    (below, { index }, source) => stackLayer(below, index, source),
    absentMap(first.index.pages),
  )
  return writeLayer({ image: last.image, parent: first.parent, map, files: layers }, outPath, options)
}
