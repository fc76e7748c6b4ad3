import type { Descriptor } from '../content/descriptors.js'
import { readLayer } from '../layer/layer-file.js'
import type { ImageId, Layer } from '../layer/layer-types.js'
import type { SnapshotStore, WorkOptions } from './snapshot-store.js'
import type { OpenSnapshot } from './snapshot-types.js'

/** Some layers of an opened snapshot, with their footers. */
export async function layersOf(
  { files }: OpenSnapshot,
  from: number,
  end: number,
  { signal }: WorkOptions,
): Promise<Layer[]> {
  const layers: Layer[] = []
  for (const { path } of files.slice(from, end)) layers.push(await readLayer(path, { signal }))
  return layers
}

/**
 * Gives other layers to every snapshot but one for which `replace` knows some. Each changes in one step;
 * after an interruption some have and some have not, and all are whole.
 */
export async function relayerOthers(
  store: SnapshotStore,
  except: ImageId,
  replace: (layers: readonly Descriptor[]) => readonly Descriptor[] | undefined,
  options: WorkOptions,
): Promise<ImageId[]> {
  const changed: ImageId[] = []
  for (const { id } of await store.list()) {
    if (id === except) continue
    const layers = replace((await store.describe(id)).layers)
    if (layers === undefined) continue
    await store.relayer(id, layers, options)
    changed.push(id)
  }
  return changed
}
