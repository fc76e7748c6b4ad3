import type { PageSet } from '../../memory/page-set.js'
import type { PrefetchReport } from '../prefetch.js'
import { fillPageCache } from './fill-page-cache.js'

/** Pages of one file, set after set in the order in which they are to come. */
export interface WarmedFile {
  readonly path: string
  readonly sets: readonly PageSet[]
}

/** Fills the page cache from several files at once. Never rejects: what failed is in the report. */
export async function warmFiles(
  files: readonly WarmedFile[],
  signal: AbortSignal | undefined,
): Promise<PrefetchReport> {
  const from = performance.now()
  const outcomes = await Promise.allSettled(
    files.map(({ path, sets }) => fillPageCache(path, sets, { signal })),
  )
  let [pages, requests] = [0, 0]
  let failure: string | null = null
  for (const outcome of outcomes)
    if (outcome.status === 'fulfilled') {
      pages += outcome.value.pages
      requests += outcome.value.requests
    } else failure ??= (outcome.reason as Error).message
  return { pages, requests, ms: performance.now() - from, failure }
}
