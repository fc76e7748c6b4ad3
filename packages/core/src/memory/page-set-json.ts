import { VarveError } from '../errors.js'
import { type PageSet, pageSetLimit } from './page-set.js'

/** `[start, count, start, count, …]`: compact, and a reader can check it in one pass. */
export function pageSetToJson(set: PageSet): number[] {
  const flat = new Array<number>(set.starts.length * 2)
  for (let i = 0; i < set.starts.length; i++) {
    flat[2 * i] = set.starts[i] as number
    flat[2 * i + 1] = set.counts[i] as number
  }
  return flat
}

/**
 * Reads what `pageSetToJson` wrote, from a file that may say anything: only the one canonical form of a set
 * within [0, pages) passes, all else is FORMAT_INVALID. `what` names the thing in the message.
 */
export function pageSetFromJson(value: unknown, pages: number, what: string): PageSet {
  if (!Array.isArray(value) || value.length % 2 !== 0)
    throw new VarveError('FORMAT_INVALID', `${what} is not a list of start and count pairs`)
  const flat: readonly unknown[] = value
  const limit = Math.min(pages, pageSetLimit)
  const starts = new Uint32Array(flat.length / 2)
  const counts = new Uint32Array(flat.length / 2)
  let total = 0
  let previousEnd = -1
  for (let i = 0; i < starts.length; i++) {
    const start = flat[2 * i]
    const count = flat[2 * i + 1]
    if (
      typeof start !== 'number' ||
      typeof count !== 'number' ||
      !Number.isInteger(start) ||
      // JSON has a minus zero, which is not the canonical one.
      Object.is(start, -0) ||
      !Number.isInteger(count) ||
      start <= previousEnd ||
      count < 1 ||
      start + count > limit
    )
      throw new VarveError(
        'FORMAT_INVALID',
        `${what}: run ${i} (${String(start)}+${String(count)}) is not an ascending, separate run within ${pages} pages`,
      )
    starts[i] = start
    counts[i] = count
    total += count
    previousEnd = start + count
  }
  return { starts, counts, pages: total }
}
