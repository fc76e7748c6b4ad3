import { VarveError } from '../errors.js'
import { type PageSet, pageSetLimit } from '../memory/page-set.js'
import { intersect } from '../memory/page-set-algebra.js'

/**
 * An immutable file with the pages that one snapshot wrote, page p at p × 4096. Each page is data (in the file), zero,
 * or absent: ask the parent. `data` and `zero` never overlap; what is in neither is absent.
 */
export interface Layer {
  readonly memoryPath: string
  readonly pages: number
  readonly data: PageSet
  readonly zero: PageSet
}

/** The pages a layer says something about, the ones its snapshot wrote. */
export interface LayerIndex {
  readonly data: PageSet
  readonly zero: PageSet
}

/** Checks the promises of `Layer` that a caller or a file could break; gives the layer back. */
export function checkLayer(layer: Layer): Layer {
  const { memoryPath, pages, data, zero } = layer
  if (!Number.isInteger(pages) || pages < 1 || pages > pageSetLimit)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `layer ${memoryPath}: ${pages} pages is not within [1, 2^32 - 1]`,
    )
  for (const set of [data, zero]) {
    const last = set.starts.length - 1
    if (last >= 0 && (set.starts[last] as number) + (set.counts[last] as number) > pages)
      throw new VarveError('FORMAT_INVALID', `layer ${memoryPath} names pages behind its ${pages} pages`)
  }
  if (intersect(data, zero).pages !== 0)
    throw new VarveError('FORMAT_INVALID', `layer ${memoryPath} names pages that are both data and zero`)
  return layer
}
