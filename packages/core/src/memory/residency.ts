import type { Residency } from '../sys/mincore.js'
import { type PageSet, runsOf } from './page-set.js'
import { clip, mergeGaps, unionAll } from './page-set-algebra.js'
import { RunBuilder } from './run-builder.js'

/** Asking for so many pages more takes as long as another call in another thread. */
const gapPages = 2048
/** 0.8 ms. */
const partPages = 2 ** 15

/**
 * Which pages of a set are in the page cache, by their numbers in an open file; those behind its end are not.
 * Costs what the set costs, not what the file does. True only if `canSeeResidency`. Another thread
 * asks the kernel; this thread only reads the answers.
 */
export async function residentBeside(residency: Residency, set: PageSet): Promise<PageSet> {
  const within = clip(set, 0, residency.pages)
  const found: PageSet[] = []
  for (const { start, count } of runsOf(mergeGaps(within, gapPages)))
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
