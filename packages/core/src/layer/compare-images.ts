import { VarveError } from '../errors.js'
import type { PageSet } from '../memory/page-set.js'
import { RunBuilder } from '../memory/run-builder.js'
import { pageSizeBytes } from '../memory/units.js'
import { type ImageSource, openImage } from './image-reader.js'
import { turnTaker } from './take-turns.js'
import { throwIfAborted } from './throw-if-aborted.js'

/** 2 MiB a read; two buffers of it stay in the CPU's cache. */
const chunkPages = 512

export interface CompareOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (comparedPages: number, totalPages: number) => void
}

/** The pages in which two images differ. Images of different size are IMAGE_MISMATCH. */
export async function compareImages(
  a: ImageSource,
  b: ImageSource,
  { signal, onProgress }: CompareOptions = {},
): Promise<PageSet> {
  await using left = await openImage(a)
  await using right = await openImage(b)
  if (left.pages !== right.pages)
    throw new VarveError('IMAGE_MISMATCH', `the images have ${left.pages} and ${right.pages} pages`)
  const differing = new RunBuilder()
  const buffers = [
    Buffer.allocUnsafe(chunkPages * pageSizeBytes),
    Buffer.allocUnsafe(chunkPages * pageSizeBytes),
  ]
  const takeTurns = turnTaker()
  for (let page = 0; page < left.pages; page += chunkPages) {
    throwIfAborted(signal, 'the comparison of two images')
    const count = Math.min(chunkPages, left.pages - page)
    const [x, y] = buffers.map((buffer) => buffer.subarray(0, count * pageSizeBytes)) as [Buffer, Buffer]
    await Promise.all([left.read(page, x), right.read(page, y)])
    if (!x.equals(y))
      for (let i = 0; i < count; i++) {
        const [from, to] = [i * pageSizeBytes, (i + 1) * pageSizeBytes]
        if (x.compare(y, from, to, from, to) !== 0) differing.add(page + i, 1)
      }
    onProgress?.(page + count, left.pages)
    await takeTurns(count)
  }
  return differing.finish()
}
