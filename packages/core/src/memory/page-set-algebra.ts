import { VarveError } from '../errors.js'
import { bitmapFor, emptyBitmap, type PageBitmap, pageSetFromBitmap, setBits } from './page-bitmap.js'
import { emptyPageSet, type PageSet, pageSetLimit, runAtOrBefore } from './page-set.js'
import { RunBuilder } from './run-builder.js'

/**
 * Each operation is one pass over the runs of its sets, without a step per page; if the runs are many and
 * short, over bitmaps of them instead (page-bitmap.ts), which docs/results/sets.md compares.
 */

export function union(a: PageSet, b: PageSet): PageSet {
  if (a.pages === 0) return b
  if (b.pages === 0) return a
  const bitmap = bitmapFor([a, b])
  return bitmap === undefined ? mergeRuns(a, b) : unionOfBits(bitmap, [a, b])
}

/** The pages that at least one of the sets has. */
export function unionAll(sets: readonly PageSet[]): PageSet {
  const filled = sets.filter(({ pages }) => pages > 0)
  const bitmap = bitmapFor(filled)
  if (bitmap !== undefined) return unionOfBits(bitmap, filled)
  // Pairwise, so that n sets cost log2(n) passes and not n.
  let level = filled
  while (level.length > 1) {
    const next: PageSet[] = []
    for (let i = 0; i < level.length; i += 2) {
      const right = level[i + 1]
      next.push(right === undefined ? (level[i] as PageSet) : union(level[i] as PageSet, right))
    }
    level = next
  }
  return level[0] ?? emptyPageSet
}

function unionOfBits(bitmap: PageBitmap, sets: readonly PageSet[]): PageSet {
  for (const set of sets) setBits(bitmap, set)
  return pageSetFromBitmap(bitmap)
}

function mergeRuns(a: PageSet, b: PageSet): PageSet {
  const out = new RunBuilder(a.starts.length + b.starts.length)
  let i = 0
  let j = 0
  while (i < a.starts.length || j < b.starts.length)
    if (j >= b.starts.length || (i < a.starts.length && (a.starts[i] as number) <= (b.starts[j] as number))) {
      out.add(a.starts[i] as number, a.counts[i] as number)
      i++
    } else {
      out.add(b.starts[j] as number, b.counts[j] as number)
      j++
    }
  return out.finish()
}

/** The pages that both sets have. */
export function intersect(a: PageSet, b: PageSet): PageSet {
  if (a.pages === 0 || b.pages === 0) return emptyPageSet
  const bitmap = bitmapFor([a, b])
  if (bitmap !== undefined) return combineBits(bitmap, a, b, (left, right) => left & right)
  const out = new RunBuilder(Math.min(a.starts.length + b.starts.length, Math.min(a.pages, b.pages)))
  let i = 0
  let j = 0
  while (i < a.starts.length && j < b.starts.length) {
    const aStart = a.starts[i] as number
    const bStart = b.starts[j] as number
    const aEnd = aStart + (a.counts[i] as number)
    const bEnd = bStart + (b.counts[j] as number)
    const start = Math.max(aStart, bStart)
    const end = Math.min(aEnd, bEnd)
    if (start < end) out.add(start, end - start)
    if (aEnd <= bEnd) i++
    else j++
  }
  return out.finish()
}

/** How many pages both sets have: `intersect(a, b).pages`, without making that set. */
export function pagesInBoth(a: PageSet, b: PageSet): number {
  let pages = 0
  for (let i = 0, j = 0; i < a.starts.length && j < b.starts.length; ) {
    const [aEnd, bEnd] = [endOfRun(a, i), endOfRun(b, j)]
    pages += Math.max(0, Math.min(aEnd, bEnd) - Math.max(a.starts[i] as number, b.starts[j] as number))
    if (aEnd <= bEnd) i++
    else j++
  }
  return pages
}

/** The pages of `a` that are not in `b`. */
export function minus(a: PageSet, b: PageSet): PageSet {
  if (a.pages === 0 || b.pages === 0) return a
  const bitmap = bitmapFor([a, b])
  if (bitmap !== undefined) return combineBits(bitmap, a, b, (left, right) => left & ~right)
  const out = new RunBuilder(Math.min(a.starts.length + b.starts.length, a.pages))
  let j = 0
  for (let i = 0; i < a.starts.length; i++) {
    let start = a.starts[i] as number
    const end = start + (a.counts[i] as number)
    while (j < b.starts.length && (b.starts[j] as number) + (b.counts[j] as number) <= start) j++
    // `j` stays on the run that reaches furthest: it may cut the next run of `a` too.
    while (start < end && j < b.starts.length && (b.starts[j] as number) < end) {
      const cut = b.starts[j] as number
      if (cut > start) out.add(start, cut - start)
      start = cut + (b.counts[j] as number)
      if (start < end) j++
    }
    if (start < end) out.add(start, end - start)
  }
  return out.finish()
}

