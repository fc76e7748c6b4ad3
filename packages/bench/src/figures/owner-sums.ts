/** Pages of a working set by process and kind, as test/nested-lab/owner-sums.mjs makes them. */
export interface OwnedSum {
  /** The process; `several` if several map the pages; empty for what no process maps. */
  readonly who: string
  /** 0 unless it is one process. */
  readonly pid: number
  readonly what: string
  readonly pages: number
  readonly writtenPages: number
}

export interface OwnerSums {
  readonly pages: number
  readonly writtenPages: number
  readonly unexplainedPages: number
  /** The largest first. */
  readonly owners: readonly OwnedSum[]
}

/** Pages of those that `of` is true for. */
export const pagesOf = (owners: readonly OwnedSum[], of: (it: OwnedSum) => boolean): number =>
  owners.reduce((sum, it) => sum + (of(it) ? it.pages : 0), 0)
