import { VarveError } from '../errors.js'
import { type ExtentMap, zeroSource } from '../layer/extent-map.js'
import type { ImageId } from '../layer/layer-types.js'
import type { PageSet } from '../memory/page-set.js'
import { intersect } from '../memory/page-set-algebra.js'
import { RunBuilder } from '../memory/run-builder.js'
import { assertWorkingSetOf, type WorkingSet, withWorkingSetLine } from './working-set.js'

/** An image and where its pages come from. */
export interface ImagePlaces {
  /** The image's id. */
  readonly image: ImageId
  /** Where each of its pages comes from. */
  readonly map: ExtentMap
  /**
   * A name for the file of each source of the map, the same for the same file in both
   * images: its digest or its path.
   */
  readonly layers: readonly string[]
}

/** A working set for another image, and what did not fit. */
export interface TranslatedWorkingSet {
  /** The set for the new image. */
  readonly workingSet: WorkingSet
  /** Pages of the old set that the new image has other content for, or has it elsewhere. */
  readonly droppedReadOnlyPages: number
  /** Written pages that were left out. */
  readonly droppedWrittenPages: number
}

/**
 * The working set for another image, usually a child of its own: a page stays where both images take
 * it from the same page of the same file, or have it as zero. All else is dropped and counted.
 * Groups stay in order; those without a page left are gone. IMAGE_MISMATCH if the set is not of
 * `from`, or the images differ in size.
 */
export function translateWorkingSet(
  workingSet: WorkingSet,
  from: ImagePlaces,
  to: ImagePlaces,
): TranslatedWorkingSet {
  assertWorkingSetOf(workingSet, from.image, from.map.pages)
  const same = samePlaces(from, to)
  const readOnly = intersect(workingSet.readOnly, same)
  const written = intersect(workingSet.written, same)
  return {
    workingSet: withWorkingSetLine({
      ...workingSet,
      image: to.image,
      readOnly,
      written,
      groups: workingSet.groups
        .map(({ atMs, set }) => ({ atMs, set: intersect(set, same) }))
        .filter(({ set }) => set.pages > 0),
    }),
    droppedReadOnlyPages: workingSet.readOnly.pages - readOnly.pages,
    droppedWrittenPages: workingSet.written.pages - written.pages,
  }
}

/** The pages that two images take from the same page of the same file, or both have as zero. */
function samePlaces(a: ImagePlaces, b: ImagePlaces): PageSet {
  const { pages } = a.map
  if (b.map.pages !== pages)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `image ${a.image} has ${pages} pages, image ${b.image} has ${b.map.pages}`,
    )
  const same = new RunBuilder()
  let i = 0
  let j = 0
  for (let page = 0; page < pages; ) {
    const iEnd = endOfRun(a.map, i)
    const jEnd = endOfRun(b.map, j)
    const end = Math.min(iEnd, jEnd)
    if (isSamePlace(a, i, b, j)) same.add(page, end - page)
    page = end
    if (iEnd === end) i++
    if (jEnd === end) j++
  }
  return same.finish()
}

/** Whether two runs that overlap take the pages of the overlap from one place. */
function isSamePlace(a: ImagePlaces, i: number, b: ImagePlaces, j: number): boolean {
  const left = a.map.sources[i] as number
  const right = b.map.sources[j] as number
  if (left === zeroSource || right === zeroSource) return left === right
  // The distance from image page to stored page is the same all over a run.
  return nameOf(a, left) === nameOf(b, right) && shiftOf(a.map, i) === shiftOf(b.map, j)
}

function nameOf({ image, layers }: ImagePlaces, source: number): string {
  const name = layers[source]
  if (name === undefined)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `the extent map of image ${image} names layer ${source} of ${layers.length}`,
    )
  return name
}

const endOfRun = ({ starts, counts }: ExtentMap, run: number): number =>
  (starts[run] as number) + (counts[run] as number)

const shiftOf = ({ starts, storedStarts }: ExtentMap, run: number): number =>
  (storedStarts[run] as number) - (starts[run] as number)
