import { join } from 'node:path'
import { annotations, type Descriptor } from '../content/descriptors.js'
import { VarveError } from '../errors.js'
import type { CopyReport } from '../layer/copy-pages.js'
import { countPages } from '../layer/layer-index.js'
import type { ImageId, LayerLayout } from '../layer/layer-types.js'
import { squashLayers } from '../layer/squash.js'
import { layersOf, relayerOthers } from './relayer-others.js'
import type { SnapshotStore, WorkOptions } from './snapshot-store.js'
import type { OpenSnapshot } from './snapshot-types.js'

/** Options of `squashSnapshot`. */
export interface SquashSnapshotOptions extends WorkOptions {
  /** A snapshot of the lineage: its layer, and those below it, stay as they are. Default: none stays. */
  readonly above?: string | undefined
  /** A snapshot of the lineage: the layers above its own stay as they are. Default: none stays. */
  readonly upTo?: string | undefined
  /** Also give the new layer to every other snapshot that has the old ones. Default false. */
  readonly all?: boolean | undefined
  /** Default: the layout of the lowest of them. */
  readonly layout?: LayerLayout | undefined
}

/** What squashing has changed. */
export interface SquashedSnapshot {
  /** The id of the snapshot. */
  readonly id: ImageId
  /** Layers that the snapshot has now. */
  readonly layers: number
  /** Layers that became one; 0 if there were not two to squash, and then nothing has changed. */
  readonly squashed: number
  /** The new layer, null if nothing has changed. */
  readonly layer: {
    /** Its layout. */
    readonly layout: LayerLayout
    /** How its data came into its file. */
    readonly copied: CopyReport
    /** Data pages that it has. */
    readonly dataPages: number
    /** Data pages that the old layers have together. */
    readonly oldDataPages: number
  } | null
  /** Other snapshots that have the new layer now. */
  readonly others: readonly ImageId[]
}

/**
 * Makes one layer of several of a snapshot that follow each other; without `above` and `upTo`, of all. The
 * new layer leaves out pages that a later layer replaced. Id, parent, tags and every byte of memory stay.
 * The old layers are only read; gc removes them unless other snapshots use them. INVALID_ARGUMENT if `above`
 * or `upTo` is not of the lineage, or they leave nothing between them; NOT_FOUND, CHECKSUM_MISMATCH,
 * IMAGE_MISMATCH (the snapshot was changed meanwhile).
 */
export async function squashSnapshot(
  store: SnapshotStore,
  ref: string,
  { above, upTo, all = false, layout, signal, onProgress }: SquashSnapshotOptions = {},
): Promise<SquashedSnapshot> {
  const options = { signal, onProgress }
  await using snapshot = await store.open(ref, options)
  const { id } = snapshot.entry
  const { layers } = snapshot
  const from = above === undefined ? 0 : await placeAbove(store, snapshot, 'above', above)
  const end = upTo === undefined ? layers.length : await placeAbove(store, snapshot, 'upTo', upTo)
  if (from >= end)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `there are no layers of snapshot ${id} above ${above} and up to ${upTo ?? 'its last one'}`,
    )
  if (end - from < 2) return { id, layers: layers.length, squashed: 0, layer: null, others: [] }
  await using staging = await store.stage()
  const path = join(staging.directory, 'layer')
  const old = await layersOf(snapshot, from, end, options)
  const made = await squashLayers(old, path, {
    layout: layout ?? old[0]?.layout,
    signal,
    onProgress: (pages, total) => onProgress?.(`${pages} of ${total} pages`),
  })
  await store.relayer(id, [...layers.slice(0, from), { path }, ...layers.slice(end)], options)
  const now = (await store.describe(id)).layers
  const replace = replaceRun(layers.slice(from, end), now[from] as Descriptor)
  return {
    id,
    layers: now.length,
    squashed: end - from,
    layer: {
      layout: made.layout,
      copied: made.copied,
      dataPages: countPages(made.index).data,
      oldDataPages: old.reduce((sum, { index }) => sum + countPages(index).data, 0),
    },
    others: all ? await relayerOthers(store, id, replace, options) : [],
  }
}

/** How many layers there are up to and with the one of a snapshot of the lineage. */
async function placeAbove(
  store: SnapshotStore,
  { layers, entry }: OpenSnapshot,
  option: 'above' | 'upTo',
  ref: string,
): Promise<number> {
  const { id } = await store.resolve(ref)
  const at = layers.findIndex((layer) => layer.annotations?.[annotations.image] === id)
  if (at >= 0) return at + 1
  throw new VarveError(
    'INVALID_ARGUMENT',
    `${option} ${ref}: none of the ${layers.length} layers of snapshot ${entry.id} ends at snapshot ${id}`,
    { remedy: `varve snapshot show ${entry.id.slice(0, 12)} lists them` },
  )
}

/** Puts the new layer where another snapshot has exactly the old ones; undefined if it has not. */
function replaceRun(old: readonly Descriptor[], by: Descriptor) {
  return (layers: readonly Descriptor[]): readonly Descriptor[] | undefined => {
    const from = layers.findIndex(({ digest }) => digest === old[0]?.digest)
    const has = old.every(({ digest }, i) => layers[from + i]?.digest === digest)
    if (from < 0 || !has) return undefined
    return [...layers.slice(0, from), by, ...layers.slice(from + old.length)]
  }
}
