import { closeSync, openSync, readSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { pageSetFromRuns } from '../memory/make-page-set.js'
import type { PageSet } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { dataExtents } from '../sys/extents.js'
import { type WritableFile, writeAt } from '../sys/mutations.js'
import { chunkPages, chunksOf } from './chunks.js'

/** A Diff of Firecracker's own, of pages that its devices have written. */
export interface DeviceDiff {
  /** Open, because the file is removed before all is written. */
  readonly fd: number
  readonly pages: PageSet
}

export function dataPagesOf(path: string, pages: number): PageSet {
  const fd = openSync(path, 'r')
  try {
    const extents = [...dataExtents(fd, pages * pageSizeBytes)]
    return pageSetFromRuns(
      extents.map(({ startBytes, endBytes }) => ({
        start: startBytes / pageSizeBytes,
        count: (endBytes - startBytes) / pageSizeBytes,
      })),
    )
  } finally {
    closeSync(fd)
  }
}

/** What Firecracker's devices wrote, as Firecracker wrote it down. Gives how many pages. */
export function copyDiff({ fd, pages }: DeviceDiff, file: WritableFile): number {
  const buffer = Buffer.allocUnsafe(chunkPages * pageSizeBytes)
  for (const { start, count } of chunksOf(pages)) {
    const bytes = buffer.subarray(0, count * pageSizeBytes)
    if (readSync(fd, bytes, 0, bytes.length, start * pageSizeBytes) !== bytes.length)
      throw new VarveError('IMAGE_MISMATCH', 'the Diff of Firecracker has become shorter')
    writeAt(file, bytes, start * pageSizeBytes)
  }
  return pages.pages
}
