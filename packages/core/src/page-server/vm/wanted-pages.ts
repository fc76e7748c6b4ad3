import { closeSync, openSync, readSync } from 'node:fs'
import { setImmediate as breathe } from 'node:timers/promises'
import { VarveError } from '../../errors.js'
import { type ExtentMap, lookupPage, zeroSource } from '../../layer/extent-map.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { emptyBitmap, type PageBitmap, pageSetFromBitmap } from '../../memory/page-bitmap.js'
import { pagesOf } from '../../memory/page-set.js'
import { pageSizeBytes } from '../../memory/units.js'

/** Some 5 µs a page: the main thread has other things to do, too, within this. */
const pagesInATurn = 256

interface ServedMemory {
  readonly pid: number
  readonly regions: readonly MappedRegion[]
  readonly map: ExtentMap
  readonly layers: readonly { readonly path: string }[]
}

/**
 * Which of `pages` hold something else in the VM's memory than in the image. Must not run on the
 * thread that answers faults: a page may be missing again by now. HOST_UNSUPPORTED if this
 * process may not look (ptrace(2)).
 */
export async function changedPages(memory: ServedMemory, pages: PageBitmap): Promise<PageBitmap> {
  const changed = emptyBitmap(0, memory.map.pages)
  const set = pageSetFromBitmap(pages)
  if (set.pages === 0) return changed
  const opened = new Map<number, number>()
  const inMemory = Buffer.alloc(pageSizeBytes)
  const inImage = Buffer.alloc(pageSizeBytes)
  const fd = openMemory(memory.pid)
  try {
    let count = 0
    for (const page of pagesOf(set)) {
      if (count++ % pagesInATurn === 0) await breathe()
      readPage(fd, addressOf(memory.regions, page), inMemory, `memory of process ${memory.pid}`)
      const { source, storedPage } = lookupPage(memory.map, page)
      if (source === zeroSource) inImage.fill(0)
      else {
        const { path } = memory.layers[source] as { path: string }
        const layer = opened.get(source) ?? openSync(path, 'r')
        opened.set(source, layer)
        readPage(layer, storedPage * pageSizeBytes, inImage, path)
      }
      if (!inMemory.equals(inImage))
        changed.words[page >>> 5] = (changed.words[page >>> 5] as number) | (1 << (page & 31))
    }
  } finally {
    for (const open of [fd, ...opened.values()]) closeSync(open)
  }
  return changed
}

function openMemory(pid: number): number {
  try {
    return openSync(`/proc/${pid}/mem`, 'r')
  } catch (cause) {
    throw new VarveError('HOST_UNSUPPORTED', `cannot look into process ${pid}: ${(cause as Error).message}`, {
      remedy: 'be root, or the user that the VMM runs as',
      cause,
    })
  }
}

/** The kernel reads: a file that was cut off, or memory that is gone, is an error here and no signal. */
function readPage(fd: number, position: number, into: Buffer, what: string): void {
  const bytes = readSync(fd, into, 0, pageSizeBytes, position)
  if (bytes !== pageSizeBytes)
    throw new VarveError('IMAGE_MISMATCH', `${what} ends at byte ${position + bytes}`)
}

function addressOf(regions: readonly MappedRegion[], page: number): number {
  const region = regions.find(({ firstPage, pages }) => page >= firstPage && page < firstPage + pages)
  if (region === undefined) throw new VarveError('PAGE_SERVER_PROTOCOL', `page ${page} lies in no region`)
  return region.address + (page - region.firstPage) * pageSizeBytes
}
