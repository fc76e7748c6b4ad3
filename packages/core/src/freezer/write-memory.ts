import { openImage } from '../layer/image-reader.js'
import { isZeroPage } from '../layer/zero-pages.js'
import { tooManyCopies } from '../memory/frozen-copies.js'
import { forEachStretch, type MappedRegion } from '../memory/mapped-region.js'
import { type PageRun, type PageSet, runsOf } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { createFile, removeFile, truncate, type WritableFile, writeAt } from '../sys/mutations.js'
import type { ProcessIdentity } from '../sys/proc.js'
import { chunkPages } from './chunk-pages.js'
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
  { path, kind, parent, mostCopiedBytes }: WriteOrder,
  onProgress: (pages: number, copiedBytes: number) => void,
): Promise<number> {
  const file = await createFile(path)
  try {
    await using _close = file
    truncate(file, memoryPages * pageSizeBytes)
    await using image = parent === null ? undefined : await openImage(parent)
    const buffer = Buffer.allocUnsafe(chunkPages * pageSizeBytes)
    const before = Buffer.allocUnsafe(image === undefined ? 0 : buffer.length)
    const isAsBefore: Test = (pages, at) =>
      pages.compare(before, at, at + pageSizeBytes, at, at + pageSizeBytes) === 0
    const leaveOut = image !== undefined ? isAsBefore : kind === 'diff' ? nothing : isZeroPage
    let [done, data, looked] = [0, 0, Number.NEGATIVE_INFINITY]
    for (const { start, count } of runsOf(taken))
      for (let from = start; from < start + count; from += chunkPages) {
        const run = { start: from, count: Math.min(chunkPages, start + count - from) }
        const bytes = buffer.subarray(0, run.count * pageSizeBytes)
        let at = 0
        forEachStretch(regions, run.start, run.count, (address, length) => {
          source(address, bytes.subarray(at, at + length))
          at += length
        })
        await image?.read(run.start, before.subarray(0, bytes.length))
        data += writeBut(leaveOut, file, run, bytes)
        done += run.count
        if (performance.now() - looked < lookEveryMs) continue
        looked = performance.now()
        const copiedBytes = frozen?.copiedBytes ?? 0
        onProgress(done, copiedBytes)
        const remedy = 'capture when the guest writes less, give the host more memory, or use mode stop'
        const error = tooManyCopies(vmm, copiedBytes, mostCopiedBytes, remedy)
        if (error !== undefined) throw error
      }
    if (diff !== undefined) data += copyDiff(diff, file)
    frozen?.assertWhole()
    return data
  } catch (error) {
    await removeFile(path)
    throw error
  }
}

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
