import { stackLayer } from './compose-extent-map.js'
import { absentMap } from './lay-out-pages.js'
import type { Layer, LayerLayout, PackOrder } from './layer-types.js'
import { type ComposedLayer, type ComposeOptions, writeLayer } from './write-layer.js'

/** Options of `packLayer`. */
export interface PackOptions extends Omit<ComposeOptions, 'layout'> {
  /** The layout of the new file. */
  readonly layout: LayerLayout
  /** Packed only: sets of image pages; the data pages of the first lie first in the file. */
  readonly order?: PackOrder | undefined
}

/**
 * Writes a layer again in another layout or order: same image, same parent, same pages. A new file, whole or
 * not there; the layer is only read.
 */
export async function packLayer(layer: Layer, outPath: string, options: PackOptions): Promise<ComposedLayer> {
  const { image, parent, index } = layer
  const map = stackLayer(absentMap(index.pages), index, 0)
  return writeLayer({ image, parent, map, files: [layer], order: options.order }, outPath, options)
}
