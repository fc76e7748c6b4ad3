import { VarveError } from '../errors.js'
import { atLeast } from '../memory/at-least.js'
import type { PageSet } from '../memory/page-set.js'
import { intersect, mergeGaps, minus, union, unionAll } from '../memory/page-set-algebra.js'
import {
  maxGroups,
  presentPages,
  type WorkingSet,
  type WorkingSetGroup,
  withWorkingSetLine,
} from './working-set.js'

/** Pages that at least one set has. */
export function unionOfWorkingSets(sets: readonly WorkingSet[]): WorkingSet {
  return combine(sets, 'union', unionAll(sets.map(presentPages)))
}

/** Pages that all sets have. */
export function intersectWorkingSets(sets: readonly WorkingSet[]): WorkingSet {
  return combine(sets, 'intersect', atLeast(sets.length, sets.map(presentPages)))
}

/** Pages that at least `least` of the sets have: what most runs need, without the noise of one. */
export function commonOfWorkingSets(sets: readonly WorkingSet[], least: number): WorkingSet {
  if (!Number.isInteger(least) || least < 1 || least > sets.length)
    throw new VarveError('INVALID_ARGUMENT', `at least ${least} of ${sets.length} sets`)
  return combine(sets, `at least ${least} of ${sets.length}`, atLeast(least, sets.map(presentPages)))
}

/** The pages of the first set that no other one has. `others` are those sets. */
export function minusWorkingSets(first: WorkingSet, ...others: readonly WorkingSet[]): WorkingSet {
  return combine([first, ...others], 'minus', minus(presentPages(first), unionAll(others.map(presentPages))))
}

/**
 * The set with gaps of up to `gapPages` pages filled, as read-only pages: fewer,
 * larger requests for more bytes.
 */
export function withGapsMerged(workingSet: WorkingSet, gapPages = 32): WorkingSet {
  const merged = mergeGaps(presentPages(workingSet), gapPages)
  return withWorkingSetLine({ ...workingSet, readOnly: minus(merged, workingSet.written) })
}

/** The first `maxPages` pages in the order of first touch, those of no group last, by number. */
export function clipWorkingSet(workingSet: WorkingSet, maxPages: number): WorkingSet {
  if (!Number.isInteger(maxPages) || maxPages < 0)
    throw new VarveError('INVALID_ARGUMENT', `a working set of ${maxPages} pages`)
  const groups: WorkingSetGroup[] = []
  const kept: PageSet[] = []
  let left = maxPages
  const take = (set: PageSet): PageSet => {
    const part = firstPages(set, left)
    left -= part.pages
    if (part.pages > 0) kept.push(part)
    return part
  }
  for (const { atMs, set } of workingSet.groups) {
    const part = take(set)
    if (part.pages > 0) groups.push({ atMs, set: part })
  }
  take(minus(presentPages(workingSet), unionAll(workingSet.groups.map(({ set }) => set))))
  const present = unionAll(kept)
  return withWorkingSetLine({
    ...workingSet,
    readOnly: intersect(workingSet.readOnly, present),
    written: intersect(workingSet.written, present),
    groups,
  })
}

/** The `count` lowest pages of a set. */
function firstPages(set: PageSet, count: number): PageSet {
  if (set.pages <= count) return set
  let runs = 0
  let pages = 0
  while (pages < count) pages += set.counts[runs++] as number
  const counts = set.counts.slice(0, runs)
  if (runs > 0) counts[runs - 1] = (counts[runs - 1] as number) - (pages - count)
  return { starts: set.starts.slice(0, runs), counts, pages: count }
}

/**
 * `present` with what the sets say of its pages: written is what any of them wrote to (a page that
 * one run only read, and another wrote to, will be copied sooner or later), a page's time is the
 * earliest that any of them saw it.
 */
function combine(sets: readonly WorkingSet[], how: string, present: PageSet): WorkingSet {
  const [first] = sets
  if (first === undefined) throw new VarveError('INVALID_ARGUMENT', 'no working sets to combine')
  for (const { image, pages } of sets)
    if (image !== first.image || pages !== first.pages)
      throw new VarveError(
        'IMAGE_MISMATCH',
        `the working sets are of image ${first.image} with ${first.pages} pages and of image ${image} with ${pages}`,
        { remedy: 'translate the older one to the image of the other' },
      )
  const written = intersect(unionAll(sets.map((set) => set.written)), present)
  return withWorkingSetLine({
    image: first.image,
    pages: first.pages,
    recordedAtMs: Math.max(...sets.map((set) => set.recordedAtMs)),
    windowMs: Math.max(...sets.map((set) => set.windowMs)),
    readOnly: minus(present, written),
    written,
    groups: mergedGroups(sets, present),
    notes: {
      combined: { how, sets: sets.length, recorders: sets.map(({ notes }) => notes.recorders ?? null) },
    },
  })
}

function mergedGroups(sets: readonly WorkingSet[], present: PageSet): WorkingSetGroup[] {
  const all = sets.flatMap(({ groups }) => groups).sort((a, b) => a.atMs - b.atMs)
  const groups: WorkingSetGroup[] = []
  let seen: PageSet | undefined
  for (const { atMs, set } of all) {
    const inside = intersect(set, present)
    const fresh = seen === undefined ? inside : minus(inside, seen)
    if (fresh.pages === 0) continue
    seen = seen === undefined ? fresh : union(seen, fresh)
    const last = groups.at(-1)
    if (last !== undefined && (last.atMs === atMs || groups.length === maxGroups))
      groups[groups.length - 1] = { atMs: last.atMs, set: union(last.set, fresh) }
    else groups.push({ atMs, set: fresh })
  }
  return groups
}
