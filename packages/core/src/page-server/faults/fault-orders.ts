import type { ExtentMap } from '../../layer/extent-map.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import type { CopySource } from '../../sys/userfaultfd.js'
import type { AfterRecorded } from '../../working-set/recording.js'
import type { RecordedFaults } from '../protocol/fault-record.js'
import type { SharedWords } from './fetch-gate.js'
import type { OpenFrozen } from './frozen-ops.js'

/** What the server's main thread asks of the thread that answers faults; each gets one answer, in order. */
export type FaultOrder =
  /** A VM's memory is there: answer its faults from now on. */
  | ({ readonly kind: 'serve'; readonly vm: number } & FaultedVmParts)
  /** Leave it: its descriptor and its layers are of no more use to the thread once this is answered. */
  | { readonly kind: 'drop'; readonly vm: number }
  /**
   * Bring the pages that were not asked for, then leave the VM: answered at once; `graduated`
   * or `stranded` comes at the end.
   */
  | { readonly kind: 'graduate'; readonly vm: number }
  /** Take its pages from other layers of the same image; nothing is read from frozen memory any more. */
  | {
      readonly kind: 'replace'
      readonly vm: number
      readonly map: ExtentMap
      readonly layers: readonly CopySource[]
    }
  /** Begin a recording; refused while one is on. */
  | { readonly kind: 'record'; readonly vm: number; readonly writes: boolean }
  /** Give what was recorded, and next: go on with it, begin the next period, or end it. */
  | { readonly kind: 'recorded'; readonly vm: number; readonly next: AfterRecorded }
  | { readonly kind: 'stop' }

/**
 * Typed arrays over shared memory: nothing large is copied on the way to the thread, where
 * others' faults would wait for it.
 */
export interface FaultedVmParts {
  readonly userfaultfd: number
  /** Of the VMM. */
  readonly pidfd: number
  readonly pid: number
  readonly regions: readonly MappedRegion[]
  /** Whether its memory comes in frames of 2 MiB. */
  readonly hugePages: boolean
  readonly map: ExtentMap
  readonly layers: readonly CopySource[]
  /** What the map's source `layers.length` is. */
  readonly frozen: OpenFrozen | null
  readonly counters: Float64Array
  /** Whether neighbours are installed with a page. */
  readonly around: boolean
  /** Record from the first fault on: `writes` of it. */
  readonly record: boolean | null
  /**
   * Where removed pages are kept, what was kept there, and what to drop if they cannot be: see `removalLog`.
   */
  readonly removed: {
    readonly path: string
    readonly known: Uint8Array | undefined
    readonly statePath: string
  }
  /** Shared memory of the `FetchGate`, if another thread installs a working set. */
  readonly gate: SharedWords | null
  /** Another server answered this VM's faults until it ended. */
  readonly takeOver: boolean
}

export interface FaultAnswer {
  readonly recorded?: RecordedFaults
  /** The order was refused. A next period that was refused ends the recording; nothing else is changed. */
  readonly error?: string
}

export interface FaultThreadStarted {
  /** Its thread id. */
  readonly thread: number
  /** Raise this event after posting an order: the thread sleeps in poll. */
  readonly orderEvent: number
}

/**
 * What the thread says: an answer to the oldest order; that it gave up one VM; that one has ended; that one
 * VM needs it no more, or cannot be brought so far and is served on.
 */
export type FaultMessage =
  | FaultAnswer
  /** The first. */
  | FaultThreadStarted
  | { readonly failed: number; readonly reason: string }
  | { readonly ended: number }
  | { readonly graduated: number; readonly copiedPages: number }
  | { readonly stranded: number; readonly reason: string }
