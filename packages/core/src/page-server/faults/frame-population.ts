import { zeroSource } from '../../layer/extent-map.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { framePages, pageSizeBytes } from '../../memory/units.js'
import type { UserfaultOps } from '../../sys/userfaultfd.js'
import type { FramePiece } from './frame-pieces.js'
import type { FrameAsker, Frames } from './frames.js'
import type { PopulatedLayer } from './population.js'

/**
 * As `Population`, for memory that comes in frames: one frame a step, some 0.5 ms in which a fault waits.
 * Frames of zeros are left out, and take a huge page of the host only once they are touched.
 */
export class FramePopulation {
  readonly #ops: Pick<UserfaultOps, 'copy'>
  readonly #frames: Frames
  readonly #layers: readonly PopulatedLayer[]
  /** Address and image page of each frame that has not been looked at. */
  readonly #left: Generator<readonly [number, number]>
  /** The frame that could not be installed yet. */
  #next: readonly [number, number] | undefined
  #waited = false
  readonly #asker: FrameAsker = {}
  copiedPages = 0

  constructor(parts: {
    readonly ops: Pick<UserfaultOps, 'copy'>
    readonly frames: Frames
    readonly regions: readonly MappedRegion[]
    readonly layers: readonly PopulatedLayer[]
  }) {
    this.#ops = parts.ops
    this.#frames = parts.frames
    this.#layers = parts.layers
    this.#left = framesOf(parts.regions)
  }

  /** As in `Population`. */
  step(): 'more' | 'wait' | 'done' {
    const next = this.#next ?? this.#take()
    if (next === undefined) return 'done'
    this.#next = next
    const [address, first] = next
    const pieces = this.#frames.pieces(first)
    const isZero = pieces.every(({ source }) => source === zeroSource)
    if (!isZero && !this.#frames.isThere(address)) {
      if (this.#mustRead(pieces)) return 'wait'
      const result = this.#frames.install(this.#ops, address, first, this.#asker)
      if (result === 'again' || result === 'starved') return 'wait'
      if (result === 'installed') this.copiedPages += framePages
    }
    this.#next = undefined
    this.#waited = false
    return 'more'
  }

  #take(): readonly [number, number] | undefined {
    const { value, done } = this.#left.next()
    return done ? undefined : value
  }

  /** Once for each frame: if a part is evicted again, it is read on the way. */
  #mustRead(pieces: readonly FramePiece[]): boolean {
    if (this.#waited) return false
    this.#waited = true
    let cold = false
    for (const { source, storedPage, pages } of pieces) {
      const layer = this.#layers[source]
      if (layer === undefined) continue
      if (layer.isResident(storedPage) && layer.isResident(storedPage + pages - 1)) continue
      layer.readAhead(storedPage, pages)
      cold = true
    }
    return cold
  }
}

function* framesOf(regions: readonly MappedRegion[]): Generator<readonly [number, number]> {
  for (const { address, firstPage, pages } of regions)
    for (let page = 0; page < pages; page += framePages)
      yield [address + page * pageSizeBytes, firstPage + page]
}
