import type { FileHandle } from 'node:fs/promises'
import { throwIfAborted } from '../../abort-error.js'
import { VarveError } from '../../errors.js'
import { type PageSet, pageSetLimit, runsOf } from '../../memory/page-set.js'
import { clip, complement, union } from '../../memory/page-set-algebra.js'
import { RunBuilder } from '../../memory/run-builder.js'
import { pageSizeBytes } from '../../memory/units.js'
import { dataExtents } from '../../sys/extents.js'
import { openRegular, readFully } from '../../sys/open-regular.js'
import { type MemoryRegion, memoryFileBytes } from '../state-file/regions.js'

/** What a page of a memory file is: something other than zeros, stored zeros, or not stored. */
export type ExtentKind = 'data' | 'zero' | 'hole'

/** Pages of one kind that follow each other. */
export interface MemoryExtent {
  /** Offset of the first byte. */
  readonly startBytes: number
  /** Offset behind the last byte. */
  readonly endBytes: number
  /** What all of its pages are. */
  readonly kind: ExtentKind
}

/** Bytes of a file or region, by kind. */
export interface KindTotals {
  /** Bytes of pages that hold something. */
  readonly dataBytes: number
  /** Bytes of pages that are stored and all zero. */
  readonly zeroBytes: number
  /** Bytes of pages that are not stored. */
  readonly holeBytes: number
}

/** What a memory file holds. */
export interface MemoryFileReport extends KindTotals {
  /** The file. */
  readonly path: string
  /** Its size, holes included. */
  readonly sizeBytes: number
  /** What the file takes on disk. */
  readonly allocatedBytes: number
  /**
   * How much of the file is guest memory: up to the end of the last region; all of
   * it if there is no region list.
   */
  readonly memoryBytes: number
  /** Bytes that the regions need and the file lacks; Firecracker would refuse it. */
  readonly missingBytes: number
  /** Bytes behind the last region, which Firecracker ignores. */
  readonly trailingBytes: number
  /** Pages that hold something. */
  readonly data: PageSet
  /** Pages that are stored and all zero. In a Diff: became zero. */
  readonly zero: PageSet
  /** Pages that are not stored. In a Full: zero. In a Diff: unchanged. */
  readonly hole: PageSet
  /** The same split by region, in list order; empty without a region list. */
  readonly regions: readonly KindTotals[]
}

/** Options of `inspectMemoryFile`. */
export interface InspectMemoryOptions {
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** Called with the bytes looked at so far. */
  readonly onProgress?: ((scannedBytes: number) => void) | undefined
}

/** Two MiB a read: near full disk speed, small enough to stop promptly. */
const chunkPages = 512
const zeroPage = Buffer.alloc(pageSizeBytes)

/**
 * Says of every page of a memory file whether it is data, stored zeros or a hole (SEEK_DATA), in one pass
 * over what is stored. The file is read, never mapped, and must not change meanwhile. `path` is the memory
 * file. `regions` are those of its state file; without them all of the file counts as memory.
 */
export async function inspectMemoryFile(
  path: string,
  regions: readonly MemoryRegion[] = [],
  options: InspectMemoryOptions = {},
): Promise<MemoryFileReport> {
  const { handle, stat } = await openRegular(path, { followLinks: true })
  try {
    const needed = regions.length === 0 ? stat.size : memoryFileBytes(regions)
    const memoryBytes = Math.min(needed, stat.size)
    const pages = Math.ceil(memoryBytes / pageSizeBytes)
    if (pages > pageSetLimit)
      throw new VarveError('FORMAT_INVALID', `${path} has ${pages} pages; the most is ${pageSetLimit}`)
    const { data, zero } = await scan(handle, path, memoryBytes, options)
    const hole = complement(union(data, zero), pages)
    const totals = (start: number, count: number): KindTotals => ({
      dataBytes: clip(data, start, count).pages * pageSizeBytes,
      zeroBytes: clip(zero, start, count).pages * pageSizeBytes,
      holeBytes: clip(hole, start, count).pages * pageSizeBytes,
    })
    return {
      path,
      sizeBytes: stat.size,
      allocatedBytes: stat.blocks * 512,
      memoryBytes,
      missingBytes: needed - memoryBytes,
      trailingBytes: stat.size - memoryBytes,
      ...totals(0, pages),
      data,
      zero,
      hole,
      regions: regions.map((it) =>
        totals(Math.min(pages, it.fileOffset / pageSizeBytes), it.sizeBytes / pageSizeBytes),
      ),
    }
  } finally {
    await handle.close()
  }
}

async function scan(
  handle: FileHandle,
  path: string,
  memoryBytes: number,
  { signal, onProgress }: InspectMemoryOptions,
): Promise<{ data: PageSet; zero: PageSet }> {
  const data = new RunBuilder()
  const zero = new RunBuilder()
  const buffer = Buffer.alloc(chunkPages * pageSizeBytes)
  let scannedBytes = 0
  let nextPage = 0
  for (const { startBytes, endBytes } of dataExtents(handle.fd, memoryBytes)) {
    // An extent may begin or end within a page; such a page is looked at whole, once.
    const end = Math.ceil(endBytes / pageSizeBytes)
    let page = Math.max(nextPage, Math.floor(startBytes / pageSizeBytes))
    while (page < end) {
      throwIfAborted(signal, `work on ${path}`)
      const count = Math.min(chunkPages, end - page)
      const chunk = buffer.subarray(0, count * pageSizeBytes)
      // The last page of a file may be cut short; what is not there counts as zero.
      chunk.fill(0, await readFully({ handle, path }, chunk, page * pageSizeBytes))
      for (let i = 0; i < count; i++) (isZero(chunk, i * pageSizeBytes) ? zero : data).add(page + i, 1)
      page += count
      scannedBytes += count * pageSizeBytes
      onProgress?.(scannedBytes)
    }
    nextPage = Math.max(nextPage, end)
  }
  return { data: data.finish(), zero: zero.finish() }
}

const isZero = (chunk: Buffer, at: number): boolean =>
  zeroPage.compare(chunk, at, at + pageSizeBytes, 0, pageSizeBytes) === 0

/** The extents in file order; neighbours are of different kinds. */
export function* memoryExtents({
  data,
  zero,
  hole,
}: Pick<MemoryFileReport, ExtentKind>): Generator<MemoryExtent> {
  const sources = [
    { kind: 'data' as const, runs: runsOf(data) },
    { kind: 'zero' as const, runs: runsOf(zero) },
    { kind: 'hole' as const, runs: runsOf(hole) },
  ].map((it) => ({ ...it, next: it.runs.next() }))
  for (;;) {
    let first: (typeof sources)[number] | undefined
    for (const source of sources) {
      if (source.next.done === true) continue
      if (first === undefined || first.next.done === true || source.next.value.start < first.next.value.start)
        first = source
    }
    if (first === undefined || first.next.done === true) return
    const { start, count } = first.next.value
    yield {
      startBytes: start * pageSizeBytes,
      endBytes: (start + count) * pageSizeBytes,
      kind: first.kind,
    }
    first.next = first.runs.next()
  }
}
