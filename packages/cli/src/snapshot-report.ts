import { stat } from 'node:fs/promises'
import {
  type Descriptor,
  type Digest,
  type DiskConfig,
  type SnapshotConfig,
  type SnapshotDescription,
  type SnapshotStore,
  VarveError,
  type WorkOptions,
} from 'varve'
import {
  countPages,
  type ExtentMap,
  type ImageId,
  type LayerLayout,
  pagesFrom,
  readLayer,
  zeroSource,
} from 'varve/layers'

/** One snapshot in full: the JSON of `snapshot show`. */
export interface SnapshotReport extends Omit<SnapshotConfig, 'disks'> {
  readonly tags: readonly string[]
  readonly manifest: Descriptor
  readonly state: Descriptor
  readonly disks: readonly (DiskConfig & { readonly digest: string | null })[]
  /** Base first. */
  readonly layers: readonly LayerReport[]
  readonly extents: {
    readonly runs: number
    readonly dataPages: number
    readonly zeroPages: number
  } | null
  readonly workingSets: readonly { readonly name: string; readonly descriptor: Descriptor }[]
  readonly others: readonly Descriptor[]
  /** Why numbers of layers and extents are null. */
  readonly damage: { readonly code: string; readonly message: string } | null
}

export interface LayerReport {
  readonly digest: Digest
  readonly image: ImageId | null
  readonly sizeBytes: number
  /** The rest is null if the layers cannot be read. */
  readonly diskBytes: number | null
  readonly layout: LayerLayout | null
  readonly dataPages: number | null
  readonly zeroPages: number | null
  /** Pages of the image that come from here: data that no later layer replaced. */
  readonly pagesInUse: number | null
}

export interface ExtentReport {
  readonly firstPage: number
  readonly pages: number
  /** Number of the layer, and page in its file; null: zero. */
  readonly layer: number | null
  readonly storedPage: number | null
}

/**
 * The small files of a snapshot say most of it; what needs the large ones is left out if these are damaged.
 */
export async function snapshotReport(
  store: SnapshotStore,
  ref: string,
  options: WorkOptions,
): Promise<{ readonly report: SnapshotReport; readonly map: ExtentMap | null }> {
  const description = await store.describe(ref)
  const report = withoutLayers(description)
  try {
    await using snapshot = await store.open(ref, options)
    const { map } = snapshot
    const zeroPages = pagesFrom(map, zeroSource).pages
    const layers: LayerReport[] = []
    for (const [number, { path }] of snapshot.files.entries())
      layers.push({
        ...(report.layers[number] as LayerReport),
        ...(await contentOf(path, options)),
        pagesInUse: pagesFrom(map, number).pages,
      })
    const extents = { runs: map.starts.length, dataPages: map.pages - zeroPages, zeroPages }
    return { report: { ...report, layers, extents }, map }
  } catch (error) {
    if (!(error instanceof VarveError) || options.signal?.aborted) throw error
    return { report: { ...report, damage: { code: error.code, message: error.message } }, map: null }
  }
}

function withoutLayers(description: SnapshotDescription): SnapshotReport {
  const { entry, config, layers, state, disks, workingSets, others } = description
  return {
    ...config,
    tags: entry.tags,
    manifest: entry.manifest,
    state,
    disks: config.disks.map((disk) => ({
      ...disk,
      digest: disks.find((it) => it.annotations?.['dev.varve.drive'] === disk.drive)?.digest ?? null,
    })),
    layers: layers.map(({ digest, size, annotations }) => ({
      digest,
      image: annotations?.['dev.varve.image'] ?? null,
      sizeBytes: size,
      diskBytes: null,
      layout: null,
      dataPages: null,
      zeroPages: null,
      pagesInUse: null,
    })),
    extents: null,
    workingSets,
    others,
    damage: null,
  }
}

async function contentOf(path: string, { signal }: WorkOptions) {
  const { layout, index } = await readLayer(path, { signal })
  const { data, zero } = countPages(index)
  // Blocks of 512 bytes, whatever the file system's own are: stat(2).
  return { layout, dataPages: data, zeroPages: zero, diskBytes: (await stat(path)).blocks * 512 }
}

export function extentList({ starts, counts, sources, storedStarts }: ExtentMap): ExtentReport[] {
  return Array.from(starts, (firstPage, i) => {
    const layer = sources[i] === zeroSource ? null : (sources[i] as number)
    return {
      firstPage,
      pages: counts[i] as number,
      layer,
      storedPage: layer === null ? null : (storedStarts[i] as number),
    }
  })
}
