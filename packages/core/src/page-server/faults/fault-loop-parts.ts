import type { ExtentMap } from '../../layer/extent-map.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import type { CopySource, UserfaultOps } from '../../sys/userfaultfd.js'
import type { RemovedPages } from '../protocol/removed-pages.js'
import type { FetchGate } from './fetch-gate.js'

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
  /** Set if another thread installs pages of this VM, too. */
  readonly gate?: FetchGate | undefined
}
