import { VarveError } from '../errors.js'
import { withLine } from '../inspect-line.js'
import { imagePagesLimit } from '../layer/layer-index.js'
import type { ImageId, PackOrder } from '../layer/layer-types.js'
import type { PageSet } from '../memory/page-set.js'
import { intersect, minus, union, unionAll } from '../memory/page-set-algebra.js'

/** docs/formats/working-set-v1.md. */
export const maxGroups = 4096
/** The notes of a set, as JSON: bytes at most. */
export const maxNotesBytes = 65_536
/** How deep objects and arrays of the notes may nest. */
export const maxNotesDepth = 8

/** Any JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json }

/** Pages that were first touched at about the same time. */
export interface WorkingSetGroup {
  /** When the recorder saw them, milliseconds since the recording began. */
  readonly atMs: number
  /** The pages. */
  readonly set: PageSet
}

/**
 * Which pages of an image a workload touched, and which of them it only read. A hint, never a truth: a wrong
 * one costs time, not correctness. It belongs to one image.
 */
export interface WorkingSet {
  /** The image that the pages belong to. */
  readonly image: ImageId
  /** Pages of the image. */
  readonly pages: number
  /** Milliseconds since 1970, UTC. */
  readonly recordedAtMs: number
  /** How long the recording took. */
  readonly windowMs: number
  /** Present − written. */
  readonly readOnly: PageSet
  /** Pages that were written. */
  readonly written: PageSet
  /**
   * In the order of first touch, coarsely: disjoint, none empty, together a subset of `readOnly` and
   * `written`; their times do not fall.
   */
  readonly groups: readonly WorkingSetGroup[]
  /** How it was recorded, as JSON. */
  readonly notes: Readonly<Record<string, Json>>
}

/** Has `console.log` print a set as one line: it holds thousands of runs. */
export const withWorkingSetLine = (workingSet: WorkingSet): WorkingSet =>
  withLine(
    workingSet,
    ({ image, pages, readOnly, written, groups }) =>
      `WorkingSet of ${image.slice(0, 12)} (${readOnly.pages} pages read, ${written.pages} written, of ${pages}; ${groups.length} groups)`,
  )

/** Every page that was touched. */
export function presentPages({ readOnly, written }: Pick<WorkingSet, 'readOnly' | 'written'>): PageSet {
  return union(readOnly, written)
}

/** Every page, those that were touched first coming first; those in no group come last. */
export function touchOrder(workingSet: WorkingSet): PackOrder {
  const groups = workingSet.groups.map(({ set }) => set)
  const rest = minus(presentPages(workingSet), unionAll(groups))
  return rest.pages === 0 ? groups : [...groups, rest]
}

/** The part of a working set that a fault lies in: a field, or a group by its number. */
export type WorkingSetPart = keyof WorkingSet | number

/**
 * Checks what the type cannot say. `fail` makes the error, so that a reader of files can name the byte;
 * without it a fault is INVALID_ARGUMENT.
 */
export function checkWorkingSet(
  workingSet: WorkingSet,
  fail: (part: WorkingSetPart, detail: string) => VarveError = invalidArgument,
): void {
  const { image, pages, recordedAtMs, windowMs, readOnly, written, groups, notes } = workingSet
  if (!Number.isInteger(pages) || pages < 1 || pages > imagePagesLimit)
    throw fail('pages', `${pages} image pages, not 1 to 2^32 - 2`)
  if (!/^[0-9a-f]{32}$/.test(image) || /^0+$/.test(image))
    throw fail('image', `image "${image}" is not 32 lower-case hexadecimal digits, or all zero`)
  for (const [part, ms] of [
    ['recordedAtMs', recordedAtMs],
    ['windowMs', windowMs],
  ] as const)
    if (!isTime(ms)) throw fail(part, `${ms} ms is not a whole number below 2^53`)
  for (const [part, set] of [
    ['readOnly', readOnly],
    ['written', written],
  ] as const)
    if (endOf(set) > pages) throw fail(part, `page ${endOf(set) - 1} is behind the image's ${pages} pages`)
  const both = intersect(readOnly, written)
  if (both.pages > 0) throw fail('written', `page ${both.starts[0]} is read-only as well as written`)
  checkGroups(groups, presentPages(workingSet), fail)
  if (isDeeperThan(maxNotesDepth, notes)) throw fail('notes', `notes more than ${maxNotesDepth} levels deep`)
}

function checkGroups(
  groups: readonly WorkingSetGroup[],
  present: PageSet,
  fail: (part: WorkingSetPart, detail: string) => VarveError,
): void {
  if (groups.length > maxGroups) throw fail('groups', `${groups.length} groups, more than ${maxGroups}`)
  let before = 0
  let sum = 0
  for (const [number, { atMs, set }] of groups.entries()) {
    if (!isTime(atMs)) throw fail(number, `group ${number}: ${atMs} ms is not a whole number below 2^53`)
    if (atMs < before) throw fail(number, `group ${number} is of ${atMs} ms, the one before of ${before}`)
    if (set.pages === 0) throw fail(number, `group ${number} is empty`)
    before = atMs
    sum += set.pages
  }
  const all = unionAll(groups.map(({ set }) => set))
  if (all.pages === sum && minus(all, present).pages === 0) return
  // Which one it is, and where, is looked for only now: pairs of sets cost a pass each.
  let seen: PageSet | undefined
  for (const [number, { set }] of groups.entries()) {
    const outside = minus(set, present)
    if (outside.pages > 0)
      throw fail(number, `group ${number}: page ${outside.starts[0]} is neither read-only nor written`)
    const twice = seen === undefined ? undefined : intersect(set, seen)
    if (twice !== undefined && twice.pages > 0)
      throw fail(number, `group ${number}: page ${twice.starts[0]} is in an earlier group too`)
    seen = seen === undefined ? set : union(seen, set)
  }
}

/** The name itself; INVALID_ARGUMENT for what cannot be one. */
export function assertWorkingSetName(name: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `working set name ${JSON.stringify(name)} is not 1–64 of A–Z, a–z, 0–9, '.', '_', '-'`,
    )
  return name
}

/** IMAGE_MISMATCH unless the working set was recorded on this image. `pages` is the image's size. */
export function assertWorkingSetOf(workingSet: WorkingSet, image: ImageId, pages: number): void {
  if (workingSet.image !== image)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `the working set was recorded on image ${workingSet.image}, this is image ${image}`,
      {
        remedy: 'record one on this image; or translate it, if this image descends from that one',
        details: { workingSetImage: workingSet.image, image },
      },
    )
  if (workingSet.pages !== pages)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `the working set is of ${workingSet.pages} pages, image ${image} has ${pages}`,
      { details: { workingSetPages: workingSet.pages, imagePages: pages } },
    )
}

const isTime = (ms: number): boolean => Number.isSafeInteger(ms) && ms >= 0

/** One behind the last page. */
export function endOf({ starts, counts }: PageSet): number {
  const last = starts.length - 1
  return last < 0 ? 0 : (starts[last] as number) + (counts[last] as number)
}

/** Stops at the first place that is too deep, so that a cycle ends too. */
function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((inner) => isDeeperThan(levels - 1, inner))
}

function invalidArgument(part: WorkingSetPart, detail: string): VarveError {
  return new VarveError('INVALID_ARGUMENT', `working set: ${detail}`, {
    details: { part: typeof part === 'number' ? `groups[${part}]` : part },
  })
}
