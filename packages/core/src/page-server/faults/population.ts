import { type ExtentMap, zeroSource } from '../../layer/extent-map.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { pageSizeBytes } from '../../memory/units.js'
import type { CopySource, InstallResult, UserfaultOps } from '../../sys/userfaultfd.js'
import type { RemovedPages } from '../protocol/removed-pages.js'

/** 128 KiB: some 50 µs of copying, the longest that a fault waits for it. */
const piecePages = 32
/** Pages that are there already cost a call each. */
const maxCalls = 32
/** 2 MiB, asked for at once if a layer is not in the page cache. */
const aheadPages = 512

export type PopulationOps = Pick<UserfaultOps, 'copy' | 'copiedBytes'>

export interface PopulatedLayer extends CopySource {
  isResident(page: number): boolean
  /** Starts reading, without waiting. */
  readAhead(firstPage: number, pages: number): void
}

/**
 * Brings every page of the image that was not asked for, a piece at a time, on the thread that answers
 * faults: what that thread has read of removals holds for each piece. Zero runs are left out: memory that is
 * no longer registered is zero by itself.
 */
export class Population {
  readonly #ops: PopulationOps
  readonly #regions: readonly MappedRegion[]
  readonly #map: ExtentMap
  readonly #layers: readonly PopulatedLayer[]
  readonly #removed: RemovedPages
  #region = 0
  /** In the image; before the region's first: at its begin. */
  #page = 0
  #run = 0
  #waitedFor = -1
  copiedPages = 0

  constructor(parts: {
    readonly ops: PopulationOps
    readonly regions: readonly MappedRegion[]
    readonly map: ExtentMap
    readonly layers: readonly PopulatedLayer[]
    readonly removed: RemovedPages
  }) {
    this.#ops = parts.ops
    this.#regions = [...parts.regions].sort((a, b) => a.firstPage - b.firstPage)
    this.#map = parts.map
    this.#layers = parts.layers
    this.#removed = parts.removed
  }

  /**
   * One piece. `wait`: it comes from a disk, and is being read; or an event must be read first. `done`:
   * nothing is left to bring.
   */
  step(): 'more' | 'wait' | 'done' {
    const piece = this.#next()
    if (piece === undefined) return 'done'
    const { region, page, pages, layer, storedPage } = piece
    if (this.#mustRead(layer, storedPage, pages)) return 'wait'
    return this.#install(region, page, pages, layer, storedPage)
  }

  #next(): Piece | undefined {
    const { starts, counts, sources, storedStarts } = this.#map
    for (; this.#region < this.#regions.length; this.#region++) {
      const region = this.#regions[this.#region] as MappedRegion
      const end = region.firstPage + region.pages
      this.#page = Math.max(this.#page, region.firstPage)
      while (this.#page < end) {
        while ((starts[this.#run] as number) + (counts[this.#run] as number) <= this.#page) this.#run++
        const start = starts[this.#run] as number
        const stop = Math.min(end, start + (counts[this.#run] as number))
        const source = sources[this.#run] as number
        if (source === zeroSource) {
          this.#page = stop
          continue
        }
        if (this.#removed.any) while (this.#page < stop && this.#removed.has(this.#page)) this.#page++
        const page = this.#page
        let pages = Math.min(stop - page, piecePages)
        if (this.#removed.any)
          for (let index = 1; index < pages; index++) if (this.#removed.has(page + index)) pages = index
        if (pages <= 0) continue
        const storedPage = (storedStarts[this.#run] as number) + page - start
        return { region, page, pages, layer: this.#layers[source] as PopulatedLayer, storedPage }
      }
    }
    return undefined
  }

  /** Once for each piece: if it is evicted again, or the kernel does not tell, it is read on the way. */
  #mustRead(layer: PopulatedLayer, storedPage: number, pages: number): boolean {
    if (this.#waitedFor === this.#page) return false
    if (layer.isResident(storedPage) && layer.isResident(storedPage + pages - 1)) return false
    layer.readAhead(storedPage, aheadPages)
    this.#waitedFor = this.#page
    return true
  }

  #install(
    region: MappedRegion,
    page: number,
    pages: number,
    layer: CopySource,
    storedPage: number,
  ): 'more' | 'wait' {
    let done = 0
    // A range that is not one mapping is refused as a whole: docs/notes/userfaultfd-events.md.
    let single = false
    for (let calls = 0; done < pages && calls < maxCalls; calls++) {
      const address = region.address + (page + done - region.firstPage) * pageSizeBytes
      const length = (single ? 1 : pages - done) * pageSizeBytes
      const result: InstallResult = this.#ops.copy(
        address,
        layer,
        (storedPage + done) * pageSizeBytes,
        length,
      )
      const installed = (result === 'installed' ? length : this.#ops.copiedBytes) / pageSizeBytes
      this.copiedPages += installed
      done += installed
      if (result === 'exists') done++
      else if (result === 'gone') {
        if (single || pages - done === 1) done++
        else single = true
      } else if (result === 'again' && installed === 0) {
        this.#page = page + done
        return 'wait'
      }
    }
    this.#page = page + done
    return 'more'
  }
}

interface Piece {
  readonly region: MappedRegion
  readonly page: number
  readonly pages: number
  readonly layer: PopulatedLayer
  readonly storedPage: number
}