function combineBits(
  bitmap: PageBitmap,
  a: PageSet,
  b: PageSet,
  combine: (left: number, right: number) => number,
): PageSet {
  const { first, words } = bitmap
  const other = emptyBitmap(first, words.length * 32)
  setBits(bitmap, a)
  setBits(other, b)
  for (let i = 0; i < words.length; i++) words[i] = combine(words[i] as number, other.words[i] as number)
  return pageSetFromBitmap(bitmap)
}

/** The pages of the set within [start, start + count). */
export function clip(set: PageSet, start: number, count: number): PageSet {
  checkRange(start, count)
  const end = start + count
  const lastRun = runAtOrBefore(set.starts, end - 1)
  let firstRun = runAtOrBefore(set.starts, start)
  if (firstRun < 0 || endOfRun(set, firstRun) <= start) firstRun++
  if (count === 0 || lastRun < firstRun) return emptyPageSet
  const starts = set.starts.slice(firstRun, lastRun + 1)
  const counts = set.counts.slice(firstRun, lastRun + 1)
  starts[0] = Math.max(starts[0] as number, start)
  counts[0] = endOfRun(set, firstRun) - (starts[0] as number)
  const last = starts.length - 1
  counts[last] = Math.min(endOfRun(set, lastRun), end) - (starts[last] as number)
  let pages = 0
  for (let i = 0; i < counts.length; i++) pages += counts[i] as number
  return { starts, counts, pages }
}

/** The pages of [0, pages) that are not in the set. */
export function complement(set: PageSet, pages: number): PageSet {
  checkRange(0, pages)
  const limit = Math.min(pages, pageSetLimit)
  const { starts, counts } = set
  const gapStarts = new Uint32Array(starts.length + 1)
  const gapCounts = new Uint32Array(starts.length + 1)
  let gaps = 0
  let total = 0
  let end = 0
  for (let i = 0; i <= starts.length && end < limit; i++) {
    const next = i < starts.length ? Math.min(starts[i] as number, limit) : limit
    if (next > end) {
      gapStarts[gaps] = end
      gapCounts[gaps++] = next - end
      total += next - end
    }
    end = next + (counts[i] ?? 0)
  }
  return exactly(gapStarts, gapCounts, gaps, total)
}

/**
 * The set with the gaps of at most `gapPages` pages between its runs filled: fewer, larger reads and mappings
 * for pages that were not asked for. 32 is FaaSnap's value.
 */
export function mergeGaps(set: PageSet, gapPages = 32): PageSet {
  if (!Number.isInteger(gapPages) || gapPages < 0)
    throw new VarveError('INVALID_ARGUMENT', `a gap of ${gapPages} pages is not a non-negative integer`)
  const { starts, counts } = set
  if (starts.length === 0) return emptyPageSet
  const mergedStarts = new Uint32Array(starts.length)
  const mergedCounts = new Uint32Array(starts.length)
  let merged = 0
  let pages = 0
  let start = starts[0] as number
  let end = start
  for (let i = 0; i < starts.length; i++) {
    const next = starts[i] as number
    if (next - end > gapPages) {
      mergedStarts[merged] = start
      mergedCounts[merged++] = end - start
      pages += end - start
      start = next
    }
    end = next + (counts[i] as number)
  }
  mergedStarts[merged] = start
  mergedCounts[merged++] = end - start
  return exactly(mergedStarts, mergedCounts, merged, pages + end - start)
}

function exactly(starts: Uint32Array, counts: Uint32Array, runs: number, pages: number): PageSet {
  if (runs === starts.length) return { starts, counts, pages }
  return { starts: starts.slice(0, runs), counts: counts.slice(0, runs), pages }
}

const endOfRun = (set: PageSet, run: number): number =>
  (set.starts[run] as number) + (set.counts[run] as number)

function checkRange(start: number, count: number): void {
  if (!Number.isInteger(start) || !Number.isInteger(count) || start < 0 || count < 0)
    throw new VarveError('INVALID_ARGUMENT', `page range ${start}+${count} is not of non-negative integers`)
}
