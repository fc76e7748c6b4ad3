import { pageServerClient } from '../../../page-server/client/page-server-client.js'
import type { Engine } from '../../engine.js'

/** What a VM has used whose faults a page server answers: the page server's own counts. */
export const usageByPageServer: Engine['usage'] = async (
  { directory },
  { memoryPages, prefetch },
  { signal },
) => {
  const server = pageServerClient(directory, memoryPages)
  const served = prefetch && (await server.prefetched({ signal }))
  return {
    pageServer: await server.stats({ signal }),
    prefetchReadBytes: served?.readBytes ?? prefetch?.readBytes ?? null,
    unused: served && prefetch && { atLeast: 0, atMost: Math.min(prefetch.pages, served.copiedPages) },
  }
}
