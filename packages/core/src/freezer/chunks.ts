import { type PageRun, type PageSet, runsOf } from '../memory/page-set.js'

/** Pages a read and write: 2 MiB. */
export const chunkPages = 512

/** The pages as runs of at most `chunkPages`. */
export function* chunksOf(pages: PageSet): Generator<PageRun> {
  for (const { start, count } of runsOf(pages))
    for (let from = start; from < start + count; from += chunkPages)
      yield { start: from, count: Math.min(chunkPages, start + count - from) }
}
