import { VarveError } from '../../errors.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { pageSizeBytes } from '../../memory/units.js'

/** Finds the region of an address. */
export class RegionIndex {
  readonly #regions: readonly MappedRegion[]

  /** `regions`: sorted by address, without overlap. */
  constructor(regions: readonly MappedRegion[]) {
    this.#regions = regions
  }

  /** The place of the last region that begins at or before `address`, or of the first. */
  placeOf(address: number): number {
    let low = 0
    let high = this.#regions.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((this.#regions[middle] as MappedRegion).address <= address) low = middle
      else high = middle - 1
    }
    return low
  }

  /** PAGE_SERVER_PROTOCOL if no region has the address. */
  at(address: number): MappedRegion {
    const region = this.#regions[this.placeOf(address)]
    if (region && address >= region.address && address < region.address + region.pages * pageSizeBytes)
      return region
    throw new VarveError('PAGE_SERVER_PROTOCOL', `fault at ${address}, outside every region`)
  }
}

export function pageOf(region: MappedRegion, address: number): number {
  return region.firstPage + Math.floor((address - region.address) / pageSizeBytes)
}
