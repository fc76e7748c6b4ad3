import { closeSync, constants, openSync } from 'node:fs'
import { pagesFrom, zeroSource } from '../../layer/extent-map.js'
import type { LayerFile } from '../../layer/layer-types.js'
import { type PageRun, type PageSet, pageSetFromRuns } from '../../memory/page-set.js'
import { intersect, union } from '../../memory/page-set-algebra.js'
import { canSeeResidency, residentPages } from '../../sys/mincore.js'
import type { MappableImage } from './mappable-image.js'
import { placesOf } from './pages-by-layer.js'

/**
 * Which of some pages of an image can be brought in without a disk: those in the page cache, and zeros. A layer of which this
 * user may not see that counts as not there.
 */
export async function residentOf({ map, layers }: MappableImage, set: PageSet): Promise<PageSet> {
  const resident = await Promise.all(layers.map(residencyOf))
  const runs: PageRun[] = []
  for (const { source, start, storedStart, count } of placesOf(map, set)) {
    const bytes = resident[source]
    if (bytes === undefined) continue
    for (let i = 0; i < count; i++)
      if (((bytes[storedStart + i] ?? 0) & 1) === 1) runs.push({ start: start + i, count: 1 })
  }
  return union(pageSetFromRuns(runs), intersect(set, pagesFrom(map, zeroSource)))
}

async function residencyOf({ path, storedPages }: LayerFile): Promise<Uint8Array | undefined> {
  if (storedPages === 0 || !(await canSeeResidency(path))) return undefined
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    return residentPages(fd, storedPages)
  } finally {
    closeSync(fd)
  }
}
