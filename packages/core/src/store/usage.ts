import { createHash } from 'node:crypto'
import type { Descriptor, Digest } from '../content/descriptors.js'
import { compareImages } from '../layer/compare-images.js'
import { composeExtentMap, zeroMap } from '../layer/compose-extent-map.js'
import { readLayer } from '../layer/layer-file.js'
import { countPages, dataPages, storedRuns, zeroPages } from '../layer/layer-index.js'
import type { Layer } from '../layer/layer-types.js'
import { openStoredPages, readPages } from '../layer/memory-file.js'
import { turnTaker } from '../layer/take-turns.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { intersect, union } from '../memory/page-set-algebra.js'
import { pageSizeBytes } from '../memory/units.js'
import type { Repository } from './repository.js'
import type { WorkOptions } from './snapshot-store.js'
import type { LayerUsage } from './store-reports.js'

/** 2 MiB a read. */
const chunkPages = 512

interface UsedLayer {
  readonly descriptor: Descriptor
  readonly layer: Layer
  /** The layers below it in one of the snapshots that have it. */
  readonly below: readonly Layer[]
  usedBy: number
}

/** What each memory layer holds, of one snapshot or of the whole store; layers base first. */
export async function measureUsage(
  repository: Repository,
  {
    ref,
    deep = false,
    signal,
    onProgress,
  }: WorkOptions & { readonly ref?: string | undefined; readonly deep?: boolean },
): Promise<readonly LayerUsage[]> {
  const used = await layersOf(repository, signal)
  const wanted =
    ref === undefined
      ? undefined
      : new Set((await repository.describe(ref)).layers.map(({ digest }) => digest))
  const duplicates = deep ? await countDuplicates([...used.values()], { signal, onProgress }) : undefined
  const rows: LayerUsage[] = []
  for (const [digest, { layer, below, usedBy }] of used) {
    if (wanted !== undefined && !wanted.has(digest)) continue
    throwIfAborted(signal, 'du')
    const { data, zero, absent } = countPages(layer.index)
    onProgress?.(`layer ${rows.length + 1} of ${wanted?.size ?? used.size}`)
    rows.push({
      digest,
      image: layer.image,
      layout: layer.layout,
      diskBytes: Number((await repository.blobs.stat(digest))?.blocks ?? 0n) * 512,
      usedBy,
      dataPages: data,
      zeroPages: zero,
      inheritedPages: absent,
      duplicatePages: duplicates?.get(digest) ?? null,
      changedPages: deep ? await changedPages(layer, below, signal) : null,
    })
  }
  return rows
}

async function layersOf(
  repository: Repository,
  signal: AbortSignal | undefined,
): Promise<Map<Digest, UsedLayer>> {
  const used = new Map<Digest, UsedLayer>()
  for (const entry of await repository.list()) {
    const { manifest } = await repository.readManifest(entry)
    const chain: Layer[] = []
    for (const descriptor of manifest.layers) {
      throwIfAborted(signal, 'du')
      const known = used.get(descriptor.digest)
      const layer = known?.layer ?? (await readLayer(repository.blobs.path(descriptor.digest), { signal }))
      if (known === undefined)
        used.set(descriptor.digest, { descriptor, layer, below: [...chain], usedBy: 1 })
      else known.usedBy++
      chain.push(layer)
    }
  }
  return used
}

/**
 * Pages that the layer names and that differ from what lies below: a page written
 * back as it was does not count.
 */
async function changedPages(
  layer: Layer,
  below: readonly Layer[],
  signal: AbortSignal | undefined,
): Promise<number> {
  const indexes = below.map(({ index }) => index)
  const lower =
    below.length === 0
      ? { map: zeroMap(layer.index.pages), files: [] }
      : { map: composeExtentMap(indexes), files: below }
  const upper = { map: composeExtentMap([...indexes, layer.index]), files: [...below, layer] }
  const differing = await compareImages(lower, upper, { signal })
  return intersect(differing, union(dataPages(layer.index), zeroPages(layer.index))).pages
}

/**
 * For each layer, its data pages whose content lies in the store at least twice (by 64 bits
 * of SHA-256: counts, no proof).
 */
async function countDuplicates(
  used: readonly UsedLayer[],
  { signal, onProgress }: WorkOptions,
): Promise<Map<Digest, number>> {
  const total = used.reduce((sum, { layer }) => sum + countPages(layer.index).data, 0)
  const hashes = new BigUint64Array(total)
  const ends: number[] = []
  const buffer = Buffer.allocUnsafe(chunkPages * pageSizeBytes)
  const takeTurns = turnTaker()
  let next = 0
  for (const { layer } of used) {
    await using file = await openStoredPages(layer)
    for (const { storedPage, count } of storedRuns(layer.index))
      for (let offset = 0; offset < count; offset += chunkPages) {
        throwIfAborted(signal, layer.path)
        const pages = Math.min(chunkPages, count - offset)
        const bytes = buffer.subarray(0, pages * pageSizeBytes)
        await readPages(file, storedPage + offset, bytes)
        for (let i = 0; i < pages; i++)
          hashes[next++] = createHash('sha256')
            .update(bytes.subarray(i * pageSizeBytes, (i + 1) * pageSizeBytes))
            .digest()
            .readBigUInt64LE()
        onProgress?.(`${next} of ${total} data pages looked at`)
        await takeTurns(pages)
      }
    ends.push(next)
  }
  const repeated = new Set<bigint>()
  const sorted = hashes.slice().sort()
  for (let i = 1; i < sorted.length; i++) if (sorted[i] === sorted[i - 1]) repeated.add(sorted[i] as bigint)
  const counts = new Map<Digest, number>()
  for (const [i, { descriptor }] of used.entries()) {
    let count = 0
    for (let at = ends[i - 1] ?? 0; at < (ends[i] as number); at++)
      if (repeated.has(hashes[at] as bigint)) count++
    counts.set(descriptor.digest, count)
  }
  return counts
}
