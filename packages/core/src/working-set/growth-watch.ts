import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { notFound } from '../not-found.js'
import { isAlive, type ProcessIdentity, residentBytes } from '../sys/proc.js'

/** FaaSnap's values: a look whenever the VMM has grown by 4 MiB, checked every 4 ms. */
const defaultGrowthPages = 1024
const defaultPollMs = 4

/** When recorders that look at pages look by themselves. */
export interface GrowthOptions {
  /** A look whenever the VMM's resident set has grown by this many pages. Default 1,024. */
  readonly rssGrowthPages?: number
  /** How often that is checked. Default 4. */
  readonly pollMs?: number
}

/** Tells when the VMM has grown enough since the last look, or has ended. */
export class GrowthWatch {
  readonly everyMs: number
  readonly #vmm: ProcessIdentity
  readonly #growthPages: number
  #rssAtLook = 0

  /** NOT_FOUND if there is no such process, INVALID_ARGUMENT. */
  constructor(
    vmm: ProcessIdentity,
    { rssGrowthPages = defaultGrowthPages, pollMs = defaultPollMs }: GrowthOptions,
  ) {
    if (!(rssGrowthPages >= 1) || !(pollMs >= 1))
      throw new VarveError(
        'INVALID_ARGUMENT',
        `rssGrowthPages ${rssGrowthPages} and pollMs ${pollMs} must be 1 or more`,
      )
    if (!isAlive(vmm)) throw notFound('process', `there is no process ${vmm.pid} to record`)
    this.#vmm = vmm
    this.#growthPages = rssGrowthPages
    this.everyMs = pollMs
    this.looked()
  }

  /** True if the VMM has ended, too: one look then sees all there will be. */
  due(): boolean {
    const rss = this.#rssPages()
    if (rss === undefined) return true
    if (rss < this.#rssAtLook) this.#rssAtLook = rss
    return rss - this.#rssAtLook >= this.#growthPages
  }

  /** To be called at each look. */
  looked(): void {
    this.#rssAtLook = this.#rssPages() ?? this.#rssAtLook
  }

  hasEnded(): boolean {
    return !isAlive(this.#vmm)
  }

  #rssPages(): number | undefined {
    const bytes = residentBytes(this.#vmm.pid)
    // A zombie has no memory.
    return bytes === null || bytes === 0 ? undefined : bytes / pageSizeBytes
  }
}
