import { zeroSource } from '../../layer/extent-map.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { type PageSet, runsOf } from '../../memory/page-set.js'
import { minus, unionAll } from '../../memory/page-set-algebra.js'
import { framePages, pageSizeBytes } from '../../memory/units.js'
import type { CopySource, UserfaultOps } from '../../sys/userfaultfd.js'
import { presentPages, type WorkingSet } from '../../working-set/working-set.js'
import { type FrameResult, type Frames, noHugePage } from '../faults/frames.js'
import { prefetchCounter as counter, maxTries, type PrefetchLoopParts } from './prefetch-loop.js'

/** Image pages that begin a frame in which the set has a page, in the set's order, each once. */
export function framesToFetch(workingSet: WorkingSet, regions: readonly MappedRegion[]): number[] {
  const groups = workingSet.groups.map(({ set }) => set)
  const rest = minus(presentPages(workingSet), unionAll(groups))
  const found = new Set<number>()
  for (const set of [...groups, rest]) for (const first of framesOf(set, regions)) found.add(first)
  return [...found]
}

function* framesOf(set: PageSet, regions: readonly MappedRegion[]): Generator<number> {
  for (const { start, count } of runsOf(set))
    for (const { firstPage, pages } of regions) {
      const from = Math.max(start, firstPage)
      const end = Math.min(start + count, firstPage + pages)
      for (let page = from; page < end; page += framePages - ((page - firstPage) % framePages))
        yield page - ((page - firstPage) % framePages)
    }
}

/**
 * As `PrefetchLoop`, for memory that comes in frames: each frame in which the set has a page comes whole.
 * Layers are read through the page cache, as what a frame has of them is large.
 */
export class FramePrefetch {
  readonly #ops: Pick<UserfaultOps, 'copy'>
  readonly #regions: readonly MappedRegion[]
  readonly #frames: Frames
  readonly #plan: readonly number[]
  readonly #layers: readonly CopySource[]
  readonly #parts: Pick<PrefetchLoopParts, 'counters' | 'halted' | 'pause' | 'gate' | 'bring' | 'yields'>

  constructor(
    parts: Pick<PrefetchLoopParts, 'counters' | 'halted' | 'pause' | 'gate' | 'bring' | 'yields'> & {
      readonly ops: Pick<UserfaultOps, 'copy'>
      readonly regions: readonly MappedRegion[]
      readonly frames: Frames
      readonly plan: readonly number[]
      readonly layers: readonly CopySource[]
    },
  ) {
    this.#ops = parts.ops
    this.#regions = parts.regions
    this.#frames = parts.frames
    this.#plan = parts.plan
    this.#layers = parts.layers
    this.#parts = parts
    this.#count(counter.plannedPages, this.#plan.length * framePages)
  }

  /**
   * True when all of the plan was done; false when it was halted. HOST_UNSUPPORTED if the host has no huge
   * page left: the next that it gets is for a fault.
   */
  run(): boolean {
    for (const first of this.#plan) {
      this.#parts.yields()
      if (this.#parts.halted()) return false
      this.#fetch(first)
    }
    return !this.#parts.halted()
  }

  #fetch(first: number): void {
    const region = this.#regions.find(
      ({ firstPage, pages }) => first >= firstPage && first < firstPage + pages,
    ) as MappedRegion
    const address = region.address + (first - region.firstPage) * pageSizeBytes
    if (this.#frames.isThere(address)) {
      this.#count(counter.existingPages, framePages)
      return
    }
    const pieces = this.#frames.pieces(first)
    for (const { source, storedPage, pages } of pieces) {
      const layer = this.#layers[source]
      if (layer !== undefined)
        this.#parts.bring(layer.address + storedPage * pageSizeBytes, pages * pageSizeBytes)
    }
    const { source, offsetBytes } = this.#frames.assemble(pieces)
    const isZero = pieces.every((piece) => piece.source === zeroSource)
    for (let tries = 0; tries < maxTries; tries++) {
      const result = this.#call(address, source, offsetBytes)
      if (result === 'halted') return
      this.#count(counter.requests, 1)
      if (result === 'installed') this.#count(isZero ? counter.zeroPages : counter.copiedPages, framePages)
      else if (result === 'exists') this.#count(counter.existingPages, framePages)
      else if (result === 'starved') throw noHugePage()
      if (result !== 'again') return
      this.#parts.pause()
    }
  }

  /** Makes one call, unless a removal was read before it. */
  #call(address: number, source: CopySource, offsetBytes: number): FrameResult | 'halted' {
    this.#parts.gate.beginCopy()
    try {
      return this.#parts.halted() ? 'halted' : this.#frames.copy(this.#ops, address, source, offsetBytes)
    } finally {
      this.#parts.gate.endCopy()
    }
  }

  #count(index: number, by: number): void {
    const { counters } = this.#parts
    counters[index] = (counters[index] as number) + by
  }
}
