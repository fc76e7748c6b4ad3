import { VarveError } from '../errors.js'
import { type PageRun, type PageSet, pageSetLimit, runsOf } from './page-set.js'
import { RunBuilder } from './run-builder.js'

/** Runs in any order; they may overlap, touch or be empty. */
export function pageSetFromRuns(runs: Iterable<PageRun>): PageSet {
  const builder = new RunBuilder()
  let rest: PageRun[] | undefined
  let previous = 0
  for (const run of runs) {
    checkRun(run)
    if (rest === undefined && run.start >= previous) {
      builder.add(run.start, run.count)
      previous = run.start
    } else {
      rest ??= []
      rest.push(run)
    }
  }
  if (rest === undefined) return builder.finish()
  const all = [...runsOf(builder.finish()), ...rest].sort((a, b) => a.start - b.start)
  const sorted = new RunBuilder()
  for (const run of all) sorted.add(run.start, run.count)
  return sorted.finish()
}

function checkRun({ start, count }: PageRun): void {
  if (
    !Number.isInteger(start) ||
    !Number.isInteger(count) ||
    start < 0 ||
    count < 0 ||
    start + count > pageSetLimit
  )
    throw new VarveError('INVALID_ARGUMENT', `page run ${start}+${count} is not within [0, 2^32 - 1)`)
}

/** One run of `count` pages from `start` on. */
export function pageRange(start: number, count: number): PageSet {
  return pageSetFromRuns([{ start, count }])
}

/** Page numbers in any order, duplicates allowed. */
export function pageSetFromPages(pages: Iterable<number>): PageSet {
  const list: number[] | Uint32Array = pages instanceof Uint32Array ? pages : [...pages]
  for (const page of list)
    if (!Number.isInteger(page) || page < 0 || page >= pageSetLimit)
      throw new VarveError('INVALID_ARGUMENT', `page number ${page} is not an integer in [0, 2^32 - 1)`)
  // A typed array sorts numbers as numbers, in place and several times faster than an Array.
  const sorted = Uint32Array.from(list).sort()
  const builder = new RunBuilder()
  for (let i = 0; i < sorted.length; i++) builder.add(sorted[i] as number, 1)
  return builder.finish()
}

/**
 * One byte a page, in the set where bit 0 is set: what mincore(2) fills in. `bytes[0]` is page `firstPage`.
 */
export function pageSetFromBytes(bytes: Uint8Array, firstPage = 0): PageSet {
  if (!Number.isInteger(firstPage) || firstPage < 0 || firstPage + bytes.length > pageSetLimit)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `pages ${firstPage}+${bytes.length} are not within [0, 2^32 - 1)`,
    )
  const builder = new RunBuilder()
  for (let i = 0; i < bytes.length; ) {
    if (((bytes[i] as number) & 1) === 0) {
      i++
      continue
    }
    const start = i
    while (i < bytes.length && ((bytes[i] as number) & 1) === 1) i++
    builder.add(firstPage + start, i - start)
  }
  return builder.finish()
}
