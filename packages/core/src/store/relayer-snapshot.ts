import type { Descriptor } from '../content/descriptors.js'
import { mediaTypes } from '../content/descriptors.js'
import { VarveError } from '../errors.js'
import { composeExtentMap } from '../layer/compose-extent-map.js'
import { extentMapToBytes } from '../layer/extent-map-bytes.js'
import { readLayer } from '../layer/layer-file.js'
import type { Layer } from '../layer/layer-types.js'
import { assertChain, layerNotes, type StagedBlob } from './layer-chain.js'
import type { SnapshotManifest } from './manifest.js'
import type { Repository } from './repository.js'
import type { WorkOptions } from './snapshot-store.js'
import type { SnapshotEntry } from './snapshot-types.js'

/** The same image from other layers. */
export async function relayerSnapshot(
  repository: Repository,
  ref: string,
  layers: readonly (Descriptor | { readonly path: string })[],
  options: WorkOptions,
): Promise<SnapshotEntry> {
  const entry = await repository.resolve(ref)
  const { manifest } = await repository.readManifest(entry)
  await using staging = await repository.stage()
  const files: Layer[] = []
  const staged: StagedBlob[] = []
  for (const layer of layers) {
    const path = 'path' in layer ? layer.path : repository.blobs.path(layer.digest)
    const file = await readLayer(path, options)
    files.push(file)
    if ('path' in layer)
      staged.push(await repository.stageBlob(path, mediaTypes.layer, layerNotes(file), options))
    else staged.push({ descriptor: { ...layer, annotations: layerNotes(file) }, path: null })
  }
  assertChain(files, entry.id)
  const map = composeExtentMap(files.map(({ index }) => index))
  const extentMap = await repository.stageBytes(
    staging,
    'map',
    extentMapToBytes(map, files.length),
    mediaTypes.extentMap,
  )
  const changed: SnapshotManifest = {
    ...manifest,
    layers: staged.map(({ descriptor }) => descriptor),
    extentMap: extentMap.descriptor,
  }
  const result = await repository.publish(
    staging,
    changed,
    [...staged, extentMap],
    options,
    async (index, descriptor) => {
      const now = index.snapshots.find(({ id }) => id === entry.id)
      if (now?.manifest.digest !== entry.manifest.digest) return undefined
      return { ...now, manifest: descriptor }
    },
  )
  if (result !== undefined) return result
  throw new VarveError('IMAGE_MISMATCH', `snapshot ${entry.id} was changed or removed meanwhile`, {
    remedy: 'try again',
  })
}
