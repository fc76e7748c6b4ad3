import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isVarveError, VarveError } from '../errors.js'
import { flatten } from '../layer/flatten.js'
import type { SnapshotChain } from '../layer/snapshot-chain.js'
import { pageSizeBytes } from '../memory/units.js'
import type { Engine } from './engine.js'

export interface FlattenedSnapshot {
  readonly path: string
  /** Made by this call, found from an earlier one, or not needed: a base is flat already. */
  readonly origin: 'made' | 'found' | 'base'
}

/** One flat memory file, mapped privately by Firecracker; all clones of a snapshot share its page cache. */
export const fileEngine: Engine = {
  name: 'file',
  prepare: async ({ chain, phase, signal, onProgress }) => {
    const { path } = await phase('flatten', () =>
      flattenSnapshot(chain, {
        ...(signal === undefined ? {} : { signal }),
        ...(onProgress === undefined ? {} : { onProgress }),
      }),
    )
    return { memory: { backend: 'File', path } }
  },
}

/** The snapshot as one flat file, made once and kept in its directory as `flat`. */
export async function flattenSnapshot(
  chain: SnapshotChain,
  options: { readonly signal?: AbortSignal; readonly onProgress?: (message: string) => void } = {},
): Promise<FlattenedSnapshot> {
  const { layers, map, statePath } = chain
  const [base] = layers
  // Holes of a base are zero, and so Firecracker reads them.
  if (layers.length === 1 && base !== undefined) return { path: base.memoryPath, origin: 'base' }
  const path = join(dirname(statePath), 'flat')
  if (await isWhole(path, map.pages)) return { path, origin: 'found' }
  try {
    await flatten(map, layers, path, {
      signal: options.signal,
      onProgress: (done, total) => options.onProgress?.(`flattening, ${done} of ${total} pages`),
    })
    return { path, origin: 'made' }
  } catch (error) {
    // Another restore was faster; files appear whole, so its is as good.
    if (isVarveError(error, 'ALREADY_EXISTS') && (await isWhole(path, map.pages)))
      return { path, origin: 'found' }
    throw error
  }
}

async function isWhole(path: string, pages: number): Promise<boolean> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new VarveError('PATH_INVALID', `cannot use ${path}: ${error.message}`, { cause: error })
  })
  if (found === undefined) return false
  if (found.isFile() && found.size === pages * pageSizeBytes) return true
  throw new VarveError(
    'IMAGE_MISMATCH',
    `${path} has ${found.size} bytes, the image ${pages * pageSizeBytes}`,
    {
      remedy: 'remove it; it is made again',
    },
  )
}
