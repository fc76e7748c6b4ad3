import type { GuestProcess } from './owner-report.js'

/**
 * What a page holds. `file`: the page cache, with the processes that map it. `private copy`: a page of a file
 * that a process has written to. `free`: no owner when the guest was asked. `unexplained`: the kernel's,
 * without a flag that says what for.
 */
export const ownerParts = [
  'anonymous',
  'heap',
  'stack',
  'private copy',
  'shared memory',
  'file',
  'kernel',
  'free',
  'unexplained',
] as const
export type OwnerPart = (typeof ownerParts)[number]

/** One owner of pages of a set. */
export interface OwnedPages {
  readonly part: OwnerPart
  /** A path, a part of the kernel, or the name of a mapping; empty if the part says it all. */
  readonly name: string
  /** Those that map these pages, by pid; none for pages of the kernel, and of files that are only cached. */
  readonly processes: readonly GuestProcess[]
  readonly pages: number
  /** How many of them are in the set as written. */
  readonly writtenPages: number
}

/** The pages of a set by owner. */
export interface Explanation {
  /** Pages of the set. */
  readonly pages: number
  readonly writtenPages: number
  /** Pages that have the part `unexplained`. */
  readonly unexplainedPages: number
  /** The largest first. */
  readonly owners: readonly OwnedPages[]
  /** Mappings and files that the agent did not look at, because they are too large or too many. */
  readonly skipped: number
  /** Whether the guest's kernel shows flags of its frames. Without, its own memory is `unexplained`. */
  readonly hasFrameFlags: boolean
}
