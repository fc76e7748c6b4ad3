import { pagesFrom, zeroSource } from '../../../layer/extent-map.js'
import { minus } from '../../../memory/page-set-algebra.js'
import { touchOrder } from '../../../working-set/working-set.js'
import type { Engine } from '../../engine.js'
import { flattenSnapshot } from '../../flat-file.js'
import { warmFiles } from '../../page-cache/warm-files.js'
import { atMost } from '../../prefetch.js'
import { usageByPageTables } from '../../usage/usage-by-page-tables.js'

/** One flat memory file, mapped privately by Firecracker; all clones of a snapshot share its page cache. */
export const fileEngine: Engine = {
  name: 'file',
  usage: usageByPageTables,
  prepareShared: async (snapshot, options) => void (await flattenSnapshot(snapshot, options)),
  prepare: async (snapshot, { toPrefetch, phase, signal, onProgress }) => {
    const { path } = await phase('flatten', () => flattenSnapshot(snapshot, { signal, onProgress }))
    const prepared = {
      memory: { backend: 'File', path },
      files: { files: [{ path, storedPages: snapshot.map.pages }] },
    } as const
    if (toPrefetch === null) return prepared
    // Pages that are zero are holes: nothing is read for them.
    const zero = pagesFrom(snapshot.map, zeroSource)
    const sets = touchOrder(toPrefetch.workingSet).map((set) => minus(set, zero))
    const report = warmFiles([{ path, sets }], signal)
    if (toPrefetch.budgetMs > 0) await phase('prefetch', () => atMost(report, toPrefetch.budgetMs))
    return { ...prepared, prefetch: { report, resumeAfter: false } }
  },
}
