import type { ExtentMap } from '../../layer/extent-map.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { pageSizeBytes } from '../../memory/units.js'
import { adviseMappedWillNeed } from '../../sys/memory-map.js'
import { isResident } from '../../sys/mincore.js'
import type { CopySource, UserfaultOps } from '../../sys/userfaultfd.js'
import type { RemovedPages } from '../protocol/removed-pages.js'
import type { FaultLoop } from './fault-loop.js'
import { FramePopulation } from './frame-population.js'
import type { Frames } from './frames.js'
import { type PopulatedLayer, Population } from './population.js'

/**
 * Events of what was registered a moment ago; there are as many as madvise calls
 * of the VMM that were under way.
 */
const readsAtEnd = 4

/**
 * One VM's way to needing no server: its memory is brought, then taken out of the userfaultfd,
 * then the last events are read.
 */
export class Graduation {
  readonly #ops: UserfaultOps
  readonly #loop: FaultLoop
  readonly #regions: readonly MappedRegion[]
  readonly #population: Pick<Population, 'step' | 'copiedPages'>
  #state: 'no' | 'bringing' | 'draining' = 'no'

  constructor(parts: {
    readonly ops: UserfaultOps
    readonly loop: FaultLoop
    readonly regions: readonly MappedRegion[]
    readonly map: ExtentMap
    readonly layers: readonly CopySource[]
    readonly removed: RemovedPages
    /** As in `FaultLoopParts`. */
    readonly frames: Frames | undefined
  }) {
    this.#ops = parts.ops
    this.#loop = parts.loop
    this.#regions = parts.regions
    const { frames } = parts
    const layers = parts.layers.map(populated)
    this.#population =
      frames === undefined
        ? new Population({ ...parts, layers })
        : new FramePopulation({ ...parts, frames, layers })
  }

  begin(): void {
    this.#state = 'bringing'
  }

  /** Something of it cannot be brought: the VM goes on as one that asks for its pages. */
  strand(): void {
    this.#state = 'no'
  }

  get going(): boolean {
    return this.#state !== 'no'
  }

  get copiedPages(): number {
    return this.#population.copiedPages
  }

  step(): 'more' | 'wait' | 'done' {
    if (this.#state === 'bringing') {
      const result = this.#population.step()
      if (result !== 'done') return result
      // The VM's memory raises no faults any more. Then events are read until no removal is pending.
      for (const { address, pages } of this.#regions) this.#ops.unregister(address, pages * pageSizeBytes)
      this.#state = 'draining'
    }
    // A thread that removed memory before it was unregistered waits until that event is read;
    // no other process would read it.
    this.#loop.serve(readsAtEnd)
    return this.#ops.removalPending() ? 'wait' : 'done'
  }
}

function populated({ address, lengthBytes }: CopySource): PopulatedLayer {
  return {
    address,
    lengthBytes,
    isResident: (page) => isResident({ address, lengthBytes }, page),
    readAhead: (firstPage, pages) => {
      const offset = firstPage * pageSizeBytes
      adviseMappedWillNeed(address + offset, Math.min(pages * pageSizeBytes, lengthBytes - offset))
    },
  }
}
