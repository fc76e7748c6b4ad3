import { VarveError } from '../../errors.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { pageSizeBytes } from '../../memory/units.js'
import type { InstallResult, UserfaultOps } from '../../sys/userfaultfd.js'

/**
 * How often an operation on all of memory is tried that an unread REMOVE event
 * refuses. Each try reads all there are.
 */
const maxProtectTries = 1000

/** Write protection of all of a VM's memory at once. */
export class WriteProtection {
  readonly #ops: Pick<UserfaultOps, 'reportWrites' | 'writeProtect'>
  readonly #regions: readonly MappedRegion[]
  readonly #readEvents: () => void

  /** `readEvents`: reads what an operation on memory waits for, all that is pending. */
  constructor(
    ops: Pick<UserfaultOps, 'reportWrites' | 'writeProtect'>,
    regions: readonly MappedRegion[],
    readEvents: () => void,
  ) {
    this.#ops = ops
    this.#regions = regions
    this.#readEvents = readEvents
  }

  /** Has writes to protected pages reported. */
  report(): void {
    for (const { address, pages } of this.#regions) this.#ops.reportWrites(address, pages * pageSizeBytes)
  }

  /** RECORDER_UNRELIABLE if some of it cannot be protected. */
  set(): void {
    for (const region of this.#regions)
      if (this.#protect(region, true) === 'gone')
        throw new VarveError(
          'RECORDER_UNRELIABLE',
          `${region.pages} pages at ${region.address} cannot be protected as a whole: memory there was replaced`,
        )
  }

  lift(): void {
    // Gone: the VMM has ended, or a thread that waits for a page of what was replaced does not wait for us.
    for (const region of this.#regions) this.#protect(region, false)
  }

  #protect({ address, pages }: MappedRegion, on: boolean): InstallResult {
    for (let tries = 0; tries < maxProtectTries; tries++) {
      const result = this.#ops.writeProtect(address, pages * pageSizeBytes, on)
      if (result !== 'again') return result
      this.#readEvents()
    }
    throw new VarveError('RECORDER_UNRELIABLE', `memory at ${address} keeps changing: it was not protected`)
  }
}
