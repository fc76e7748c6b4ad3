import { pagesFrom, zeroSource } from '../../../layer/extent-map.js'
import { type FlattenResult, flatten } from '../../../layer/flatten.js'
import { minus } from '../../../memory/page-set-algebra.js'
import { dataPagesOf } from '../../../store/manifest.js'
import type { OpenSnapshot } from '../../../store/store-types.js'
import { touchOrder } from '../../../working-set/working-set.js'
import { deriveFile, isIntact } from '../../derived-file.js'
import { atMost, type Engine } from '../../engine.js'
import { warmFiles } from '../../page-cache/warm-files.js'

export interface FlattenedSnapshot {
  readonly path: string
  /** Made by this call, found from an earlier one, or not needed: a flat base layer is a memory file already. */
  readonly origin: 'made' | 'found' | 'base'
  /** How it was made, if this call made it. */
  readonly made?: FlattenResult
}

/** One flat memory file, mapped privately by Firecracker; all clones of a snapshot share its page cache. */
export const fileEngine: Engine = {
  name: 'file',
  prepare: async ({ snapshot, prefetch, phase, signal, onProgress }) => {
    const { path } = await phase('flatten', () => flattenSnapshot(snapshot, { signal, onProgress }))
    const setup = {
      memory: { backend: 'File', path },
      memoryFiles: { files: [{ path, storedPages: snapshot.map.pages }] },
    } as const
    if (prefetch === null) return setup
    // Pages that are zero are holes: nothing is read for them.
    const zero = pagesFrom(snapshot.map, zeroSource)
    const sets = touchOrder(prefetch.workingSet).map((set) => minus(set, zero))
    const prefetching = warmFiles([{ path, sets }], signal)
    if (prefetch.budgetMs > 0) await phase('prefetch', () => atMost(prefetching, prefetch.budgetMs))
    return { ...setup, prefetching }
  },
}

/** The snapshot as one flat file, made once and kept in the store; it is derived, so a changed or lost one is made again. */
export async function flattenSnapshot(
  snapshot: OpenSnapshot,
  {
    signal,
    onProgress,
  }: {
    readonly signal?: AbortSignal | undefined
    readonly onProgress?: ((message: string) => void) | undefined
  } = {},
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
  const { pages, starts, counts, sources, sourcePages } = map
  if (files[0]?.storedPages !== pages) return false
  let dataPages = 0
  for (let i = 0; i < starts.length; i++) {
    if (sources[i] === zeroSource) continue
    if (sources[i] !== 0 || sourcePages[i] !== starts[i]) return false
    dataPages += counts[i] as number
  }
  return files.length === 1 || dataPagesOf(layers[0]) === dataPages
}
