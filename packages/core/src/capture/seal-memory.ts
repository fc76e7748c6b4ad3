import { isVarveError } from '../errors.js'
import { type SealOptions, sealLayer, sealPacked } from '../layer/layer-file.js'
import type { Layer } from '../layer/layer-types.js'

/**
 * A Full is a memory file that Firecracker can load: it stays as it is, with a footer. A Diff is
 * sparse and is packed, so that hashing and keeping it costs what its data costs; if there is no room
 * for that, it stays as it is, too.
 */
export async function sealMemory(type: 'Full' | 'Diff', path: string, options: SealOptions): Promise<Layer> {
  if (type === 'Full') return sealLayer(path, options)
  try {
    return await sealPacked(path, `${path}.packed`, options)
  } catch (error) {
    if (!isVarveError(error, 'WRITE_FAILED')) throw error
    return sealLayer(path, options)
  }
}
