import { type ExtentMap, zeroSource } from '../layer/extent-map.js'
import { forEachStretch, type MappedRegion } from '../memory/mapped-region.js'
import { type PageRun, type PageSet, runsOf } from '../memory/page-set.js'
import { clip, mergeGaps, union } from '../memory/page-set-algebra.js'
import { pageSizeBytes } from '../memory/units.js'
import {
  MADV_NOHUGEPAGE,
  MADV_NORMAL,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MADV_RANDOM,
  MADV_WILLNEED,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
} from '../sys/abi.js'
import { SyscallTable } from '../sys/inject/syscall-table.js'
import { systemCall } from '../sys/inject/system-call.js'

const PROT_READ_WRITE = 3

/** As Firecracker itself maps a memory file, at a given place. */
const fixed = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE

/**
 * Puts anonymous memory under every region that has zero pages: data is mapped over it, what is left are the
 * zero runs. One call instead of one a run.
 */
export function addZeroCalls(table: SyscallTable, map: ExtentMap, regions: readonly MappedRegion[]): void {
  for (const { address, firstPage, pages } of regions) {
    if (!hasZeros(map, firstPage, pages)) continue
    const lengthBytes = pages * pageSizeBytes
    table.add(systemCall.mmap, address, lengthBytes, PROT_READ_WRITE, fixed | MAP_ANONYMOUS, -1, 0)
    // The first write to a zero page would else cost the clone 2 MiB if the host has huge pages always on.
    table.add(systemCall.madvise, address, lengthBytes, MADV_NOHUGEPAGE)
  }
}

function hasZeros({ starts, counts, sources }: ExtentMap, firstPage: number, pages: number): boolean {
  return starts.some(
    (start, run) =>
      sources[run] === zeroSource && start < firstPage + pages && start + (counts[run] as number) > firstPage,
  )
}

/**
 * Maps the extents that come from some layers, `first` and those after it, whose files
 * the VMM has under `descriptors`.
 */
export function addExtentCalls(
  table: SyscallTable,
  map: ExtentMap,
  regions: readonly MappedRegion[],
  { first, descriptors }: { readonly first: number; readonly descriptors: readonly number[] },
): void {
  const { starts, counts, sources, storedStarts } = map
  for (let run = 0; run < starts.length; run++) {
    const fd = descriptors[(sources[run] as number) - first]
    if (fd === undefined) continue
    const start = starts[run] as number
    const shift = (storedStarts[run] as number) - start
    forEachStretch(regions, start, counts[run] as number, (address, lengthBytes, page) =>
      table.add(
        systemCall.mmap,
        address,
        lengthBytes,
        PROT_READ_WRITE,
        fixed,
        fd,
        (page + shift) * pageSizeBytes,
      ),
    )
  }
}

/** Pages to bring in before they are touched, by what is done with them. */
export interface PrefaultStep {
  readonly readOnly: PageSet
  readonly written: PageSet
}

/** As `fillPageCache` reads: these pages are in the page cache, too. */
const gapPages = 8

/**
 * Written pages are copied privately, as the guest's first write would do, and before their neighbours
 * come: a page that is mapped already costs a flush of the TLB, too. Read-only pages are mapped from
 * the page cache and stay shared.
 */
export function addPrefaultCalls(
  table: SyscallTable,
  { readOnly, written }: PrefaultStep,
  regions: readonly MappedRegion[],
): void {
  const advise = (set: PageSet, advice: number) => {
    for (const { start, count } of runsOf(set))
      forEachStretch(regions, start, count, (address, lengthBytes) =>
        table.add(systemCall.madvise, address, lengthBytes, advice),
      )
  }
  advise(written, MADV_POPULATE_WRITE)
  advise(mergeGaps(readOnly, gapPages), MADV_POPULATE_READ)
}

/** The kernel's own read-ahead size (128 KiB); longer requests are cut there. */
const requestPages = 32
/** Requests on their way while others are waited for: 1 MiB of runs of five pages. */
const windowRequests = 64

/**
 * The same for a thread alongside the guest, which asks for pages before it waits for them. Until it is done
 * a page that is not in the page cache is read by itself: others of the set are on their way, and reading
 * around (8 MiB, if a host is set so) would keep the disk from them.
 */
export function besideCalls(steps: readonly PrefaultStep[], regions: readonly MappedRegion[]): SyscallTable {
  const table = new SyscallTable()
  const adviseAll = (advice: number) => {
    for (const { address, pages } of regions)
      table.add(systemCall.madvise, address, pages * pageSizeBytes, advice)
  }
  const ask = (requests: readonly PageRun[] = []) => {
    for (const { start, count } of requests)
      forEachStretch(regions, start, count, (address, lengthBytes) =>
        table.add(systemCall.madvise, address, lengthBytes, MADV_WILLNEED),
      )
  }
  adviseAll(MADV_RANDOM)
  for (const step of steps) {
    const windows = windowsOf(step)
    ask(windows[0]?.requests)
    windows.forEach((window, index) => {
      ask(windows[index + 1]?.requests)
      addPrefaultCalls(table, window.step, regions)
    })
  }
  adviseAll(MADV_NORMAL)
  return table
}

interface PrefaultWindow {
  readonly requests: readonly PageRun[]
  readonly step: PrefaultStep
}

/** A step in parts, ascending: what is asked of the disk for each, and what is done with it. */
export function windowsOf({ readOnly, written }: PrefaultStep): readonly PrefaultWindow[] {
  const windows: PageRun[][] = []
  for (const { start, count } of runsOf(mergeGaps(union(readOnly, written), gapPages)))
    for (let done = 0; done < count; done += requestPages) {
      if (windows.length === 0 || windows.at(-1)?.length === windowRequests) windows.push([])
      windows.at(-1)?.push({ start: start + done, count: Math.min(requestPages, count - done) })
    }
  return windows.map((requests) => {
    const [first, last] = [requests[0], requests.at(-1)] as [PageRun, PageRun]
    const within = (set: PageSet) => clip(set, first.start, last.start + last.count - first.start)
    return { requests, step: { readOnly: within(readOnly), written: within(written) } }
  })
}
