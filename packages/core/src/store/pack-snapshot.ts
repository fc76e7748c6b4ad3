import { join } from 'node:path'
import type { Descriptor } from '../content/descriptors.js'
import { VarveError } from '../errors.js'
import { countPages } from '../layer/layer-index.js'
import type { ImageId, LayerLayout } from '../layer/layer-types.js'
import { packLayer } from '../layer/pack.js'
import { touchOrder, type WorkingSet } from '../working-set/working-set.js'
import { fitWorkingSet } from './fit-working-set.js'
import { layersOf, relayerOthers } from './relayer-others.js'
import type { SnapshotStore, WorkOptions } from './snapshot-store.js'

/** Options of `packSnapshot`. */
export interface PackSnapshotOptions extends WorkOptions {
  /** Default `packed`. */
  readonly layout?: LayerLayout | undefined
  /**
   * Packed only: the pages of this set come first in each layer, in the order in which they were touched. A
   * set, the name of one that the snapshot keeps, or `REF:NAME`; one of an ancestor is translated.
   */
  readonly workingSet?: WorkingSet | string | undefined
  /** Also give the new layers to every other snapshot that has the old ones. Default false. */
  readonly all?: boolean | undefined
}

/** What packing has changed. */
export interface PackedSnapshot {
  /** The id of the snapshot. */
  readonly id: ImageId
  /** The layout that its layers have now. */
  readonly layout: LayerLayout
  /** Layers of the snapshot, and how many of them were written anew. */
  readonly layers: number
  /** How many of its layers were written anew. */
  readonly packed: number
  /** Data pages of the new layers. */
  readonly dataPages: number
  /** Other snapshots that have new layers now. */
  readonly others: readonly ImageId[]
}

/**
 * Writes the layers of a snapshot anew in another layout or order. Layers that have the layout already stay,
 * unless a working set asks for another order. Id, parent, tags and every byte of memory stay. The old
 * layers are only read; gc removes them unless other snapshots use them. INVALID_ARGUMENT (an order for a
 * flat layer), NOT_FOUND, CHECKSUM_MISMATCH, IMAGE_MISMATCH (the working set is of another image, or the
 * snapshot was changed meanwhile).
 */
export async function packSnapshot(
  store: SnapshotStore,
  ref: string,
  { layout = 'packed', workingSet, all = false, signal, onProgress }: PackSnapshotOptions = {},
): Promise<PackedSnapshot> {
  if (layout === 'flat' && workingSet !== undefined)
    throw new VarveError(
      'INVALID_ARGUMENT',
      'a flat layer has its pages in their own order: give no working set',
    )
  const options = { signal, onProgress }
  await using snapshot = await store.open(ref, options)
  await using staging = await store.stage()
  const { entry, layers } = snapshot
  const order =
    workingSet === undefined
      ? undefined
      : touchOrder((await fitWorkingSet(store, snapshot, workingSet, options)).workingSet)
  const paths = new Map<number, string>()
  let dataPages = 0
  for (const [number, layer] of (await layersOf(snapshot, 0, layers.length, options)).entries()) {
    if (layer.layout === layout && order === undefined) continue
    const path = join(staging.directory, `layer-${number}`)
    const { index } = await packLayer(layer, path, {
      layout,
      order,
      signal,
      onProgress: (pages, total) => onProgress?.(`layer ${number}: ${pages} of ${total} pages`),
    })
    paths.set(number, path)
    dataPages += countPages(index).data
  }
  const result = { id: entry.id, layout, layers: layers.length, packed: paths.size, dataPages }
  if (paths.size === 0) return { ...result, others: [] }
  await store.relayer(
    entry.id,
    layers.map((layer, number) => {
      const path = paths.get(number)
      return path === undefined ? layer : { path }
    }),
    options,
  )
  if (!all) return { ...result, others: [] }
  const now = (await store.describe(entry.id)).layers
  const byOld = new Map(layers.map(({ digest }, number) => [digest, now[number] as Descriptor]))
  const replace = (theirs: readonly Descriptor[]) => {
    const next = theirs.map((layer) => byOld.get(layer.digest) ?? layer)
    return next.some(({ digest }, i) => digest !== theirs[i]?.digest) ? next : undefined
  }
  return { ...result, others: await relayerOthers(store, entry.id, replace, options) }
}
