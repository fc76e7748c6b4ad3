import { VarveError } from '../errors.js'
import type { PageSet } from '../memory/page-set.js'
import { RunBuilder } from '../memory/run-builder.js'
import { pageSizeBytes } from '../memory/units.js'
import { zeroSource } from './extent-map.js'
import { type ImageSource, type OpenImage, openImage } from './image-reader.js'
import { readPages } from './memory-file.js'
import { turnTaker } from './take-turns.js'
import { throwIfAborted } from './throw-if-aborted.js'

/** 1 MiB of each image at a time; two buffers of it stay in the CPU's cache. */
const bufferPages = 256

/** Options of `compareImages`. */
export interface CompareOptions {
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** Called with the pages compared so far, and how many must be compared. */
  readonly onProgress?: ((comparedPages: number, totalPages: number) => void) | undefined
}

/**
 * The pages in which two images differ. Only what may differ is read: not the pages that both take from one
 * place of one file, and not those that are zero in both. Images of different size are IMAGE_MISMATCH.
 */
export async function compareImages(
  a: ImageSource,
  b: ImageSource,
  { signal, onProgress }: CompareOptions = {},
): Promise<PageSet> {
  await using left = await openImage(a)
  await using right = await openImage(b)
  const { pages } = left.map
  if (pages !== right.map.pages)
    throw new VarveError('IMAGE_MISMATCH', `the images have ${pages} and ${right.map.pages} pages`)
  const differing = new RunBuilder()
  const [x, y] = [new Side(left, await fileIds(left)), new Side(right, await fileIds(right))]
  const takeTurns = turnTaker()
  for (let page = 0; page < pages; ) {
    throwIfAborted(signal, 'the comparison of two images')
    x.seek(page)
    y.seek(page)
    const reach = Math.min(x.end, y.end)
    const equal = x.isSamePlace(y)
    const count = equal ? reach - page : Math.min(reach - page, bufferPages)
    if (!equal) {
      const [ours, theirs] = await Promise.all([x.read(count), y.read(count)])
      if (!ours.equals(theirs)) addDiffering(differing, page, ours, theirs)
    }
    page += count
    onProgress?.(page, pages)
    // A stretch that was not read took no time, but a map of single pages has many of them.
    await takeTurns(equal ? 1 : count)
  }
  return differing.finish()
}

function addDiffering(differing: RunBuilder, page: number, left: Buffer, right: Buffer): void {
  for (let at = 0; at < left.length; at += pageSizeBytes)
    if (left.compare(right, at, at + pageSizeBytes, at, at + pageSizeBytes) !== 0)
      differing.add(page + at / pageSizeBytes, 1)
}

/** Which file on disk each source is: two paths can be one file. */
async function fileIds({ map, layer }: OpenImage): Promise<Map<number, string>> {
  const ids = new Map<number, string>()
  for (const source of new Set(map.sources)) {
    if (source === zeroSource) continue
    const { dev, ino } = await layer(source).handle.stat({ bigint: true })
    ids.set(source, `${dev}:${ino}`)
  }
  return ids
}

/** One of the two images: the run that the comparison is at. */
class Side {
  /** First page behind the run. */
  end = 0
  readonly #image: OpenImage
  readonly #ids: ReadonlyMap<number, string>
  readonly #buffer = Buffer.allocUnsafe(bufferPages * pageSizeBytes)
  #run = 0
  #source = zeroSource
  #storedPage = 0

  constructor(image: OpenImage, ids: ReadonlyMap<number, string>) {
    this.#image = image
    this.#ids = ids
  }

  /** Pages ascend from call to call. */
  seek(page: number): void {
    const { starts, counts, sources, storedStarts } = this.#image.map
    while ((starts[this.#run] as number) + (counts[this.#run] as number) <= page) this.#run++
    const start = starts[this.#run] as number
    this.end = start + (counts[this.#run] as number)
    this.#source = sources[this.#run] as number
    this.#storedPage = (storedStarts[this.#run] as number) + page - start
  }

  isSamePlace(other: Side): boolean {
    if (this.#source === zeroSource || other.#source === zeroSource) return this.#source === other.#source
    return (
      this.#storedPage === other.#storedPage && this.#ids.get(this.#source) === other.#ids.get(other.#source)
    )
  }

  /** `count` pages from the page of the last `seek` on, valid until the next call. */
  async read(count: number): Promise<Buffer> {
    const part = this.#buffer.subarray(0, count * pageSizeBytes)
    if (this.#source === zeroSource) part.fill(0)
    else await readPages(this.#image.layer(this.#source), this.#storedPage, part)
    return part
  }
}
