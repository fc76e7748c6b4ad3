import { VarveError } from '../errors.js'
import type { MappedRegion } from '../memory/mapped-region.js'
import { pageSizeBytes } from '../memory/units.js'

/** More than a VMM can have slots (KVM_CAP_NR_MEMSLOTS is 32,764 or less). */
const maxRegions = 32_764

/** Collects what the VMM maps of its memory file, until that is all of it. */
export class RegionCollector {
  readonly #pages: number
  readonly #regions: MappedRegion[] = []
  #mapped = 0

  constructor(pages: number) {
    this.#pages = pages
  }

  add({
    address,
    lengthBytes,
    offsetBytes,
  }: Record<'address' | 'lengthBytes' | 'offsetBytes', number>): void {
    const firstPage = offsetBytes / pageSizeBytes
    const pages = lengthBytes / pageSizeBytes
    const fits =
      Number.isInteger(firstPage) && Number.isInteger(pages) && pages > 0 && firstPage + pages <= this.#pages
    if (!fits || this.#regions.length >= maxRegions)
      throw unexpected(`${lengthBytes} bytes from ${offsetBytes} on`)
    const overlaps = this.#regions.some(
      (it) => firstPage < it.firstPage + it.pages && it.firstPage < firstPage + pages,
    )
    if (overlaps) throw unexpected(`page ${firstPage} twice`)
    this.#regions.push({ address, firstPage, pages })
    this.#mapped += pages
  }

  /** The regions by page, once they cover the file. */
  get complete(): readonly MappedRegion[] | undefined {
    return this.#mapped === this.#pages
      ? this.#regions.toSorted((a, b) => a.firstPage - b.firstPage)
      : undefined
  }
}

function unexpected(what: string): VarveError {
  return new VarveError(
    'INJECTION_FAILED',
    `the VMM maps its memory file in a way that is not known: ${what}`,
  )
}
