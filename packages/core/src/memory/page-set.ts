/** `count` pages from page `start` on. */
export interface PageRun {
  /** The first page. */
  readonly start: number
  /** How many pages. */
  readonly count: number
}

/**
 * A set of pages as runs: sorted, never overlapping, never touching (touching runs are one run),
 * none empty. So each set has exactly one form and `equals` can compare arrays. Immutable by
 * contract: no code writes to the arrays.
 */
export interface PageSet {
  /** The first page of each run, ascending. */
  readonly starts: Uint32Array
  /** The length of each run, pages. */
  readonly counts: Uint32Array
  /** How many pages the runs hold together. */
  readonly pages: number
}

/** One behind the last page a set can hold: `start`, `count` and `start + count` all fit 32 bits. */
export const pageSetLimit = 2 ** 32 - 1

/** The set without a page. */
export const emptyPageSet: PageSet = { starts: new Uint32Array(0), counts: new Uint32Array(0), pages: 0 }

/** Whether the set holds `page`. */
export function has(set: PageSet, page: number): boolean {
  const run = runAtOrBefore(set.starts, page)
  return run >= 0 && page < (set.starts[run] as number) + (set.counts[run] as number)
}

/** Index of the last run that starts at `page` or before it, -1 if none does. `starts` is sorted. */
export function runAtOrBefore(starts: Uint32Array, page: number): number {
  let low = 0
  let high = starts.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((starts[middle] as number) <= page) low = middle + 1
    else high = middle
  }
  return low - 1
}

/** Whether both sets hold the same pages. */
export function equals(a: PageSet, b: PageSet): boolean {
  if (a.pages !== b.pages || a.starts.length !== b.starts.length) return false
  for (let i = 0; i < a.starts.length; i++)
    if (a.starts[i] !== b.starts[i] || a.counts[i] !== b.counts[i]) return false
  return true
}

/** The runs, ascending. */
export function* runsOf(set: PageSet): Generator<PageRun> {
  for (let i = 0; i < set.starts.length; i++)
    yield { start: set.starts[i] as number, count: set.counts[i] as number }
}

/** Every page number, ascending. One step per page: for small sets and tests, not for whole images. */
export function* pagesOf(set: PageSet): Generator<number> {
  for (const { start, count } of runsOf(set)) for (let page = start; page < start + count; page++) yield page
}
