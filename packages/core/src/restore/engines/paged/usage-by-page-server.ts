import { pageServerClient } from '../../../page-server/client/page-server-client.js'
import type { Engine } from '../../engine.js'

/** What a VM has used whose faults a page server answers: the page server's own counts. */
export const usageByPageServer: Engine['usage'] = async (
  { directory },
  { memoryPages, prefetched },
  { signal },
) => {
  const server = pageServerClient(directory, memoryPages)
  const served = prefetched && (await server.prefetched({ signal }))
  return {
    pageServer: await server.stats({ signal }),
    prefetchReadBytes: served?.readBytes ?? prefetched?.readBytes ?? null,
    unused: served && prefetched && { atLeast: 0, atMost: Math.min(prefetched.pages, served.copiedPages) },
  }
}
