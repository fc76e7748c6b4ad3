import type { ExtentMap } from '../../layer/extent-map.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import type { CopySource, UserfaultOps } from '../../sys/userfaultfd.js'
import type { RemovedPages } from '../protocol/removed-pages.js'
import type { FetchGate } from './fetch-gate.js'
import type { Frames } from './frames.js'

/** 2 MiB: a zero run of this size is installed in some 20 µs, little more than a single page costs. */
export const zeroWindowPages = 512

/**
 * A guest that shares its CPU with this thread may have run, and faulted again, by the time a fault is
 * answered; then a second read saves a call of poll. Elsewhere it finds nothing, so it is made in one turn of
 * so many only, to see.
 */
export const tryAgainEvery = 16

/** Reads before an operation that wants to know what happened until now. */
export const readsAtOnce = 16

/** The part of `UserfaultOps` that the loop needs. */
export type FaultOps = Pick<
  UserfaultOps,
  | 'readEvents'
  | 'copy'
  | 'copiedBytes'
  | 'zero'
  | 'wake'
  | 'zeroedBytes'
  | 'removalPending'
  | 'reportWrites'
  | 'writeProtect'
>

/** What a fault loop works with. */
export interface FaultLoopParts {
  readonly ops: FaultOps
  /** Sorted by address, without overlap. */
  readonly regions: readonly MappedRegion[]
  readonly map: ExtentMap
  readonly layers: readonly CopySource[]
  /** A page of zeros. */
  readonly zeros: CopySource
  readonly counters: Float64Array
  /** Whether neighbours are installed with a page, as long as they prove useful. */
  readonly around: boolean
  readonly removed: RemovedPages
  /** Set if the kernel takes whole frames only; regions are whole numbers of them. */
  readonly frames?: Frames | undefined
  /** Set if another thread installs pages of this VM, too. */
  readonly gate?: FetchGate | undefined
}
