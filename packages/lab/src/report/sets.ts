import { type ErrorCode, isVarveError, VarveError } from 'varve'
import {
  classify,
  jaccard,
  type PageSet,
  pageSetFromRuns,
  presentPages,
  type WorkingSet,
  workingSetFromBytes,
} from 'varve/working-sets'
import type { SetRow } from '../experiments/rows.js'
import { groupMapPng, heatMapPng } from '../pictures/heat-map-png.js'

/** A pixel a page up to 1 GiB of guest; then as many pages a pixel as keep a picture within 512 × 512. */
const [columns, mostRows] = [512, 512]
/** More pictures than this make a page too heavy to open. */
export const mostPictures = 16
/** A matrix beyond this is not read any more. */
export const mostCompared = 40

export interface RecordedSet {
  readonly name: string
  readonly workingSet: WorkingSet
  readonly present: PageSet
  readonly zero: PageSet
}

/** The recorded sets of a file. FORMAT_INVALID names the one that is none. */
export function recordedSets(rows: readonly SetRow[]): RecordedSet[] {
  return rows.map(({ name, workingSet: base64, zero }) => {
    try {
      const workingSet = workingSetFromBytes(Buffer.from(base64, 'base64'), name)
      const zeros = pageSetFromRuns(zero.map(([start, count]) => ({ start, count })))
      const end = zero.at(-1)
      if (end !== undefined && end[0] + end[1] > workingSet.pages)
        throw new VarveError('FORMAT_INVALID', 'its zero pages lie behind its image')
      return { name, workingSet, present: presentPages(workingSet), zero: zeros }
    } catch (cause) {
      const code: ErrorCode = isVarveError(cause) ? cause.code : 'FORMAT_INVALID'
      throw new VarveError(code, `set ${name}: ${(cause as Error).message}`, { cause })
    }
  })
}

export function classPicture({ workingSet, present, zero }: RecordedSet): Buffer {
  const { pages, written } = workingSet
  return heatMapPng(classify({ present, written, zero, pages }), pictureSize(pages))
}

export const timePicture = ({ workingSet }: RecordedSet): Buffer =>
  groupMapPng(workingSet, pictureSize(workingSet.pages))

const pictureSize = (pages: number) => ({
  columns,
  pagesPerPixel: Math.max(1, Math.ceil(pages / (columns * mostRows))),
})

/** Sets of one image can be compared page by page; a line for each with all of its image. */
export function overlaps(
  sets: readonly RecordedSet[],
): readonly { readonly names: readonly string[]; readonly jaccard: readonly (readonly number[])[] }[] {
  const images = new Map<string, RecordedSet[]>()
  for (const set of sets) images.set(set.workingSet.image, [...(images.get(set.workingSet.image) ?? []), set])
  return [...images.values()]
    .filter((of) => of.length > 1)
    .map((of) => of.slice(0, mostCompared))
    .map((of) => ({
      names: of.map(({ name }) => name),
      jaccard: of.map((a) => of.map((b) => jaccard(a.present, b.present))),
    }))
}
