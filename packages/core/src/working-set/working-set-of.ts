import { VarveError } from '../errors.js'
import type { ImageId } from '../layer/layer-types.js'
import { classify } from '../memory/classes.js'
import { emptyPageSet, type PageSet } from '../memory/page-set.js'
import { clip } from '../memory/page-set-algebra.js'
import type { RecordedPages } from './recording.js'
import { checkWorkingSet, type Json, type WorkingSet, withWorkingSetLine } from './working-set.js'

/** What a working set needs besides what was recorded. */
export interface WorkingSetOfOptions {
  /** The image that the VM was restored from, and its pages. */
  readonly image: ImageId
  /** Pages of the image. */
  readonly pages: number
  /** Goes into the notes as it is: what the guest did, say. Names that this function uses itself win. */
  readonly notes?: Readonly<Record<string, Json>>
}

/**
 * The working set of one run from what one or several recorders saw of it: present pages and groups from the
 * first that tells them, written pages from the first that tells those, read-only = present − written.
 * INVALID_ARGUMENT if no recorder can tell one of the two: a set without written pages would have pages
 * copied that are shared, or shared that are copied.
 */
export function workingSetOf(
  recorded: readonly RecordedPages[],
  { image, pages, notes = {} }: WorkingSetOfOptions,
): WorkingSet {
  const present = firstThatTells('present', recorded)
  const written = firstThatTells('written', recorded)
  const { sets } = classify({
    present: present.present as PageSet,
    written: written.written as PageSet,
    zero: emptyPageSet,
    pages,
  })
  const workingSet: WorkingSet = {
    image,
    pages,
    recordedAtMs: present.recordedAtMs,
    windowMs: present.windowMs,
    readOnly: sets['read-only'],
    written: sets.written,
    groups: present.groups
      .map(({ atMs, set }) => ({ atMs, set: clip(set, 0, pages) }))
      .filter(({ set }) => set.pages > 0),
    notes: {
      ...notes,
      recorders: { present: present.recorder, written: written.recorder },
      exact: { present: present.exact.present, written: written.exact.written },
      endedBy: present.endedBy,
      how: Object.fromEntries([present, written].map((it) => [it.recorder, it.notes])),
    },
  }
  checkWorkingSet(workingSet)
  return withWorkingSetLine(workingSet)
}

function firstThatTells(what: 'present' | 'written', recorded: readonly RecordedPages[]): RecordedPages {
  const found = recorded.find((it) => it[what] !== null)
  if (found !== undefined) return found
  const names = recorded.map(({ recorder }) => recorder).join(' and ') || 'no recorder'
  throw new VarveError('INVALID_ARGUMENT', `${names} cannot tell which pages were ${what}`, {
    remedy: `also record with one that finds ${what} pages: ${what === 'present' ? 'mincore, pagemap or faults' : 'diff, pagemap or faults'}`,
  })
}
