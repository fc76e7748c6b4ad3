import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { emptyPageSet, type PageSet, runsOf } from '../memory/page-set.js'
import { mergeGaps, minus, unionAll } from '../memory/page-set-algebra.js'
import { residentOfSet } from '../memory/residency.js'
import { pageSizeBytes } from '../memory/units.js'
import { adviseWillNeed } from '../sys/fadvise.js'
import { canSeeResidency } from '../sys/mincore.js'

/** 128 KiB, the kernel's own read-ahead size; larger ones are cut there. */
const requestPages = 32
/** A gap this long costs less to read than another request does. */
const gapPages = 8
/** Submitting a request takes some µs, more where the disk's queue is full; others get their turn this often. */
const sliceMs = 2
/** Reads that bring nothing for so long have failed, or are not worth waiting for. */
const patienceMs = 250
const lookEveryMs = 1

export interface FilledPageCache {
  /** Pages asked for that were not in the page cache, with gaps that were read along. */
  readonly pages: number
  readonly requests: number
}

/**
 * Reads pages of a flat memory file into the page cache, set after set, ascending within each, many requests in flight. Resolves
 * when they are there. Nothing is asked for what is there already, as far as this user may see that.
 */
export async function fillPageCache(
  path: string,
  sets: readonly PageSet[],
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<FilledPageCache> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  const { fd } = handle
  const seen = await canSeeResidency(path)
  const resident = seen ? residentOfSet(fd, unionAll(sets)) : emptyPageSet
  const wanted = sets.map((set) => mergeGaps(minus(set, resident), gapPages))
  let [pages, requests] = [0, 0]
  let sliceBegan = performance.now()
  for (const set of wanted)
    for (const { start, count } of runsOf(set))
      for (let done = 0; done < count; done += requestPages) {
        const length = Math.min(requestPages, count - done)
        adviseWillNeed(fd, (start + done) * pageSizeBytes, length * pageSizeBytes)
        pages += length
        requests++
        if (performance.now() - sliceBegan < sliceMs) continue
        await nextTurn()
        throwIfAborted(signal, path)
        sliceBegan = performance.now()
      }
  if (seen) await arrival(fd, unionAll(wanted), signal, path)
  return { pages, requests }
}

/** Until all of it is in the page cache, or nothing more comes. */
async function arrival(
  fd: number,
  wanted: PageSet,
  signal: AbortSignal | undefined,
  path: string,
): Promise<void> {
  let missing = wanted
  for (let since = performance.now(); missing.pages > 0 && performance.now() - since < patienceMs; ) {
    const left = minus(missing, residentOfSet(fd, missing))
    if (left.pages < missing.pages) since = performance.now()
    missing = left
    if (missing.pages > 0) await sleep(lookEveryMs)
    throwIfAborted(signal, path)
  }
}
