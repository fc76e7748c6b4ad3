import { VarveError } from '../errors.js'
import type { PageSet } from '../memory/page-set.js'
import { RunBuilder } from '../memory/run-builder.js'
import { type LayerIndex, zeroPage } from './layer-types.js'

/** One behind the last page an image can have: N itself and the mark of zero pages must fit 32 bits. */
export const imagePagesLimit = 2 ** 32 - 2

/** Runs of one index. Far above 16 GiB of alternating pages; 768 MiB of footer. */
export const maxIndexRuns = 2 ** 26

/**
 * Collects the runs of a layer index, ascending by image page, merging neighbours that continue each other.
 */
export class LayerIndexBuilder {
  #starts = new Uint32Array(16)
  #counts = new Uint32Array(16)
  #storedStarts = new Uint32Array(16)
  #length = 0
  #end = 0

  /** `storedPage`: first page in the file, or `zeroPage`. Runs must ascend and stay apart. */
  add(start: number, count: number, storedPage: number): void {
    if (count === 0) return
    if (start < this.#end) throw new VarveError('FORMAT_INVALID', `page run ${start}+${count} overlaps`)
    const last = this.#length - 1
    const lastStored = this.#storedStarts[last]
    const lastCount = this.#counts[last] as number
    if (
      last >= 0 &&
      start === this.#end &&
      (storedPage === zeroPage
        ? lastStored === zeroPage
        : lastStored !== zeroPage && (lastStored as number) + lastCount === storedPage)
    ) {
      this.#counts[last] = lastCount + count
    } else {
      if (this.#length === this.#starts.length) this.#grow()
      this.#starts[this.#length] = start
      this.#counts[this.#length] = count
      this.#storedStarts[this.#length++] = storedPage
    }
    this.#end = start + count
  }

  #grow(): void {
    const grown = (from: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> => {
      const to = new Uint32Array(from.length * 2)
      to.set(from)
      return to
    }
    this.#starts = grown(this.#starts)
    this.#counts = grown(this.#counts)
    this.#storedStarts = grown(this.#storedStarts)
  }

  /** The index of an image of `pages` pages. The builder is spent. */
  finish(pages: number): LayerIndex {
    if (this.#end > pages)
      throw new VarveError('FORMAT_INVALID', `a page run ends at ${this.#end}, the image has ${pages} pages`)
    return {
      pages,
      starts: this.#starts.slice(0, this.#length),
      counts: this.#counts.slice(0, this.#length),
      storedStarts: this.#storedStarts.slice(0, this.#length),
    }
  }
}

/** The index of a flat layer: data page p is stored at p. The two sets must not overlap. */
export function flatIndex(pages: number, data: PageSet, zero: PageSet): LayerIndex {
  const builder = new LayerIndexBuilder()
  let nextData = 0
  let nextZero = 0
  while (nextData < data.starts.length || nextZero < zero.starts.length) {
    const dataStart = data.starts[nextData] ?? Number.POSITIVE_INFINITY
    const zeroStart = zero.starts[nextZero] ?? Number.POSITIVE_INFINITY
    if (dataStart < zeroStart) builder.add(dataStart, data.counts[nextData++] as number, dataStart)
    else builder.add(zeroStart, zero.counts[nextZero++] as number, zeroPage)
  }
  return builder.finish(pages)
}

/**
 * The index of a packed layer that stores the data pages of another one densely, in the order of the image.
 */
export function packedIndex({ pages, starts, counts, storedStarts }: LayerIndex): LayerIndex {
  const builder = new LayerIndexBuilder()
  let next = 0
  for (let i = 0; i < starts.length; i++) {
    const count = counts[i] as number
    const isZero = storedStarts[i] === zeroPage
    builder.add(starts[i] as number, count, isZero ? zeroPage : next)
    if (!isZero) next += count
  }
  return builder.finish(pages)
}

/** Image pages whose bytes are in the layer's file. */
export function dataPages(index: LayerIndex): PageSet {
  return pagesOfKind(index, (stored) => stored !== zeroPage)
}

/** Image pages that the layer says are zero. */
export function zeroPages(index: LayerIndex): PageSet {
  return pagesOfKind(index, (stored) => stored === zeroPage)
}

function pagesOfKind({ starts, counts, storedStarts }: LayerIndex, is: (stored: number) => boolean): PageSet {
  const builder = new RunBuilder()
  for (let i = 0; i < starts.length; i++)
    if (is(storedStarts[i] as number)) builder.add(starts[i] as number, counts[i] as number)
  return builder.finish()
}

/** How many pages an index says something about, by kind; the rest of the image is absent. */
export function countPages({ pages, counts, storedStarts }: LayerIndex): {
  readonly data: number
  readonly zero: number
  readonly absent: number
} {
  let data = 0
  let zero = 0
  for (let i = 0; i < counts.length; i++) {
    if (storedStarts[i] === zeroPage) zero += counts[i] as number
    else data += counts[i] as number
  }
  return { data, zero, absent: pages - data - zero }
}

/** A run of data pages: image page, page in the file, how many. */
export interface StoredRun {
  /** The first page in the image. */
  readonly start: number
  /** The first page in the layer's file. */
  readonly storedPage: number
  /** How many pages. */
  readonly count: number
}

/**
 * The data runs in the order in which the file stores them. For a flat layer that is the index's own order.
 */
export function storedRuns({ starts, counts, storedStarts }: LayerIndex): StoredRun[] {
  const runs: StoredRun[] = []
  let ascending = true
  for (let i = 0; i < starts.length; i++) {
    const storedPage = storedStarts[i] as number
    if (storedPage === zeroPage) continue
    if (ascending && runs.length > 0) ascending = (runs.at(-1) as StoredRun).storedPage < storedPage
    runs.push({ start: starts[i] as number, storedPage, count: counts[i] as number })
  }
  return ascending ? runs : runs.sort((a, b) => a.storedPage - b.storedPage)
}
