import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { throwIfAborted } from '../../layer/throw-if-aborted.js'
import { emptyPageSet, type PageSet, runsOf } from '../../memory/page-set.js'
import { clip, mergeGaps, minus, unionAll } from '../../memory/page-set-algebra.js'
import { residentBeside } from '../../memory/residency.js'
import { pageSizeBytes } from '../../memory/units.js'
import { canSeeResidency, openResidency, type Residency } from '../../sys/mincore.js'
import { type ByteRange, submitReads } from '../../sys/will-need.js'
import { withNeighbours } from './with-neighbours.js'

/** 128 KiB, the kernel's own read-ahead size; larger ones are cut there. */
const requestPages = 32
/** A gap this long costs less to read than another request does. */
const gapPages = 8
/** Reads that bring nothing for so long have failed, or are not worth waiting for. */
const patienceMs = 250
const lookEveryMs = 2

interface FilledPageCache {
  /** Pages asked for that were not in the page cache, with gaps that were read along. */
  readonly pages: number
  readonly requests: number
}

/**
 * Reads pages of a flat memory file into the page cache, set after set, ascending within each, many requests
 * in flight; pages of later sets come along with their neighbours. Resolves when they are there. Nothing is
 * asked for what is there already, as far as this user may see that.
 */
export async function fillPageCache(
  path: string,
  sets: readonly PageSet[],
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<FilledPageCache> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  const { fd } = handle
  using residency = openResidency(fd)
  const seen = canSeeResidency(path)
  const resident = seen ? await residentBeside(residency, unionAll(sets)) : emptyPageSet
  const missing = sets.map((set) => minus(set, resident))
  const wanted = withNeighbours(missing, requestPages).map((set) => mergeGaps(set, gapPages))
  const requests = wanted.flatMap(requestsFor)
  await submitReads(fd, requests, () => throwIfAborted(signal, path))
  if (seen) await arrival(residency, unionAll(wanted), () => throwIfAborted(signal, path))
  return { pages: wanted.reduce((sum, { pages }) => sum + pages, 0), requests: requests.length }
}

function requestsFor(set: PageSet): ByteRange[] {
  const requests: ByteRange[] = []
  for (const { start, count } of runsOf(set))
    for (let done = 0; done < count; done += requestPages)
      requests.push({
        offsetBytes: (start + done) * pageSizeBytes,
        lengthBytes: Math.min(requestPages, count - done) * pageSizeBytes,
      })
  return requests
}

/** Until all of it is in the page cache, or nothing more comes. */
async function arrival(residency: Residency, wanted: PageSet, goOn: () => void): Promise<void> {
  let missing = clip(wanted, 0, residency.pages)
  for (let since = performance.now(); missing.pages > 0 && performance.now() - since < patienceMs; ) {
    const left = minus(missing, await residentBeside(residency, missing))
    if (left.pages < missing.pages) since = performance.now()
    missing = left
    if (missing.pages > 0) await sleep(lookEveryMs)
    goOn()
  }
}
