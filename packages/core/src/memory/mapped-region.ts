import { pageSizeBytes } from './units.js'

/** A region of guest memory as the VMM has it mapped: pages of the image in a row, at one address. */
export interface MappedRegion {
  /** Of the first byte in the VMM's address space. */
  readonly address: number
  /** Number of the first page in the image, which is its place in a flat memory file. */
  readonly firstPage: number
  readonly pages: number
}

/** Cuts a run of pages where regions end, as addresses. `regions` are by page and cover what is asked for. */
export function forEachStretch(
  regions: readonly MappedRegion[],
  start: number,
  count: number,
  visit: (address: number, lengthBytes: number, page: number) => void,
): void {
  const end = start + count
  for (const { address, firstPage, pages } of regions) {
    const from = Math.max(start, firstPage)
    const to = Math.min(end, firstPage + pages)
    if (from < to) visit(address + (from - firstPage) * pageSizeBytes, (to - from) * pageSizeBytes, from)
  }
}
