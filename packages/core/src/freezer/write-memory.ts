import { type ExtentMap, pagesFrom, zeroSource } from '../layer/extent-map.js'
import { openImage } from '../layer/image-reader.js'
import { isZeroPage } from '../layer/zero-pages.js'
import { tooManyCopies } from '../memory/frozen-copies.js'
import { forEachStretch, type MappedRegion } from '../memory/mapped-region.js'
import type { PageRun, PageSet } from '../memory/page-set.js'
import { complement, minus } from '../memory/page-set-algebra.js'
import { pageSizeBytes } from '../memory/units.js'
import { createFile, removeFile, truncate, type WritableFile, writeAt } from '../sys/mutations.js'
import type { ProcessIdentity } from '../sys/proc.js'
import { chunkPages, chunksOf } from './chunks.js'
import { copyDiff, type DeviceDiff } from './device-diff.js'
import type { WriteOrder } from './freeze-protocol.js'
import type { FrozenMemory } from './frozen-memory.js'
import type { MemorySource } from './pages-copy.js'

const lookEveryMs = 200

interface TakenMemory {
  readonly vmm: ProcessIdentity
  readonly regions: readonly MappedRegion[]
  readonly memoryPages: number
  /** What holds the memory, unless it was copied. */
  readonly frozen: FrozenMemory | undefined
  readonly taken: PageSet
  readonly source: MemorySource
  readonly diff: DeviceDiff | undefined
}

/** Writes what was taken, at its places in a memory file. Gives how many pages have data. */
export async function writeMemory(
  { vmm, regions, memoryPages, frozen, taken, source, diff }: TakenMemory,
  { path, kind, image, mostCopiedBytes }: WriteOrder,
  onProgress: (pages: number, copiedBytes: number) => void,
): Promise<number> {
  const file = await createFile(path)
  try {
    await using _close = file
    truncate(file, memoryPages * pageSizeBytes)
    await using below = image === null ? undefined : await openImage(image)
    const buffer = Buffer.allocUnsafe(chunkPages * pageSizeBytes)
    const before = kind === 'diff' && below !== undefined ? Buffer.allocUnsafe(buffer.length) : undefined
    const isAsBefore: Test = (pages, at) =>
      pages.compare(before as Buffer, at, at + pageSizeBytes, at, at + pageSizeBytes) === 0
    const leaveOut = kind === 'base' ? isZeroPage : before === undefined ? nothing : isAsBefore
    let [done, data, looked] = [0, 0, Number.NEGATIVE_INFINITY]
    const add = (run: PageRun, bytes: Buffer) => {
      data += writeBut(leaveOut, file, run, bytes)
      done += run.count
      if (performance.now() - looked < lookEveryMs) return
      looked = performance.now()
      const copiedBytes = frozen?.copiedBytes ?? 0
      onProgress(done, copiedBytes)
      const remedy = 'capture when the guest writes less, give the host more memory, or use mode stop'
      const error = tooManyCopies(vmm, copiedBytes, mostCopiedBytes, remedy)
      if (error !== undefined) throw error
    }
    for (const run of chunksOf(taken)) {
      const bytes = buffer.subarray(0, run.count * pageSizeBytes)
      let at = 0
      forEachStretch(regions, run.start, run.count, (address, length) => {
        source(address, bytes.subarray(at, at + length))
        at += length
      })
      if (before !== undefined) await below?.read(run.start, before.subarray(0, bytes.length))
      add(run, bytes)
    }
    if (diff !== undefined) data += copyDiff(diff, file)
    frozen?.assertWhole()
    if (kind === 'base' && below !== undefined)
      for (const run of chunksOf(notCome(taken, below.map))) {
        const bytes = buffer.subarray(0, run.count * pageSizeBytes)
        await below.read(run.start, bytes)
        add(run, bytes)
      }
    return data
  } catch (error) {
    await removeFile(path)
    throw error
  }
}

/** What the image has, and the VM has not got yet. */
const notCome = (taken: PageSet, map: ExtentMap): PageSet =>
  minus(complement(taken, map.pages), pagesFrom(map, zeroSource))

type Test = (pages: Buffer, offset: number) => boolean
const nothing: Test = () => false

/** All but the pages for which `leaveOut` holds; gives how many. */
function writeBut(leaveOut: Test, file: WritableFile, { start, count }: PageRun, bytes: Buffer): number {
  let written = 0
  for (let page = 0; page < count; ) {
    const out = leaveOut(bytes, page * pageSizeBytes)
    const from = page++
    while (page < count && leaveOut(bytes, page * pageSizeBytes) === out) page++
    if (out) continue
    writeAt(file, bytes.subarray(from * pageSizeBytes, page * pageSizeBytes), (start + from) * pageSizeBytes)
    written += page - from
  }
  return written
}
