import { closeSync, constants, openSync } from 'node:fs'
import { imagePages, pagesFrom, zeroSource } from '../../layer/extent-map.js'
import type { LayerFile } from '../../layer/layer-types.js'
import { emptyPageSet, type PageSet } from '../../memory/page-set.js'
import { intersect, unionAll } from '../../memory/page-set-algebra.js'
import { residentOfSet } from '../../memory/residency.js'
import { canSeeResidency } from '../../sys/mincore.js'
import type { MappableImage } from './mappable-image.js'
import { pagesByLayer } from './pages-by-layer.js'

/**
 * Which of some pages of an image can be brought in without a disk: those in the page cache, and zeros. A layer of which this
 * user may not see that counts as not there.
 */
export async function residentOf({ map, layers }: MappableImage, set: PageSet): Promise<PageSet> {
  const stored = pagesByLayer(map, layers.length, set)
  const found = await Promise.all(
    layers.map(async (file, layer) =>
      imagePages(map, layer, await residentIn(file, stored[layer] as PageSet)),
    ),
  )
  return intersect(set, unionAll([...found, pagesFrom(map, zeroSource)]))
}

async function residentIn({ path }: LayerFile, stored: PageSet): Promise<PageSet> {
  if (stored.pages === 0 || !(await canSeeResidency(path))) return emptyPageSet
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    return residentOfSet(fd, stored)
  } finally {
    closeSync(fd)
  }
}
