import { VarveError } from '../../errors.js'
import { frozenPagesOf } from '../../memory/frozen-source.js'
import { forEachStretch, type MappedRegion } from '../../memory/mapped-region.js'
import { pageSizeBytes } from '../../memory/units.js'
import { type MemoryMapping, mapAnonymous } from '../../sys/memory-map.js'
import { stillStands } from '../../sys/proc.js'
import { readInto } from '../../sys/read-into.js'
import { type CopySource, type InstallResult, UserfaultOps } from '../../sys/userfaultfd.js'
import { aroundPages } from './neighbours.js'

/** The memory of a frozen process, open for reading. */
export interface OpenFrozen {
  readonly pid: number
  /** Of /proc/PID/mem. */
  readonly fd: number
  /** Of /proc/PID/stat. */
  readonly stat: number
  readonly regions: readonly MappedRegion[]
}

/** Of all VMs of a thread: what is read is copied at once. */
let staging: MemoryMapping | undefined

/**
 * Installs pages of layers and of a frozen process. The kernel cannot copy from one process to another by
 * userfaultfd, so pages of the frozen process are read first, at each copy. VMs without one do not use this.
 */
export class FrozenOps extends UserfaultOps {
  /** Stands for the frozen memory among the layers; its address is never used. */
  readonly source: CopySource
  readonly #frozen: OpenFrozen
  readonly #staging: MemoryMapping

  constructor(userfaultfd: number, frozen: OpenFrozen) {
    super(userfaultfd)
    this.#frozen = frozen
    this.source = { address: 0, lengthBytes: frozenPagesOf(frozen) * pageSizeBytes }
    staging ??= mapAnonymous(aroundPages * pageSizeBytes)
    this.#staging = staging
  }

  override copy(
    address: number,
    source: CopySource,
    sourceOffset: number,
    lengthBytes: number,
    protect = false,
  ): InstallResult {
    if (source !== this.source) return super.copy(address, source, sourceOffset, lengthBytes, protect)
    this.#read(sourceOffset, lengthBytes)
    return super.copy(address, this.#staging, 0, lengthBytes, protect)
  }

  /**
   * All of it, or an error: a frozen process that has ended must never read as zeros. Where memory runs out,
   * the kernel takes pages from a process that it has killed before the process is gone, and other pages
   * would be read in their place.
   */
  #read(offset: number, length: number): void {
    const { fd, stat, regions, pid } = this.#frozen
    let done = 0
    forEachStretch(regions, offset / pageSizeBytes, length / pageSizeBytes, (address, bytes, page) => {
      done += readInto(fd, this.#staging, page * pageSizeBytes - offset, bytes, address)
    })
    if (done !== length || !stillStands(stat)) throw frozenHasEnded(pid)
  }
}

export const frozenHasEnded = (pid: number): VarveError =>
  new VarveError(
    'PAGE_SERVER_PROTOCOL',
    `the frozen memory that it was cloned from has gone (process ${pid}) before a snapshot was made of it`,
  )
