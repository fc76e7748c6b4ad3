import type { Descriptor } from '../content/descriptors.js'
import { annotations } from '../content/descriptors.js'
import { VarveError } from '../errors.js'
import { composeExtentMap } from '../layer/compose-extent-map.js'
import { type ExtentMap, maxLayers } from '../layer/extent-map.js'
import { countPages } from '../layer/layer-index.js'
import type { Layer } from '../layer/layer-types.js'
import type { SnapshotConfig } from './snapshot-types.js'

/** A blob ready to get its name; `path` is null if it has it already. */
export interface StagedBlob {
  readonly descriptor: Descriptor
  readonly path: string | null
}

export function layerNotes({ image, storedPages, index }: Layer): Readonly<Record<string, string>> {
  return {
    [annotations.image]: image,
    [annotations.storedPages]: String(storedPages),
    [annotations.dataPages]: String(countPages(index).data),
  }
}

/** Checks that a layer is what its descriptor says: the `file` engine relies on the number of data pages. */
export function assertLayerNotes({ annotations: notes = {} }: Descriptor, layer: Layer): void {
  for (const [name, value] of Object.entries(layerNotes(layer)))
    if (Object.hasOwn(notes, name) && notes[name] !== value)
      throw new VarveError(
        'IMAGE_MISMATCH',
        `the descriptor of layer ${layer.path} says ${name} ${JSON.stringify(notes[name])?.slice(0, 100)}, the layer ${value}`,
        { details: { path: layer.path, offset: 0 } },
      )
}

/** That the sealed layer is the one that the config tells of. */
export function assertDraft(config: SnapshotConfig, layer: Layer): void {
  if (layer.image !== config.id || layer.parent !== config.parent || layer.index.pages !== config.memoryPages)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `layer ${layer.path} makes image ${layer.image} of ${layer.index.pages} pages on ${layer.parent ?? 'nothing'}, the snapshot is ${config.id} of ${config.memoryPages} on ${config.parent ?? 'nothing'}`,
    )
}

/** Each layer lies on the image that the one before makes, and the last makes the snapshot's. */
export function assertChain(layers: readonly Layer[], image: string): void {
  let below: string | null = null
  for (const layer of layers) {
    if (layer.parent !== below)
      throw new VarveError(
        'IMAGE_MISMATCH',
        `layer ${layer.path} lies on image ${layer.parent ?? 'none'}, below it is ${below ?? 'none'}`,
      )
    below = layer.image
  }
  if (below !== image || layers.length > maxLayers)
    throw new VarveError('IMAGE_MISMATCH', `${layers.length} layers make image ${below}, not ${image}`)
}

/** That an extent map is the image which the layers make together. */
export function isMapOf(map: ExtentMap, layers: readonly Layer[]): boolean {
  const made = composeExtentMap(layers.map(({ index }) => index))
  const same = (a: ArrayLike<number>, b: ArrayLike<number>) => {
    if (a.length !== b.length) return false
    for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
    return true
  }
  return (
    map.pages === made.pages &&
    same(map.counts, made.counts) &&
    same(map.sources, made.sources) &&
    same(map.storedStarts, made.storedStarts)
  )
}
