import { type ExtentMap, zeroSource } from '../../layer/extent-map.js'
import { type PageSet, runsOf } from '../../memory/page-set.js'
import { intersect } from '../../memory/page-set-algebra.js'
import { pageSizeBytes } from '../../memory/units.js'
import { systemCall } from '../../sys/injection.js'
import type { SyscallTable } from '../../sys/syscall-table.js'
import { touchOrder, type WorkingSet } from '../../working-set/working-set.js'
import { forEachStretch, type GuestRegion } from './guest-regions.js'

const PROT_READ_WRITE = 3
const MAP_PRIVATE = 0x02
const MAP_FIXED = 0x10
const MAP_ANONYMOUS = 0x20
const MAP_NORESERVE = 0x4000
const MADV_NOHUGEPAGE = 15
const MADV_POPULATE_READ = 22
const MADV_POPULATE_WRITE = 23

/** As Firecracker itself maps a memory file, at a given place. */
const fixed = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE

/**
 * Puts anonymous memory under every region that has zero pages: data is mapped over it, what is left are the zero runs. One
 * call instead of one a run.
 */
export function addZeroCalls(table: SyscallTable, map: ExtentMap, regions: readonly GuestRegion[]): void {
  for (const { address, firstPage, pages } of regions) {
    if (!hasZeros(map, firstPage, pages)) continue
    const lengthBytes = pages * pageSizeBytes
    table.add(systemCall.mmap, address, lengthBytes, PROT_READ_WRITE, fixed | MAP_ANONYMOUS, -1, 0)
    // The first write to a zero page would else cost the clone 2 MiB where the host has huge pages always on.
    table.add(systemCall.madvise, address, lengthBytes, MADV_NOHUGEPAGE)
  }
}

function hasZeros({ starts, counts, sources }: ExtentMap, firstPage: number, pages: number): boolean {
  return starts.some(
    (start, run) =>
      sources[run] === zeroSource && start < firstPage + pages && start + (counts[run] as number) > firstPage,
  )
}

/** Maps the extents that come from some layers, `first` and those after it, whose files the VMM has under `descriptors`. */
export function addExtentCalls(
  table: SyscallTable,
  map: ExtentMap,
  regions: readonly GuestRegion[],
  { first, descriptors }: { readonly first: number; readonly descriptors: readonly number[] },
): void {
  const { starts, counts, sources, sourcePages } = map
  for (let run = 0; run < starts.length; run++) {
    const fd = descriptors[(sources[run] as number) - first]
    if (fd === undefined) continue
    const start = starts[run] as number
    const shift = (sourcePages[run] as number) - start
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

/** A working set in the order in which it should come, by class; of it only pages that are in `within`, where that is given. */
export function prefaultSteps(workingSet: WorkingSet, within?: PageSet): readonly PrefaultStep[] {
  const only = (set: PageSet) => (within === undefined ? set : intersect(set, within))
  const readOnly = only(workingSet.readOnly)
  const written = only(workingSet.written)
  return touchOrder(workingSet)
    .map((set) => ({ readOnly: intersect(set, readOnly), written: intersect(set, written) }))
    .filter((step) => step.readOnly.pages + step.written.pages > 0)
}

/**
 * Read-only pages are mapped from the page cache and stay shared; written ones are copied privately, as the guest's first write
 * would do.
 */
export function addPrefaultCalls(
  table: SyscallTable,
  { readOnly, written }: PrefaultStep,
  regions: readonly GuestRegion[],
): void {
  const advise = (set: PageSet, advice: number) => {
    for (const { start, count } of runsOf(set))
      forEachStretch(regions, start, count, (address, lengthBytes) =>
        table.add(systemCall.madvise, address, lengthBytes, advice),
      )
  }
  advise(readOnly, MADV_POPULATE_READ)
  advise(written, MADV_POPULATE_WRITE)
}
