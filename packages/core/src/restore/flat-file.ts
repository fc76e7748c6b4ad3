import { zeroSource } from '../layer/extent-map.js'
import { type FlattenResult, flatten } from '../layer/flatten.js'
import { dataPagesOf } from '../store/manifest.js'
import type { WorkOptions } from '../store/snapshot-store.js'
import type { OpenSnapshot } from '../store/snapshot-types.js'
import { deriveFile, isIntact } from './derived-file.js'

/** A flat memory file of a snapshot. */
export interface FlattenedSnapshot {
  /** The file, which belongs to the store: do not write to it. */
  readonly path: string
  /**
   * Made by this call, found from an earlier one, or not needed: a flat base layer is a memory file already.
   */
  readonly origin: 'made' | 'found' | 'base'
  /** How it was made, if this call made it. */
  readonly made?: FlattenResult
}

/**
 * The snapshot as one flat file, made once and kept in the store; it is derived, so a
 * changed or lost one is made again.
 */
export async function flattenSnapshot(
  snapshot: OpenSnapshot,
  { signal, onProgress }: WorkOptions = {},
): Promise<FlattenedSnapshot> {
  const { map, files, flatPath } = snapshot
  const [base] = files
  if (base !== undefined && isFlatBase(snapshot)) return { path: base.path, origin: 'base' }
  const { made } = await deriveFile(
    snapshot,
    { path: flatPath, pages: map.pages },
    (staged) =>
      flatten({ map, files }, staged, {
        signal,
        onProgress: (done, total) => onProgress?.(`flattening, ${done} of ${total} pages`),
      }),
    { signal, onProgress },
  )
  return made === undefined ? { path: flatPath, origin: 'found' } : { path: flatPath, origin: 'made', made }
}

/** Whether an earlier restore left a flat file that is still good. */
export function hasFlatFile({ flatPath, map }: OpenSnapshot): boolean {
  return isIntact(flatPath, map.pages)
}

/**
 * Whether the first layer's file is the image by itself: every page of data lies there at its own place, and
 * the layer has no data where a later layer says zero. The layer's descriptor has the number of its data
 * pages; without that number, only a single layer is known to be the image.
 */
export function isFlatBase({ map, files, layers }: Pick<OpenSnapshot, 'map' | 'files' | 'layers'>): boolean {
  const { pages, starts, counts, sources, storedStarts } = map
  if (files[0]?.storedPages !== pages) return false
  let dataPages = 0
  for (let i = 0; i < starts.length; i++) {
    if (sources[i] === zeroSource) continue
    if (sources[i] !== 0 || storedStarts[i] !== starts[i]) return false
    dataPages += counts[i] as number
  }
  return files.length === 1 || dataPagesOf(layers[0]) === dataPages
}
