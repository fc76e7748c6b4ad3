import { openResidency, type Residency } from '../sys/mincore.js'
import { emptyPageSet, type PageSet, runsOf } from './page-set.js'
import { clip, intersect, mergeGaps, unionAll } from './page-set-algebra.js'
import { RunBuilder } from './run-builder.js'

/** Asking for so many pages more takes as long as another call. */
const gapPages = 40

/**
 * Which pages of a set are in the page cache, by their numbers in an open file; those behind its end are not.
 * Costs what the set costs, not what the file does. True only if `canSeeResidency`.
 */
export function residentOfSet(fd: number, set: PageSet): PageSet {
  if (set.pages === 0) return emptyPageSet
  using residency = openResidency(fd)
  return residentIn(residency, clip(set, 0, residency.pages))
}

/** Asking for so many pages more takes as long as another call in another thread. */
const gapPagesBeside = 2048
/** 0.8 ms. */
const partPages = 2 ** 15

/** The same in another thread: this one only looks at what it found. */
export async function residentBeside(residency: Residency, set: PageSet): Promise<PageSet> {
  const within = clip(set, 0, residency.pages)
  const found: PageSet[] = []
  for (const { start, count } of runsOf(mergeGaps(within, gapPagesBeside)))
    for (let done = 0; done < count; done += partPages) {
      const bytes = new Uint8Array(Math.min(partPages, count - done))
      await residency.readBeside(start + done, bytes)
      found.push(residentOf(clip(within, start + done, bytes.length), start + done, bytes))
    }
  return unionAll(found)
}

/** The pages of a set that are resident; `bytes` are of the pages from `firstPage` on. */
function residentOf(set: PageSet, firstPage: number, bytes: Uint8Array): PageSet {
  const found = new RunBuilder(set.starts.length)
  for (const { start, count } of runsOf(set))
    for (let page = start; page < start + count; page++)
      if (((bytes[page - firstPage] as number) & 1) === 1) found.add(page, 1)
  return found.finish()
}

function residentIn(residency: Residency, set: PageSet): PageSet {
  const found = new RunBuilder()
  let buffer = new Uint8Array(4096)
  for (const { start, count } of runsOf(mergeGaps(set, gapPages))) {
    if (buffer.length < count) buffer = new Uint8Array(count)
    const bytes = buffer.subarray(0, count)
    residency.read(start, bytes)
    for (let page = 0; page < count; ) {
      let end = page
      while (end < count && ((bytes[end] as number) & 1) === 1) end++
      if (end > page) found.add(start + page, end - page)
      page = end + 1
    }
  }
  return intersect(set, found.finish())
}
