import { VarveError } from '../errors.js'
import type { PageSet } from '../memory/page-set.js'
import { intersect } from '../memory/page-set-algebra.js'
import { presentPages, type WorkingSet } from './working-set.js'

/** |a ∩ b| ÷ |a ∪ b|: 1 for equal sets, two empty ones included, 0 for sets without a common page. */
export function jaccard(a: PageSet, b: PageSet): number {
  return jaccardOf(a.pages, b.pages, intersect(a, b).pages)
}

/** |a ∩ b| ÷ |b|: the share of `b` that a restore with `a` would have brought. 1 for an empty `b`. */
export function coverage(a: PageSet, b: PageSet): number {
  return share(intersect(a, b).pages, b.pages)
}

/** Two page sets in numbers of pages; the shares are from 0 to 1. */
export interface SetComparison {
  /** Pages of `a`. */
  readonly aPages: number
  /** Pages of `b`. */
  readonly bPages: number
  /** Pages in both. */
  readonly commonPages: number
  /** In `a` alone: with `a` as the hint, brought in vain. */
  readonly onlyAPages: number
  /** In `b` alone: with `a` as the hint, faulted in one by one. */
  readonly onlyBPages: number
  /** Common pages by pages in either. */
  readonly jaccard: number
  /** The share of `b` that is in `a`. */
  readonly coverage: number
}

/** Compares two sets of pages of one image. */
export function compareSets(a: PageSet, b: PageSet): SetComparison {
  const common = intersect(a, b).pages
  return {
    aPages: a.pages,
    bPages: b.pages,
    commonPages: common,
    onlyAPages: a.pages - common,
    onlyBPages: b.pages - common,
    jaccard: jaccardOf(a.pages, b.pages, common),
    coverage: share(common, b.pages),
  }
}

/** A group of `b` against `a`. Groups have no counterpart in another recording but by their number. */
export interface GroupComparison {
  /** From 0. */
  readonly group: number
  /** Pages of the group. */
  readonly pages: number
  /** The share of the group that `a` has in any of its groups, or in none. */
  readonly coverage: number
  /** With the group of `a` that has the same number; 0 if `a` has fewer: how far the order is the same. */
  readonly jaccard: number
}

/** Two working sets of one image, in numbers. */
export interface WorkingSetComparison {
  /** Read-only and written together. */
  readonly present: SetComparison
  /** Read-only pages. */
  readonly readOnly: SetComparison
  /** Written pages. */
  readonly written: SetComparison
  /** One for each group of `b`. */
  readonly groups: readonly GroupComparison[]
}

/**
 * What using `a` would have done for the run in which `b` was recorded.
 * IMAGE_MISMATCH unless both are of one image.
 */
export function compareWorkingSets(a: WorkingSet, b: WorkingSet): WorkingSetComparison {
  if (a.image !== b.image || a.pages !== b.pages)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `the working sets are of image ${a.image} with ${a.pages} pages and of image ${b.image} with ${b.pages}`,
      { remedy: 'translate the older one to the image of the other' },
    )
  const present = presentPages(a)
  return {
    present: compareSets(present, presentPages(b)),
    readOnly: compareSets(a.readOnly, b.readOnly),
    written: compareSets(a.written, b.written),
    groups: b.groups.map(({ set }, group) => {
      const counterpart = a.groups[group]
      return {
        group,
        pages: set.pages,
        coverage: coverage(present, set),
        jaccard: counterpart === undefined ? 0 : jaccard(counterpart.set, set),
      }
    }),
  }
}

/** One set of a series against the one before and against the first. */
export interface DriftStep {
  /** Pages of this set. */
  readonly pages: number
  /** With the set before, 0 to 1. */
  readonly jaccardToPrevious: number
  /** With the first set, 0 to 1. */
  readonly jaccardToFirst: number
}

/** How a working set changes over runs: a step for each set of the series but the first. */
export function drift(series: readonly PageSet[]): readonly DriftStep[] {
  return series.slice(1).map((set, before) => ({
    pages: set.pages,
    jaccardToPrevious: jaccard(series[before] as PageSet, set),
    jaccardToFirst: jaccard(series[0] as PageSet, set),
  }))
}

const share = (part: number, whole: number): number => (whole === 0 ? 1 : part / whole)

const jaccardOf = (a: number, b: number, common: number): number => share(common, a + b - common)
