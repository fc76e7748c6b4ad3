import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { type PageSet, runsOf } from '../memory/page-set.js'
import { mergeGaps } from '../memory/page-set-algebra.js'
import { pageSizeBytes } from '../memory/units.js'
import { startReading } from '../sys/fadvise.js'

/** 128 KiB, the kernel's own read-ahead size; larger ones are cut there. */
const requestPages = 32
/** A gap this long costs less to read than another request does. */
const gapPages = 8
/** koffi runs as many calls at a time; a disk's queue takes more. */
const inFlight = 4

export interface FilledPageCache {
  /** Pages asked for: with gaps that were read along. */
  readonly pages: number
  readonly requests: number
}

/**
 * Reads pages of a flat memory file into the page cache, set after set, ascending within each. Resolves when they are there, as
 * far as can be told: the last page of each request is waited for.
 */
export async function fillPageCache(
  path: string,
  sets: readonly PageSet[],
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<FilledPageCache> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  const requests = sets.flatMap((set) => [...requestsOf(set)])
  let next = 0
  const work = async (): Promise<void> => {
    for (;;) {
      const request = requests[next++]
      if (request === undefined) return
      throwIfAborted(signal, path)
      await startReading(handle.fd, request.start * pageSizeBytes, request.count * pageSizeBytes)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, work))
  const byte = Buffer.alloc(1)
  for (const { start, count } of requests) {
    throwIfAborted(signal, path)
    await handle.read(byte, 0, 1, (start + count) * pageSizeBytes - 1)
  }
  return { pages: requests.reduce((sum, { count }) => sum + count, 0), requests: requests.length }
}

function* requestsOf(set: PageSet): Generator<{ readonly start: number; readonly count: number }> {
  for (const { start, count } of runsOf(mergeGaps(set, gapPages)))
    for (let done = 0; done < count; done += requestPages)
      yield { start: start + done, count: Math.min(requestPages, count - done) }
}
